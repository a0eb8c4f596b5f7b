"""Motion in the world on rendered takes: up, floor, paths, feet, beside a camera taken as level.

    python -m tools.tables.world [--seeds 100-159] [--cache DIR] [--render-only]

The takes (`tools.tables.world_takes`) are rendered into `--cache` first; a run that was stopped
goes on where it was. Constants are chosen on seeds 0-29, others are reported. A row is a kind of
camera. Columns:

* up: angle between the found and the true up, over a take's frames; median and 95th percentile
  over takes; sigma: the median of what the result itself says.
* floor: height over the found ground of the points that truly touch it; the size of each person's
  median, and of those the median.
* W-MPJPE, WA-MPJPE, RTE, root velocity, skate on true contacts and the speed of the slower foot
  beside the truth's own, contact F1: as `hpsvid eval` has them (`hpsvid.evaluation.world`).

The camera's focal length is given: views of 18 to 100 degrees across are no guess. "level and
still" are the same bodies where the camera is taken as level and as not moving.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpsvid.body.model import Body
from hpsvid.body.smpl import load_chosen_body
from hpsvid.common.tables import Column, Table
from hpsvid.errors import NoPersonError
from hpsvid.evaluation.errors import match
from hpsvid.evaluation.truth import Truth, read_truth
from hpsvid.evaluation.world import WorldErrors, world_errors, world_summary
from hpsvid.motion.feet import feet_over_ground
from hpsvid.motion.world import find_world, with_contacts
from hpsvid.options import Options
from hpsvid.pipeline.make import make_motion
from hpsvid.pipeline.stages import StageClock
from hpsvid.types import Motion
from hpsvid.video.egomotion import still_camera
from hpsvid.video.probe import probe
from tools.tables.world_takes import MOVES, TAKES, true_contacts

COLUMNS = [
    Column("camera", align="left"), Column("world", align="left"), Column("takes"),
    Column("up", unit="deg, median (95 %)", form="{:.1f} ({:.1f})"),
    Column("sigma", form="{:.1f}"),
    Column("floor", unit="mm", form="{:.0f}"),
    *(Column(name, unit="mm", form="{:.0f}") for name in ("W-MPJPE", "WA-MPJPE")),
    Column("RTE", unit="%", form="{:.1f}"), Column("root velocity", unit="mm/s", form="{:.0f}"),
    Column("skate (truth's)", unit="mm/s", form="{:.0f} ({:.0f})"),
    Column("slower foot (truth's)", unit="mm/s", form="{:.0f} ({:.0f})"),
    Column("contact F1", form="{:.2f}"),
]  # fmt: skip
WAYS = ("found", "level and still")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Take:
    """What was measured on one take in one way."""

    move: str
    sigma_deg: float
    errors: list[WorldErrors]  # of each true person


def measured(seed: int, folder: Path, body: Body) -> dict[str, Take]:
    """One take in each of WAYS, its focal length given; empty where nobody was found."""
    truth = known(folder / f"{seed:03d}.npz", body)
    options = Options(focal_px=float(truth.K[0, 0]))
    try:
        motion = make_motion(probe(folder / f"{seed:03d}.mp4"), body, options, StageClock())
    except NoPersonError:
        return {}
    return in_ways(seed, motion, truth, body)


def known(path: Path, body: Body) -> Truth:
    """A take's truth; what touches the ground is told anew: stored takes may be older than that."""
    (truth,) = read_truth(path, body)
    people = []
    for person in truth.people:
        assert truth.world is not None and person.params is not None
        feet = feet_over_ground(person.params, truth.world, person.frame_index, body)
        people.append(replace(person, contacts=true_contacts(feet)))
    return replace(truth, people=tuple(people))


def in_ways(seed: int, motion: Motion, truth: Truth, body: Body) -> dict[str, Take]:
    """A take's motion in each of WAYS."""
    takes = {}
    for way, made in zip(WAYS, (motion, level_and_still(motion, body)), strict=True):
        assert made.world is not None
        claims = zip(truth.people, match(made, truth, body), strict=True)
        errors = [world_errors(truth, person, made.world, of, body) for person, of in claims]
        takes[way] = Take(
            move=MOVES[seed % len(MOVES)],
            sigma_deg=made.world.up_sigma_deg,
            errors=[person for person in errors if person is not None],
        )
    return takes


def level_and_still(motion: Motion, body: Body) -> Motion:
    """The same bodies before a camera that is taken as level and still."""
    still = still_camera(len(motion.pts_s))
    level = Options(up="camera")
    world = find_world(motion.people, body, motion.pts_s, still, level)
    people = tuple(with_contacts(person, body, world, motion.pts_s) for person in motion.people)
    return replace(motion, people=people, world=world)


def row(camera: str, way: str, takes: Sequence[Take]) -> list[object]:
    """A row of the table."""
    found = world_summary([person for take in takes for person in take.errors])
    each = [np.concatenate([person.up for person in take.errors]) for take in takes]
    up = [np.nanmean(of_take) for of_take in each if np.isfinite(of_take).any()]
    return [
        camera, way, len(takes), (float(np.median(up)), float(np.percentile(up, 95))),
        float(np.median([take.sigma_deg for take in takes])), found["floor_mm"],
        found["w_mpjpe_mm"], found["wa_mpjpe_mm"], found["rte_percent"],
        found["root_velocity_mm_s"],
        (found["contact_skate_mm_s"], found["true_contact_skate_mm_s"]),
        (found["world_slower_foot_mm_s"], found["true_world_slower_foot_mm_s"]),
        found["contact_f1"],
    ]  # fmt: skip


def table(seeds: Sequence[int], folder: Path) -> Table:
    """The table of these takes; a line on standard error for each."""
    body = load_chosen_body(None)
    takes = []
    for seed in seeds:
        takes.append(measured(seed, folder, body))
        found = takes[-1].get(WAYS[0])
        line = "nobody found" if found is None else world_summary(found.errors)
        print(seed, MOVES[seed % len(MOVES)], line, file=sys.stderr, flush=True)
    return table_of(takes)


def table_of(takes: Sequence[dict[str, Take]]) -> Table:
    """Rows for each kind of camera and for all."""
    rows = []
    for camera in (*MOVES, "all"):
        for way in WAYS:
            some = [t[way] for t in takes if way in t and camera in (t[way].move, "all")]
            if some:
                rows.append(row(camera, way, some))
    return Table(COLUMNS, rows)


def main() -> None:
    """Render what is missing, measure, print the table."""
    TAKES.command("Measure motion in the world on rendered takes.", "100-159", "world", table)


if __name__ == "__main__":
    main()
