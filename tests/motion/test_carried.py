"""A camera that is carried over ground that it sees: how far it goes, and what it truly turns."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.body.world import to_world
from hpsvid.motion.carried import OverPlane, over_plane
from hpsvid.motion.travel import camera_way
from hpsvid.motion.upright import tangents
from hpsvid.motion.world import find_world, up_of
from hpsvid.options import Options
from hpsvid.types import Array
from hpsvid.video.flow import NONE, STORED, Flow
from tests.factories import make_person
from tests.motion.test_travel import FRAMES, PTS, steps_of, walking
from tests.motion.test_world import FRAMES as SHORT
from tests.motion.test_world import STILL, TIMES, standing

SIZE, FOCAL = (320, 180), 300.0
HEIGHT = 1.5  # m over the ground
PITCH = np.deg2rad(15)
UP = up_of(PITCH, 0.03)
FEATURES = 80


def seen_ground(way: Array, turns: Array, *, wall: float = 0.0, noise: float = 0.1) -> Flow:
    """What a camera sees of ground, and of a wall 9 m away, from frame to frame.

    way: (F, 3) m, axes of the first frame, in which the ground's normal is UP; turns: (F, 3, 3);
    wall: share of the features; noise: px.
    """
    rng = np.random.default_rng(0)
    count = len(way)
    stored = np.full((count - 1, FEATURES, 4), NONE, np.int16)
    ahead = np.cross(np.cross(UP, [0.0, 0, 1]), UP)
    ahead /= np.linalg.norm(ahead)
    for step, row in enumerate(stored):
        px = rng.uniform((5, 5), (SIZE[0] - 5, SIZE[1] - 5), (FEATURES, 2))
        rays = np.concatenate([px - (np.array(SIZE) - 1) / 2, np.full((FEATURES, 1), FOCAL)], 1)
        rays = rays @ turns[step].T
        to_ground = (HEIGHT + way[step] @ UP) / np.maximum(-rays @ UP, 1e-6)
        to_wall = (9 - way[step] @ ahead) / (rays @ ahead)
        is_wall = (rng.random(FEATURES) < wall) | (to_wall < to_ground)
        places = rays * np.where(is_wall, to_wall, to_ground)[:, None] + way[step]
        after = (places - way[step + 1]) @ turns[step + 1]
        after = after[:, :2] / after[:, 2:] * FOCAL + (np.array(SIZE) - 1) / 2
        both = np.concatenate([px, after + rng.normal(0, noise, after.shape)], 1)
        inside = ((both > 1) & (both < np.tile(SIZE, 2) - 2)).all(1)
        row[: inside.sum()] = np.round(both[inside] * STORED)
    frames = np.stack([np.arange(count - 1), np.arange(1, count)], -1)
    return Flow(frames=frames, stored=stored, size=SIZE, focal_px=FOCAL)


def along(metres: float, frames: int = 48) -> Array:
    """A way (F, 3) m with the view, over the ground, and up and down by steps."""
    ahead = np.cross(np.cross(UP, [0.0, 0, 1]), UP)
    ahead /= np.linalg.norm(ahead)
    part = np.linspace(0, 1, frames)[:, None]
    return metres * part * ahead + 0.03 * np.sin(12 * part) * UP


def turning(degrees: float, frames: int = 48) -> Array:
    """Turns (F, 3, 3) about an upright axis."""
    angle = np.deg2rad(degrees) * np.linspace(0, 1, frames)
    return Rotation.from_rotvec(angle[:, None] * UP).as_matrix()


def off_deg(found: Array, true: Array) -> float:
    return float(np.rad2deg(Rotation.from_matrix(found.mT @ true).magnitude().max()))


@pytest.mark.parametrize("wall", [0.0, 0.1])
def test_the_ground_says_how_far_the_camera_goes_and_what_it_turns(wall: float) -> None:
    way, turns = along(3.0), turning(8)
    bent = (
        turning(8)
        @ Rotation.from_rotvec(
            np.deg2rad(5) * np.linspace(0, 1, 48)[:, None] * [1, 0, 0]
        ).as_matrix()
    )  # as parallax bends what the background says
    over = over_plane(seen_ground(way, turns, wall=wall), bent, UP, np.deg2rad(3))
    assert over is not None and over.travels and over.seen.mean() > 0.8
    assert off_deg(bent, turns) > 4.9
    assert off_deg(over.turns, turns) < 0.7
    goes = np.diff(way, axis=0)[over.seen]
    assert np.linalg.norm(np.cumsum(over.shift[over.seen] * HEIGHT - goes, 0), axis=1).max() < 0.15


@pytest.mark.parametrize("off_deg_", [4.0, 9.0])
def test_the_ground_says_which_way_is_up_as_far_as_ground_is_level(off_deg_: float) -> None:
    flow, thought = seen_ground(along(3.0), turning(8)), np.deg2rad(off_deg_)
    people = np.cos(thought) * UP + np.sin(thought) * tangents(UP)[0]
    over = over_plane(flow, turning(8), people, thought)
    assert over is not None
    up, sigma = over.levelled(people, thought)
    left = np.rad2deg(np.arccos(min(1.0, up @ UP)))
    assert left < off_deg_ / 2.5
    assert np.rad2deg(sigma) < off_deg_
    sure, _ = over.levelled(people, np.deg2rad(0.3))
    assert np.rad2deg(np.arccos(sure @ people)) < 0.3


@pytest.mark.parametrize("wall", [0.0, 0.5])
def test_a_camera_that_only_turns_does_not_travel(wall: float) -> None:
    turns = turning(40)
    over = over_plane(seen_ground(np.zeros((48, 3)), turns, wall=wall), turns, UP, 0.05)
    assert over is not None and not over.travels


def test_walls_that_fill_the_picture_are_not_taken_for_ground() -> None:
    over = over_plane(seen_ground(along(4.0), turning(0), wall=0.6), turning(0), UP, 0.05)
    assert over is not None and not over.travels


def test_where_no_plane_is_seen_it_is_not_believed() -> None:
    flow = seen_ground(along(3.0), turning(0))
    rng = np.random.default_rng(1)
    moved = flow.stored + rng.integers(-8 * STORED, 8 * STORED, flow.stored.shape)
    lost = np.where(flow.stored == NONE, NONE, moved).astype(np.int16)
    over = over_plane(replace(flow, stored=lost), turning(0), UP, 0.05)
    assert over is not None and not over.travels
    few = replace(flow, stored=flow.stored[:, :5])
    over = over_plane(few, turning(0), UP, 0.05)
    assert over is not None and not over.seen.any() and not over.travels
    assert np.allclose(over.turns, turning(0))
    nothing = replace(flow, frames=flow.frames[:0], stored=flow.stored[:0])
    assert over_plane(nothing, turning(0), UP, 0.05) is None


def test_ground_outvotes_feet_that_seem_to_slide_along_and_is_as_large_as_people_are() -> None:
    """From right behind, a walker's standing foot is lifted below the body all the time."""
    up = np.array([0.0, -1.0, 0.0])
    true = np.stack([0 * PTS, 0 * PTS, 1.0 * PTS], -1)
    feet = walking() - true[:, None]
    feet[..., 2] = 3.0
    steps = steps_of(feet)
    alone = camera_way([steps], up, PTS)
    frames = np.stack([np.arange(FRAMES - 1), np.arange(1, FRAMES)], -1)
    over = OverPlane(
        frames=frames, shift=np.diff(true, axis=0) / 1.5, seen=np.arange(FRAMES - 1) % 3 > 0,
        agree=np.ones(FRAMES - 1),
        covariance=np.tile(1e-6 * np.eye(3), (FRAMES - 1, 1, 1)),
        turns=np.tile(np.eye(3), (FRAMES, 1, 1)), normal=up, information=np.eye(2),
    )  # fmt: skip
    told = camera_way([steps], up, PTS, over)
    assert alone[-1, 2] < 0.5 * true[-1, 2]
    assert abs(told[-1, 2] / true[-1, 2] - 1) < 0.1
    unsure = replace(over, covariance=1e6 * over.covariance)
    assert camera_way([steps], up, PTS, unsure)[-1, 2] < 0.6 * true[-1, 2]


@pytest.mark.parametrize("metres", [1.2, 0.0])
def test_a_person_stands_in_the_world_before_a_camera_carried_over_the_ground(
    body: Body, metres: float
) -> None:
    person = standing(body, UP)
    soles = (body.vertices_of(person.body) @ UP).min()
    there = person.body.transl - (soles + HEIGHT) * UP - along(metres, SHORT)
    person = make_person(body, replace(person.body, transl=there.astype(np.float32)))
    flow = seen_ground(along(metres, SHORT), turning(0, SHORT))
    turn = replace(STILL, stands=False, parallax=False, flow=flow)
    world = find_world([person], body, TIMES, turn, Options())
    gone = float(np.linalg.norm(world.t[-1] - world.t[0]))
    placed = to_world(person.joints, world, np.arange(SHORT))[:, 0]
    if metres:
        assert "ground's flow" in world.made_from
        assert np.linalg.norm(placed[-1] - placed[0]) < 0.25 * metres < 0.5 * gone
    else:
        assert "way" not in world.made_from and gone == 0
