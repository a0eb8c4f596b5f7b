"""Errors in the world, of motions whose error is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.body.world import to_world
from hpsvid.evaluation.errors import compare
from hpsvid.evaluation.tables import as_json, summary, table
from hpsvid.evaluation.truth import Truth, read_truth
from hpsvid.formats.npz import write_motion
from hpsvid.motion.feet import contact_points, standing_heights
from hpsvid.types import Array, BodyParams, Motion, World
from tests.factories import make_motion, make_person

FRAMES = 60
FPS = 30


def turned_down(pitch_deg: float) -> Array:
    """From a camera's axes that looks down by so much to the world's, (3, 3)."""
    return Rotation.from_euler("x", 180 - pitch_deg, degrees=True).as_matrix()


@pytest.fixture(scope="module")
def motion(body: Body) -> Motion:
    """A person who slides on stiff legs by 1 m/s, lowest contact point at 0, contacts all 1."""
    R = np.tile(turned_down(20), (FRAMES, 1, 1))
    world = World(up=R[0, 1], up_sigma_deg=1, R=R, t=np.zeros((FRAMES, 3)), made_from="a test")
    rotmats = np.tile(np.eye(3, dtype=np.float32), (FRAMES, 24, 1, 1))
    rotmats[:, 0] = R[0].T  # upright in the world
    places = np.stack([np.arange(FRAMES) / FPS, np.full(FRAMES, -1.5), np.full(FRAMES, -4.0)], 1)
    params = BodyParams(
        rotmats=rotmats, betas=np.zeros(10, np.float32), transl=(places @ R[0]).astype(np.float32)
    )
    person = make_person(body, params)
    feet = to_world(contact_points(body, params), world, person.track.frame_index)
    floor = (feet[..., 1] - standing_heights(body)).min()
    world = replace(world, t=world.t - [0, floor, 0])
    person = replace(person, contacts=np.ones((FRAMES, 4), np.float32))
    made = make_motion(body, people=1, frames=FRAMES, seed=1)
    names = {"name": body.name, "sha256": body.sha256}
    return replace(
        made, people=(person,), world=world, provenance=replace(made.provenance, body=names)
    )


@pytest.fixture
def truth(motion: Motion, body: Body, tmp_path: Path) -> Truth:
    write_motion(motion, tmp_path / "scene.npz")
    (found,) = read_truth(tmp_path / "scene.npz", body)
    return replace(found, fps=float(FPS))


def figures(motion: Motion, truth: Truth, body: Body) -> dict[str, float]:
    return summary(compare(motion, truth, body, clip="scene", method=""))


def seen_from(world: World, R: Array, t: Array) -> World:
    """The same cameras in axes that are turned and moved, world' = R world + t."""
    return replace(world, R=R @ world.R, t=world.t @ R.T + t)


def test_a_perfect_motion_in_another_heading_has_no_errors(
    motion: Motion, truth: Truth, body: Body
) -> None:
    assert motion.world is not None
    turn = Rotation.from_euler("y", 70, degrees=True).as_matrix()
    other = seen_from(motion.world, turn, np.array([3.0, 0, -2]))
    found = figures(replace(motion, world=other), truth, body)
    for name in ("w_mpjpe_mm", "wa_mpjpe_mm", "rte_percent", "up_deg", "floor_mm"):
        assert abs(found[name]) < 0.1, name
    assert found["root_velocity_mm_s"] < 1
    assert found["contact_f1"] == 1
    # stiff legs slide: the skate is the walk's own speed, of the truth's, too
    assert abs(found["contact_skate_mm_s"] - 1000) < 5
    assert abs(found["true_contact_skate_mm_s"] - 1000) < 5


def test_each_error_is_seen_by_its_measure(motion: Motion, truth: Truth, body: Body) -> None:
    assert motion.world is not None
    lean = Rotation.from_euler("z", 8, degrees=True).as_matrix()
    leaning = figures(
        replace(motion, world=seen_from(motion.world, lean, np.zeros(3))), truth, body
    )
    assert abs(leaning["up_deg"] - 8) < 0.01
    high = figures(
        replace(motion, world=seen_from(motion.world, np.eye(3), np.array([0, 0.07, 0]))),
        truth, body,
    )  # fmt: skip
    assert abs(high["floor_mm"] - 70) < 2
    assert high["wa_mpjpe_mm"] < 0.1
    (person,) = motion.people
    silent = replace(person, contacts=np.eye(4, dtype=np.float32)[[0] * FRAMES])
    one_of_four = figures(replace(motion, people=(silent,)), truth, body)
    assert abs(one_of_four["contact_f1"] - 2 / 5) < 1e-9  # precision 1, recall 1/4


def test_a_walk_on_the_spot_is_an_error_of_the_path(
    motion: Motion, truth: Truth, body: Body
) -> None:
    assert motion.world is not None
    away = (np.arange(FRAMES) / FPS)[:, None] * np.array([1.0, 0, 0])
    still = figures(
        replace(motion, world=replace(motion.world, t=motion.world.t - away)), truth, body
    )
    # the best place on a straight path of 59 / 30 m is its middle: a quarter of it on the mean
    assert abs(still["rte_percent"] - 25) < 1
    assert abs(still["root_velocity_mm_s"] - 1000) < 5
    assert still["contact_skate_mm_s"] < 5
    assert still["w_mpjpe_mm"] > still["wa_mpjpe_mm"] > 100


def test_tables_show_the_world_only_where_the_truth_knows_it(
    motion: Motion, truth: Truth, body: Body
) -> None:
    known = compare(motion, truth, body, clip="scene", method="m")
    unknown = compare(motion, replace(truth, world=None), body, clip="scene", method="m")
    assert "W-MPJPE" in table(known) and "contact F1" in table(known)
    assert "W-MPJPE" not in table(unknown)
    assert as_json(known)["all"]["m"]["up_deg"] == 0
    assert "up_deg" not in as_json(unknown)["all"]["m"]
