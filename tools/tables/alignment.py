"""How well the drawn bodies cover the people: IoU of the rendered mesh with the person's mask.

    python -m tools.tables.alignment [--ways landmarks,fused,fused+align] [--clips juggle]
    python -m tools.tables.alignment --seeds 100-111 [--cache DIR] [--render-only]

Ways: a backbone (landmarks is the default, dense, fused), with `+align` beside what dense maps show
(`--align`). Real frames: REAL_MASKS, 40 masks of people in frames of ../shared/data, drawn by hand
as polygons on enlarged frames, refined by GrabCut within 1.2 % of the person's height of their
lines, and looked at, every one; things before a person, such as a ball, are left out of the count.
With --seeds: rendered takes (`tools.tables.alignment_takes`), whose masks are exact; their focal
length is given.

The mesh is the bare body, the mask what is seen of a clothed person: even true bodies do not reach
1. A person who was not found counts 0. A row is a clip, in brackets how many masks it has; "inside"
is the share of the mesh that lies on the person, "covered" that of the person beneath the mesh.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from hpsvid.body.model import Body
from hpsvid.body.smpl import load_chosen_body
from hpsvid.common.files import read_npz
from hpsvid.common.raster import NEAR_M, edge_functions, homogeneous_px, visible_faces
from hpsvid.common.tables import Column, Table
from hpsvid.errors import NoPersonError
from hpsvid.options import Options
from hpsvid.pipeline.make import make_motion
from hpsvid.pipeline.stages import StageClock
from hpsvid.types import Array, Motion, Part
from hpsvid.video.probe import probe
from tools.tables.alignment_takes import TAKES
from tools.tables.takes import seeds_of

REAL_MASKS = Path(__file__).with_name("real_masks.json")
WAYS = ("landmarks", "dense", "dense+align", "fused", "fused+align")
COLUMNS = [
    Column("clip", align="left"), Column("masks"), Column("way", align="left"),
    *(Column(name, form="{:.3f}") for name in ("IoU", "inside", "covered")),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """Where a person shows in a frame."""

    frame: int
    mask: Array  # (H, W) bool
    counts: Array  # (H, W) bool, pixels that count


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A clip with masks."""

    path: Path
    shown: list[Shown]
    end_s: float | None = None  # nothing later is looked at
    focal_px: float | None = None


def filled(polygons: Sequence[Sequence[Sequence[float]]], size: tuple[int, int]) -> Array:
    """Pixels (H, W) bool within polygons of picture px; size: width, height."""
    out = np.zeros(size[::-1], np.uint8)
    for points in polygons:
        centred = (np.array(points) - 0.5) * 16  # cv2 counts from pixel centres
        cv2.fillPoly(out, [np.round(centred).astype(np.int32)], 1, shift=4)
    return out > 0


def real_cases(shared: Path) -> Iterator[Case]:
    """The hand-made masks, clip by clip."""
    masks = json.loads(REAL_MASKS.read_text(encoding="utf-8"))
    for clip, facts in masks.items():
        size = tuple(facts["size"])
        shown = [
            Shown(
                frame=row["frame"],
                mask=filled(row["person"], size) & ~filled(row["holes"], size),
                counts=~filled(row["ignore"], size),
            )
            for row in facts["masks"]
        ]
        yield Case(path=shared / "data" / clip, shown=shown, end_s=facts["end_s"])


def rendered_case(seed: int, folder: Path) -> Case:
    """A rendered take with its masks."""
    arrays = read_npz(folder / f"{seed:03d}.npz", "masks of a take", ("frame", "mask", "K"))
    shown = [
        Shown(frame=int(frame), mask=mask, counts=np.ones_like(mask))
        for frame, mask in zip(arrays["frame"], arrays["mask"], strict=True)
    ]
    return Case(path=folder / f"{seed:03d}.mp4", shown=shown, focal_px=float(arrays["K"][0, 0]))


def mesh_masks(motion: Motion, frame: int, body: Body, size: tuple[int, int]) -> list[Array]:
    """Where the mesh of each person of the frame is (H, W) bool; size: width, height."""
    masks = []
    for person in motion.people:
        row = frame - int(person.track.frame_index[0])
        if 0 <= row < len(person.track):
            (posed,) = body.vertices_of(person.body, slice(row, row + 1))
            image = homogeneous_px(posed, motion.camera.K)
            drawn = edge_functions(image, body.faces, *size, NEAR_M, True)
            seen, _ = visible_faces(*drawn, (0, 0, *size), 1, NEAR_M)
            masks.append(seen[..., 0] >= 0)
    return masks


def cover(mesh: Array, shown: Shown) -> tuple[float, float, float]:
    """IoU, share of the mesh on the person, share of the person beneath the mesh."""
    mesh, mask = mesh & shown.counts, shown.mask & shown.counts
    both = float((mesh & mask).sum())
    return both / max((mesh | mask).sum(), 1), both / max(mesh.sum(), 1), both / max(mask.sum(), 1)


def measured(case: Case, way: str, body: Body) -> list[tuple[float, float, float]]:
    """`cover` of each of a clip's masks by the mesh that fits it best."""
    name, plus, _ = way.partition("+")
    options = Options(
        backbone="blazepose" if name == "landmarks" else name,  # pyright: ignore[reportArgumentType]
        align=bool(plus),
        focal_px=case.focal_px,
    )
    clip = probe(case.path)
    if case.end_s is not None:
        clip = replace(clip, part=Part(end_s=case.end_s))
    try:
        motion = make_motion(clip, body, options, StageClock())
    except NoPersonError:
        return [(0.0, 0.0, 0.0)] * len(case.shown)
    size = (clip.width, clip.height)
    return [
        max(
            (cover(mesh, shown) for mesh in mesh_masks(motion, shown.frame, body, size)),
            default=(0.0, 0.0, 0.0),
        )
        for shown in case.shown
    ]


def table(cases: Sequence[Case], ways: Sequence[str]) -> Table:
    """A row for each clip and way, and of all masks; a line on standard error as each comes."""
    body = load_chosen_body(None)
    rows, every = [], {way: [] for way in ways}
    for case in cases:
        for way in ways:
            covers = measured(case, way, body)
            every[way] += covers
            rows.append([case.path.stem, len(covers), way, *np.mean(covers, 0)])
            print(*rows[-1], file=sys.stderr, flush=True)
    rows += [["all", len(covers), way, *np.mean(covers, 0)] for way, covers in every.items()]
    return Table(COLUMNS, rows)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="IoU of drawn bodies with people's masks.")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--ways", default=",".join(WAYS), help="names, with commas")
    parser.add_argument("--clips", default="", help="part of the clips' names")
    parser.add_argument("--seeds", default=None, help="rendered takes, such as 100-111")
    parser.add_argument("--cache", type=Path, default=Path("out/alignment"))
    parser.add_argument("--render-only", action="store_true", help="measure nothing")
    given = parser.parse_args()
    ways = given.ways.split(",")
    if wrong := [way for way in ways if way not in WAYS]:
        parser.error(f"--ways {', '.join(wrong)}: expected some of {', '.join(WAYS)}")
    if given.seeds is None:
        cases = [case for case in real_cases(given.shared) if given.clips in case.path.name]
    else:
        seeds = list(seeds_of(given.seeds))
        TAKES.render_missing(seeds, given.cache)
        cases = [rendered_case(seed, given.cache) for seed in seeds]
    if not given.render_only:
        print(table(cases, ways).markdown())


if __name__ == "__main__":
    main()
