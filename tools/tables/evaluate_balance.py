"""Accuracy on real video with ground truth: the calibrated balance clips of ../shared.

    python -m tools.tables.evaluate_balance [--fast] [--ik hybrik,niki-temporal] [--lifter learned]

`hpsvid eval` measures finished motions on the same truth; this adds the stage before: it prints
PA-MPJPE, MPJPE (both moved to the middle of the hips) and acceleration error of the
landmark network's own 3D, read in every frame, and of the finished motion. Twelve points
(shoulders to ankles) are compared on the body's surface, where the truth's annotator put them;
the truth is triangulated, good to about 20 mm, and low-passed at 6 Hz before differentiating.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np

from hpsvid.backbone.blazepose import BlazePose
from hpsvid.backbone.lifting import FAST_LOOKS_HZ, LIFTERS, LOOKS_HZ, lift_seen
from hpsvid.body.model import Body
from hpsvid.body.skeleton import LIMB_LANDMARKS
from hpsvid.body.smpl import load_chosen_body
from hpsvid.common.geometry import image_of
from hpsvid.common.threads import one_torch_thread
from hpsvid.evaluation.errors import at_root
from hpsvid.evaluation.metrics import MM, acceleration_error, mpjpe, pa_mpjpe
from hpsvid.evaluation.truth import ROOT, Truth, points_of, read_truth
from hpsvid.ik import load_solver
from hpsvid.options import LifterName, Options, SolverName
from hpsvid.pipeline.stages import (
    StageClock,
    find_people,
    make_context,
    solve_track,
    trim,
)
from hpsvid.tracking import load_detector
from hpsvid.types import Array, Clip, Track
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames

CLIPS = ("balance_clean_cam01", "balance_clean_cam02", "balance_occluded_cam01",
         "balance_occluded_cam02")  # fmt: skip


def main_person(tracks: list[Track], truth: Truth) -> Track:
    """The track whose boxes lie nearest to the truth's projection."""
    centre = np.nanmean(image_of(truth.people[0].points, truth.K), 1)

    def distance(found: Track) -> float:
        middle = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        gap = np.linalg.norm(middle - centre[found.frame_index], axis=1)
        return float(np.nanmedian(gap)) - len(found)

    return min(tracks, key=distance)


def errors(points: Array, frame_index: Array, truth: Truth) -> dict[str, float]:
    """PA-MPJPE, MPJPE (mm) and acceleration error (m/s^2) of points (T, 12, 3) m."""
    (person,), root = truth.people, ROOT["limbs"]
    gt, steady = person.points[frame_index], person.steady[frame_index]
    accel = acceleration_error(at_root(points, root), at_root(steady, root), truth.fps)
    return {
        "PA-MPJPE mm": pa_mpjpe(points, gt),
        "MPJPE mm": mpjpe(points, gt, root=root),
        "accel m/s2": accel / MM,
    }


def evaluate(
    clip: Clip, truth: Truth, fast: bool, ways: list[tuple[LifterName, SolverName]], body: Body
) -> None:
    """Print the rows of one clip: the network's own 3D, then each lifter with its solver."""
    clock = StageClock()
    options = Options(fast=fast)
    detector = load_detector(options.detector)
    tracks, pts_s = find_people(clip, detector, clock)
    main = main_person(tracks, truth)
    every = BlazePose(tracks)
    some = BlazePose(tracks, looks_hz=FAST_LOOKS_HZ if fast else LOOKS_HZ)
    for frames in read_frames(clip):
        every.observe(frames)
        some.observe(frames)
    number = tracks.index(main)
    each, landmarks = every.landmarks()[number], some.landmarks()[number]
    own = np.where(each.score[:, None, None] > 0, each.world[:, LIMB_LANDMARKS], np.nan)
    _print(clip, "landmarker's own 3D", errors(own, each.frame_index, truth), each.score > 0)
    context = make_context(clip, body, options, clock)
    for lifter, name in ways:
        solver = load_solver(name, body)
        with one_torch_thread():
            obs = lift_seen(landmarks, some.pts_s[number], LIFTERS[lifter], context.camera, body)
            trimmed = trim(main, obs, float(clip.fps))
            if trimmed is None:
                raise SystemExit(f"{clip.path}: the main person was not seen")
            person = solve_track(*trimmed, pts_s, solver, context)
        row = errors(points_of(person, "limbs", body), person.track.frame_index, truth)
        _print(clip, f"{lifter}, {name}", row, person.valid)


def _print(clip: Clip, what: str, row: dict[str, float], seen: Array) -> None:
    figures = "  ".join(f"{name} {value:6.1f}" for name, value in row.items())
    share = float(seen.mean())
    print(f"{clip.path.stem:24s} {what:24s} {figures}  seen {share:.2f}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Accuracy on the calibrated balance clips.")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--lifter", default="learned,geometric", help="names, with commas")
    parser.add_argument("--ik", default="niki-temporal,hybrik", help="names, with commas")
    parser.add_argument("--fast", action="store_true")
    given = parser.parse_args()
    ways = list(itertools.product(given.lifter.split(","), given.ik.split(",")))
    body = load_chosen_body(None)
    views = read_truth(given.shared / "data/gt/balance/ground_truth.npz", body)
    truths = {truth.name: truth for truth in views}
    for name in CLIPS:
        clip = probe(given.shared / f"data/clips/{name}.mp4")
        evaluate(clip, truths[name[-5:]], given.fast, ways, body)


if __name__ == "__main__":
    main()
