"""Tables for people who script: CSV (a row a frame) and JSON (with keypoints in the picture)."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpsvid.body.keypoints import BODY_25, COCO
from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT, LANDMARK, SMPL
from hpsvid.common.files import written_whole
from hpsvid.common.geometry import image_of
from hpsvid.formats.angles import joint_angles
from hpsvid.formats.figure import Figure, figures, refuse_overlap
from hpsvid.options import ExportOptions
from hpsvid.types import Array, Motion, Person

CSV_HEAD = ("person", "frame", "time_s", "seen")  # and so hpsvid's own files begin
CONTACTS = ("left_heel", "left_ball", "right_heel", "right_ball")
_DECIMALS = 5  # of metres, degrees and pixels: a hundredth of a millimetre
_COCO_SKELETON = (  # pairs, counted from 1, as the data set has them
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9),
    (8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip
_SEEN, _FILLED, _OUTSIDE = 2, 1, 0  # COCO's: visible, labelled but not visible, not labelled


def write_csv(
    motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM_personNN.csv` for each person, or `STEM.csv` with all of them.

    Columns: person, frame (of the clip, the nearest), time_s (on the clip's clock), seen (0: the
    pose was filled), each joint's x, y, z in m and its speed in m/s, angles in degrees, and where
    the motion says so, contacts of the feet in [0, 1].
    """
    refuse_overlap(motion, options)
    people = figures(motion, body, options)
    if options.together:
        files = {out_dir / f"{stem}.csv": people}
    else:
        files = {out_dir / f"{stem}_person{figure.id:02d}.csv": [figure] for figure in people}
    for path, group in files.items():
        with written_whole(path) as stream:
            stream.write(_csv_of(group).encode())
    return list(files)


def _csv_of(people: Sequence[Figure]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for nth, figure in enumerate(people):
        columns = _columns(figure)
        if nth == 0:
            writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _columns(figure: Figure) -> dict[str, list[Any]]:
    """Everything of one person by column, plain numbers."""
    track, joints = figure.person.track, figure.posed[0]
    speeds = joint_speeds(figure)
    head = zip(
        CSV_HEAD,
        (np.full(len(joints), figure.id), track.frame_index[figure.rows],
         figure.times_s.round(6), _seen(figure).astype(int)),
        strict=True,
    )  # fmt: skip
    columns = {name: values.tolist() for name, values in head}
    for joint, name in enumerate(SMPL.names):
        for axis, letter in enumerate("xyz"):
            columns[f"{name}_{letter}_m"] = plain(joints[:, joint, axis])
        columns[f"{name}_speed_m_s"] = plain(speeds[:, joint])
    columns |= {f"{name}_deg": plain(values) for name, values in joint_angles(figure).items()}
    if (contacts := figure.person.contacts) is not None:
        rows = contacts[figure.rows]
        columns |= {f"{name}_contact": plain(rows[:, n]) for n, name in enumerate(CONTACTS)}
    return columns


def joint_speeds(figure: Figure) -> Array:
    """Speeds (T, 29) of the joints in the file's unit a second, from the frames on either side."""
    joints = figure.posed[0]
    if len(joints) < 2:
        return np.zeros(joints.shape[:2])
    return np.linalg.norm(np.gradient(joints, 1 / figure.fps, axis=0), axis=-1)


def plain(values: Array, decimals: int = _DECIMALS) -> list[Any]:
    """Numbers rounded for text, -0 as 0, what is not known (NaN) as None."""
    rounded = np.asarray(values, np.float64).round(decimals) + 0.0
    if not np.isnan(rounded).any():
        return rounded.tolist()
    return np.where(np.isnan(rounded), np.array(None), rounded).tolist()


def _seen(figure: Figure) -> Array:
    """Whether (T,) the person was seen in the frame, not filled, held or padded."""
    return figure.person.valid[figure.rows] & figure.present


def write_json(
    motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM.json`: everyone's joints, speeds, angles, contacts, and keypoints in pixels."""
    path = out_dir / f"{stem}.json"
    people = figures(motion, body, options)
    content = {
        "made_by": "hpsvid",
        "hpsvid_version": motion.provenance.hpsvid_version,
        "clip": motion.clip.path.name,
        "frame": options.frame or "camera",
        "up_axis": options.up_axis or "y",
        "units": {
            "joints": "m",
            "speeds": "m/s",
            "angles": "degree",
            "sigma": "m",
            "keypoints": "px",
        },
        "joint_names": SMPL.names,
        "joint_parents": SMPL.parents,
        "keypoint_names": {"coco17": COCO, "openpose25": BODY_25},
        "people": [_as_json(figure, motion, body) for figure in people],
    }
    with written_whole(path) as stream:
        stream.write(json.dumps(content, separators=(",", ":")).encode())
    return [path]


def _as_json(figure: Figure, motion: Motion, body: Body) -> dict[str, Any]:
    person, rows = figure.person, figure.rows
    coco, body25 = keypoints(person, motion, body)
    contacts = person.contacts
    return {
        "id": figure.id,
        "fps": figure.fps,
        "times_s": figure.times_s.round(6).tolist(),
        "frames": person.track.frame_index[rows].tolist(),
        "seen": _seen(figure).tolist(),
        "betas": plain(figure.betas),
        "joints": plain(figure.posed[0]),
        "speeds": plain(joint_speeds(figure)),
        "sigma": plain(person.sigma[rows]),
        "angles": {name: plain(values) for name, values in joint_angles(figure).items()},
        "contacts": None if contacts is None else plain(contacts[rows]),
        "keypoints": {"coco17": plain(coco[rows]), "openpose25": plain(body25[rows])},
    }


def keypoints(person: Person, motion: Motion, body: Body) -> tuple[Array, Array]:
    """COCO's 17 and OpenPose's 25 keypoints of a track's frames: (T, 17, 3), (T, 25, 3).

    x and y in px, and a third number: COCO's visibility (2 seen, 1 filled, 0 outside the picture),
    OpenPose's score (its half; 0 for the small toes, which the body lacks). They are points of the
    body's surface, projected.
    """
    landmarks = body.landmarks_of(person.body)
    surface = image_of(landmarks, motion.camera.K)
    toes = image_of(person.joints, motion.camera.K)
    size = np.array([motion.clip.width, motion.clip.height])

    def place(name: str) -> Array:
        if name in LANDMARK:
            return surface[:, LANDMARK[name]]
        if name in ("neck", "mid_hip"):
            part = "shoulder" if name == "neck" else "hip"
            pair = [LANDMARK[f"left_{part}"], LANDMARK[f"right_{part}"]]
            return surface[:, pair].mean(1)
        return toes[:, JOINT[name]] if name in JOINT else np.full((len(surface), 2), np.nan)

    def scored(names: tuple[str, ...]) -> Array:
        places = np.stack([place(name) for name in names], 1)
        inside = np.all((places >= 0) & (places < size), axis=-1)
        seen = np.where(person.valid[:, None], _SEEN, _FILLED)
        flags = np.where(inside, seen, _OUTSIDE)
        return np.concatenate([np.where(inside[..., None], places, 0), flags[..., None]], -1)

    body25 = scored(BODY_25)
    body25[..., 2] /= _SEEN
    return scored(COCO), body25


def write_coco(
    motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM.coco.json`: keypoint annotations in the layout of COCO, an image a frame."""
    path, clip = out_dir / f"{stem}.coco.json", motion.clip
    annotations: list[dict[str, Any]] = []
    for person in motion.people:
        points = keypoints(person, motion, body)[0]
        for row, frame in enumerate(person.track.frame_index.tolist()):
            x0, y0, x1, y1 = person.track.boxes[row].astype(np.float64).tolist()
            annotations.append({
                "id": len(annotations) + 1, "image_id": frame, "category_id": 1,
                "track_id": person.track.id, "iscrowd": 0,
                "bbox": plain(np.array([x0, y0, x1 - x0, y1 - y0])),
                "area": round((x1 - x0) * (y1 - y0), 2),
                "num_keypoints": int((points[row, :, 2] > 0).sum()),
                "keypoints": plain(points[row].reshape(-1)),
            })  # fmt: skip
    content = {
        "info": {"description": f"hpsvid: {clip.path.name}"},
        "images": [
            {"id": frame, "file_name": f"{clip.path.stem}_{frame:06d}.jpg", "width": clip.width,
             "height": clip.height}
            for frame in range(len(motion.pts_s))
        ],
        "annotations": annotations,
        "categories": [
            {"id": 1, "name": "person", "supercategory": "person", "keypoints": COCO,
             "skeleton": _COCO_SKELETON}
        ],
    }  # fmt: skip
    with written_whole(path) as stream:
        stream.write(json.dumps(content, separators=(",", ":")).encode())
    return [path]
