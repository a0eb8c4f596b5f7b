"""What keypoints of the user's own are worth: a motion with and without them against the truth.

    python -m tools.tables.own_keypoints CLIP=TRUTH[:VIEW] ... [--layout coco17] [--noise 0,0.015]

Keypoints are the truth's own points in the picture (33 on the surface, or the twelve of a measured
truth), with Gaussian noise of this share of the person's height, seed 0: an upper bound, as no
program finds points without bias. Prints PA-MPJPE and MPJPE in mm.
"""

import argparse
from pathlib import Path

import numpy as np

import hpsvid
from hpsvid.body.keypoints import LAYOUTS, LayoutName
from hpsvid.body.model import Body
from hpsvid.body.skeleton import LANDMARK, LIMB_NAMES
from hpsvid.common.geometry import image_of
from hpsvid.common.tables import Column, Table
from hpsvid.evaluation.errors import compare
from hpsvid.evaluation.truth import TruePerson, Truth, read_truth
from hpsvid.types import Array

COLUMNS = [Column("clip", align="left"), Column("keypoints", align="left"),
           *(Column(name, unit="mm", form="{:.1f}") for name in ("PA-MPJPE", "MPJPE"))]  # fmt: skip


def points_in(truth: Truth, person: TruePerson, body: Body, layout: LayoutName) -> Array:
    """Keypoints (T, K, 3) of a true person in the layout; confidence 0 where they are not known."""
    names: dict[str, Array] = {}
    if person.params is not None:
        marks = image_of(body.landmarks_of(person.params), truth.K)
        names = {name: marks[:, n] for name, n in LANDMARK.items()}
        names |= {f"{side}_big_toe": names[f"{side}_foot_index"] for side in ("left", "right")}
    else:
        marks = image_of(person.points, truth.K)
        names = {name: marks[:, n] for n, name in enumerate(LIMB_NAMES)}
    nothing = np.full((len(person.points), 2), np.nan)
    points = np.stack([names.get(name, nothing) for name in LAYOUTS[layout]], 1)
    known = np.isfinite(points).all(-1, keepdims=True)
    return np.concatenate([np.where(known, points, 0), 0.9 * known], -1)


def people_of(truth: Truth, body: Body, layout: LayoutName, noise: float) -> hpsvid.People2D:
    """Everybody's keypoints of all frames; noise: share of the person's height in the picture."""
    rng = np.random.default_rng(0)
    frames: dict[int, list[Array]] = {}
    for person in truth.people:
        points = points_in(truth, person, body, layout)
        sure = points[..., 2] > 0
        height = np.nanmax(np.where(sure, points[..., 1], np.nan)) - np.nanmin(
            np.where(sure, points[..., 1], np.nan)
        )
        points[..., :2] += sure[..., None] * rng.normal(0, noise * height, points[..., :2].shape)
        for frame, row in zip(person.frame_index.tolist(), points, strict=True):
            frames.setdefault(frame, []).append(row)
    return hpsvid.People2D(
        keypoints={frame: np.stack(rows) for frame, rows in frames.items()}, layout=layout
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="What keypoints of the user's own are worth.")
    parser.add_argument("pairs", nargs="+", metavar="CLIP=TRUTH[:VIEW]")
    parser.add_argument("--layout", default="coco17", choices=sorted(LAYOUTS))
    parser.add_argument("--noise", default="0,0.015")
    given = parser.parse_args()
    body, rows = hpsvid.load_body(), []
    for pair in given.pairs:
        clip, _, told = pair.partition("=")
        path, _, view = told.partition(":")
        truths = read_truth(Path(path), body)
        truth = next(t for t in truths if not view or t.name == view)
        ways = [("none", None)] + [
            (f"{given.layout}, {share}", people_of(truth, body, given.layout, float(share)))
            for share in given.noise.split(",")
        ]
        for name, people in ways:
            motion = hpsvid.run(clip, people=people, options=hpsvid.Options(threads=1))
            errors = compare(motion, truth, body, clip=clip, method=name)
            figures = [
                float(np.nanmean(np.concatenate([getattr(e, key).ravel() for e in errors])))
                for key in ("aligned", "joint")
            ]
            rows.append([Path(clip).name, name, *figures])
            print(Table(COLUMNS, [rows[-1]]).markdown().splitlines()[-1], flush=True)
    print(Table(COLUMNS, rows).markdown())


if __name__ == "__main__":
    main()
