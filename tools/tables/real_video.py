"""Accuracy on real video: every set with ground truth, every way to make a motion, one table.

    python -m tools.tables.real_video [--only balance] [--ik niki] [--lifter learned] [--fast]
        [--backbone dense] [--align]

Ways: the landmark network's own 3D, read in every frame, and each lifter with each solver. Sets
lie in ../shared/data (SETS). Twelve points (shoulders to ankles) are compared on the body's
surface, where the truths' annotators put them. Columns, over the frames and points that the truth
knows:

* seen: share of the frames in which the person was found.
* PA-MPJPE (best similarity of each frame), MPJPE (roots together), and its parts along the view and
  across it: mean size of the error's component along the line from the camera to the true root,
  and of the rest. A set without a known scale has PA-MPJPE and angles alone.
* accel, p95 speed, jitter: as in `hpsvid eval`; measured truth is low-passed at 6 Hz.
* bones: mean of the ratios of the bones' median lengths to the truth's (`BONES`); spread: the bone
  that is furthest off after that one scale.
* knee, elbow: flexion, RMS error and, in brackets, bias where the truth is bent less than 15
  degrees; against OpenSim's angles where the set has them, else against those of the true points.
  The row "the truth's points" says how far these two are apart.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hpsvid.backbone.blazepose import BlazePose
from hpsvid.body.hinges import bend
from hpsvid.body.model import Body
from hpsvid.body.skeleton import LIMB_LANDMARKS, LIMB_NAMES, Points
from hpsvid.body.smpl import load_chosen_body
from hpsvid.common.geometry import image_of
from hpsvid.common.tables import Column, Table
from hpsvid.errors import InputError
from hpsvid.evaluation.errors import at_root, match, point_errors
from hpsvid.evaluation.metrics import MM, mean, ratio, ratio_of_percentiles
from hpsvid.evaluation.truth import Truth, points_of, read_truth
from hpsvid.options import Options
from hpsvid.pipeline.make import make_motion
from hpsvid.pipeline.stages import StageClock, find_people
from hpsvid.tracking import load_detector
from hpsvid.types import Array, Clip, Track
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames

LIMB = Points(LIMB_NAMES).index
SIDES = ("left", "right")
BONES = [
    (LIMB[f"{side}_{start}"], LIMB[f"{side}_{end}"])
    for start, end in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"),
                       ("knee", "ankle"), ("shoulder", "hip"))
    for side in SIDES
]  # fmt: skip
HINGES = {"knee": ("hip", "knee", "ankle"), "elbow": ("shoulder", "elbow", "wrist")}
OPENSIM = {"knee": "knee_angle_{}", "elbow": "elbow_flex_{}"}  # columns of a .mot, {}: l or r
STRAIGHT_DEG = 15.0
OWN = "landmarker's own 3D"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealSet:
    """Clips of one recording; every path is relative to the folder of shared data."""

    truth: str
    clips: dict[str, str]  # clip -> name of its view in the truth
    metric: bool = True  # the truth's unit is known to be the metre
    angles: str | None = None  # OpenSim's .mot, a row for each frame of the truth


SETS = {
    "balance": RealSet(
        truth="gt/balance/ground_truth.npz",
        clips={f"clips/balance_{kind}_{view}.mp4": view
               for kind in ("clean", "occluded") for view in ("cam01", "cam02")},
        angles="gt/balance_opensim/Pose2Sim_motion.mot",
    ),
    "bodypose3d": RealSet(
        truth="gt/bodypose3d/ground_truth.npz", clips={"gt/bodypose3d/cam0_test.mp4": "cam0"},
        metric=False,
    ),
    "caliscope": RealSet(
        truth="gt/caliscope/truth_triangulated.npz",
        clips={f"gt/caliscope/calibration_extrinsic_cam_{i}.mp4": f"cam_{i}" for i in range(4)},
    ),
}  # fmt: skip

COLUMNS = [
    Column("set", align="left"), Column("clip", align="left"), Column("way", align="left"),
    Column("seen", unit="%", form="{:.0f}"),
    *(Column(name, unit="mm", form="{:.1f}") for name in ("PA-MPJPE", "MPJPE", "along", "across")),
    Column("accel", unit="m/s²", form="{:.1f}"),
    *(Column(name, unit="of truth's", form="{:.2f}") for name in ("p95 speed", "jitter", "bones")),
    Column("spread", unit="%", form="{:.1f}"),
    *(Column(name, unit="deg", form="{:.1f} ({:+.1f})") for name in HINGES),
]  # fmt: skip


def flexion_deg(points: Array, hinge: str) -> Array:
    """Flexion (T, 2) of the left and right `hinge` from points (T, 12, 3); 0 is straight."""
    angles = []
    for side in SIDES:
        near, middle, far = (
            torch.from_numpy(points[:, LIMB[f"{side}_{name}"]]) for name in HINGES[hinge]
        )
        angles.append(np.degrees(bend(near, middle, far).numpy()))
    return np.stack(angles, 1)


def read_mot(path: Path) -> dict[str, Array]:
    """The columns of an OpenSim .mot file by name; angles in degrees.

    Raises InputError when it is no such file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        end = next(i for i, line in enumerate(lines) if line.strip() == "endheader")
        names = lines[end + 1].split()
        rows = np.array([line.split() for line in lines[end + 2 :] if line.strip()], np.float64)
        if rows.shape[1:] != (len(names),) or "inDegrees=yes" not in lines[:end]:
            raise ValueError(f"{rows.shape} numbers for {len(names)} columns, or not in degrees")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected an OpenSim .mot file") from error
    except (ValueError, StopIteration, IndexError) as error:
        raise InputError(f"{path}: no .mot file in degrees ({error})") from error
    return dict(zip(names, rows.T, strict=True))


def true_angles(truth: Truth, mot: Path | None) -> dict[str, Array]:
    """Flexion (T, 2) deg of each hinge, left and right, in the truth's frames; NaN: unknown."""
    points = truth.people[0].points
    if mot is None:
        return {hinge: flexion_deg(points, hinge) for hinge in HINGES}
    columns = read_mot(mot)
    known = np.asarray(np.isfinite(points).all((1, 2)))
    angles = {}
    for hinge, column in OPENSIM.items():
        both = np.stack([columns[column.format(side[0])] for side in SIDES], 1)
        if len(both) != len(points):
            raise InputError(f"{mot}: {len(both)} rows, the truth has {len(points)} frames")
        angles[hinge] = np.where(known[:, None], both, np.nan)
    return angles


def figures(points: Array, truth: Truth, angles: dict[str, Array], *, metric: bool) -> list[object]:
    """A row's figures from points (T, 12, 3) m in the truth's frames, NaN where not found."""
    (person,) = truth.people
    errors = point_errors(points, truth, person, slice(0, len(points)))
    off = at_root(points, truth.root) - at_root(person.points, truth.root)
    view = person.points[:, truth.root].mean(1)
    view = view / np.linalg.norm(view, axis=-1, keepdims=True)
    along = (off * view[:, None]).sum(-1)
    across = np.linalg.norm(off - along[..., None] * view[:, None], axis=-1)
    bones = _bone_ratios(points, person.points)
    scale = mean(bones)
    in_metres = [
        mean(errors["joint"]),
        mean(np.abs(along)) * MM,
        mean(across) * MM,
        mean(errors["acceleration"]) / MM,
        ratio_of_percentiles(errors["speed"], errors["true_speed"], 95),
        ratio(mean(errors["jerk"]), mean(errors["true_jerk"])),
        scale,
    ]
    found, known = (np.asarray(np.isfinite(p).all(-1)).any(1) for p in (points, person.points))
    return [
        100 * float((found & known).sum() / max(known.sum(), 1)),
        mean(errors["aligned"]),
        *(in_metres if metric else [np.nan] * len(in_metres)),
        100
        * max((abs(ratio / scale - 1) for ratio in bones if np.isfinite(ratio)), default=np.nan),
        *(_flexion_error(flexion_deg(points, hinge), angles[hinge]) for hinge in HINGES),
    ]


def _bone_ratios(points: Array, truth: Array) -> Array:
    """Median length of each of `BONES` over the truth's, NaN where one is never known."""
    start, end = np.array(BONES).T
    known = np.asarray(np.isfinite(points).all(-1) & np.isfinite(truth).all(-1))
    both = known[:, start] & known[:, end]
    ratios = np.full(len(BONES), np.nan)
    for i in np.flatnonzero(both.any(0)):
        ours, true = (
            np.median(np.linalg.norm(p[:, end[i]] - p[:, start[i]], axis=-1)[both[:, i]])
            for p in (points, truth)
        )
        ratios[i] = ours / true
    return ratios


def _flexion_error(flexion: Array, truth: Array) -> tuple[float, float]:
    """RMS error, and bias where the truth is nearly straight, deg."""
    error = flexion - truth
    return float(np.sqrt(mean(error**2))), mean(error[np.abs(truth) < STRAIGHT_DEG])


def main_person(tracks: list[Track], truth: Truth) -> Track:
    """The track whose boxes lie nearest to the truth's projection."""
    points = image_of(truth.people[0].points, truth.K)
    known = np.asarray(np.isfinite(points).all(-1))
    centre = np.nansum(np.where(known[..., None], points, 0), 1) / known.sum(1)[:, None].clip(1)
    centre[~known.any(1)] = np.nan

    def distance(track: Track) -> float:
        middle = (track.boxes[:, :2] + track.boxes[:, 2:]) / 2
        gap = np.linalg.norm(middle - centre[track.frame_index], axis=1)
        return mean(gap) - len(track)

    return min(tracks, key=distance)


def own_points(clip: Clip, truth: Truth, detector: str) -> Array:
    """The landmark network's own 3D (T, 12, 3) m in the truth's frames, read in every frame."""
    tracks, _ = find_people(clip, load_detector(detector), StageClock())
    main = main_person(tracks, truth)
    network = BlazePose(tracks)
    for frames in read_frames(clip):
        network.observe(frames)
    landmarks = network.landmarks()[tracks.index(main)]
    points = np.full(truth.people[0].points.shape, np.nan)
    seen = landmarks.score > 0
    points[landmarks.frame_index[seen]] = landmarks.world[seen][:, LIMB_LANDMARKS]
    return points


def motion_points(clip: Clip, truth: Truth, body: Body, options: Options) -> Array:
    """The finished motion's points (T, 12, 3) m in the truth's frames, NaN where not found."""
    motion = make_motion(clip, body, options, StageClock())
    points = np.full(truth.people[0].points.shape, np.nan)
    for person, place in match(motion, truth, body)[0]:
        points[place >= 0] = points_of(person, "limbs", body)[place[place >= 0]]
    return points


def rows_of(
    name: str, real: RealSet, shared: Path, body: Body, ways: list[Options]
) -> Iterator[list[object]]:
    """The rows of one set, each as soon as it is measured."""
    truths = {truth.name: truth for truth in read_truth(shared / real.truth, body)}
    mot = None if real.angles is None else shared / real.angles
    for path, view in real.clips.items():
        clip, truth = probe(shared / path), truths[view]
        angles = true_angles(truth, mot)
        if mot is not None:
            *others, knee, elbow = figures(truth.people[0].points, truth, angles, metric=False)
            blank = [""] * len(others)
            yield [name, clip.path.stem, "the truth's points", *blank, knee, elbow]
        points = own_points(clip, truth, Options().detector)
        yield [name, clip.path.stem, OWN, *figures(points, truth, angles, metric=real.metric)]
        for options in ways:
            points = motion_points(clip, truth, body, options)
            row = figures(points, truth, angles, metric=real.metric)
            eye = options.lifter if options.backbone == "blazepose" else options.backbone
            eye += ", aligned" if options.align else ""
            yield [name, clip.path.stem, f"{eye}, {options.solver}", *row]


def main() -> None:
    """Measure and print the table; a line on standard error for each row as it comes."""
    parser = argparse.ArgumentParser(description="Accuracy on real video with ground truth.")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--only", default=",".join(SETS), help="sets, with commas")
    parser.add_argument("--backbone", default=Options().backbone)
    parser.add_argument("--lifter", default=Options().lifter, help="names, with commas")
    parser.add_argument("--ik", default="hybrik,niki,niki-temporal", help="names, with commas")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--align", action="store_true")
    given = parser.parse_args()
    body = load_chosen_body(None)
    ways = [
        replace(
            Options(fast=given.fast),
            backbone=given.backbone,
            align=given.align,
            lifter=lifter,
            solver=solver,
        )
        for lifter, solver in itertools.product(given.lifter.split(","), given.ik.split(","))
    ]
    rows = []
    for name in given.only.split(","):
        for row in rows_of(name, SETS[name], given.shared / "data", body, ways):
            rows.append(row)
            print(Table(COLUMNS, [row]).markdown().splitlines()[-1], file=sys.stderr, flush=True)
    print(Table(COLUMNS, rows).markdown())


if __name__ == "__main__":
    main()
