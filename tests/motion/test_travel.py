"""A camera that is carried about: feet that stand say where it goes."""

from dataclasses import replace

import numpy as np
import pytest

from hpsvid.body.model import Body
from hpsvid.body.world import to_world
from hpsvid.motion.travel import Steps, camera_way
from hpsvid.motion.world import find_world
from hpsvid.options import Options
from hpsvid.types import Array
from tests.factories import make_person
from tests.motion.test_world import STILL, TIMES, standing

UP = np.array([0.0, -1.0, 0.0])
FRAMES, RATE = 120, 30.0
PTS = np.arange(FRAMES) / RATE
STANCE_S, STRIDE_M = 0.6, 0.6


def walking(jump: slice = slice(0, 0)) -> Array:
    """Heels and balls (F, 4, 3) m, less their heights, of who walks away from (0, 1.5, 3).

    Each foot stands for STANCE_S and swings STRIDE_M; during `jump` both are 30 cm high.
    """
    points = np.zeros((FRAMES, 4, 3))
    for foot in (0, 1):
        phase = PTS / STANCE_S + foot
        begun, part = np.divmod(phase, 2)
        swing = np.clip(part - 1, 0, 1)
        ahead = 2 * STRIDE_M * (begun + swing) - STRIDE_M * foot
        height = 0.15 * np.sin(np.pi * swing)
        for end in (0, 1):
            points[:, 2 * foot + end] = np.stack(
                [np.full(FRAMES, 0.2 * foot), 1.5 - height, 3 + ahead + 0.15 * end], -1
            )
    points[jump, :, 1] -= 0.3
    return points


def way_of(true: Array, feet: Array, noise: float = 0.0) -> Array:
    """The way that is found where the camera goes the way `true` (F, 3)."""
    seen = feet - true[:, None] + np.random.default_rng(0).normal(0, noise, feet.shape)
    return camera_way([steps_of(seen)], UP, PTS)


def steps_of(points: Array, *, valid: bool = True) -> Steps:
    """Of who is seen in all frames, the pelvis 0.9 m above the feet."""
    frames = len(points)
    return Steps(
        frames=np.arange(frames), points=points, pelvis=points.mean(1) + 0.9 * UP,
        valid=np.full(frames, valid),
    )  # fmt: skip


def test_a_camera_that_walks_along_behind_goes_as_far() -> None:
    true = np.stack([0.03 * np.sin(2 * PTS), 0.02 * np.sin(9 * PTS), 1.0 * PTS], -1)
    found = way_of(true, walking(), noise=0.003)
    assert abs(found[-1, 2] / true[-1, 2] - 1) < 0.05
    assert np.linalg.norm(found - true, axis=-1).max() < 0.15  # m, of 4


def test_while_nobody_stands_the_camera_goes_on() -> None:
    true = np.stack([0 * PTS, 0 * PTS, 1.0 * PTS], -1)
    feet = walking(jump=slice(60, 69))
    feet[60:, :, 2] += 0.3  # the jump takes them further
    found = way_of(true, feet)
    assert np.linalg.norm(found - true, axis=-1).max() < 0.2
    assert np.linalg.norm(np.diff(found, n=2, axis=0), axis=-1).max() * RATE**2 < 6  # m/s^2


def test_who_stands_before_a_camera_that_stands_says_so() -> None:
    feet = np.tile(walking()[:1], (FRAMES, 1, 1))
    assert np.abs(way_of(np.zeros((FRAMES, 3)), feet, noise=0.004)).max() < 0.02


def test_what_is_too_short_or_empty_goes_nowhere() -> None:
    assert not camera_way([], UP, PTS).any()
    assert not camera_way([steps_of(walking()[:3])], UP, PTS[:3]).any()
    blind = steps_of(walking(), valid=False)
    assert np.abs(camera_way([blind], UP, PTS)).max() < 1e-6


@pytest.mark.parametrize("parallax", [True, False])
def test_a_person_stands_in_the_world_though_the_camera_passes_by(
    body: Body, parallax: bool
) -> None:
    person = standing(body, UP)
    shift = np.zeros((len(TIMES), 3), np.float32)
    shift[:, 0] = 0.8 * TIMES  # the camera goes to the left
    moving = make_person(body, replace(person.body, transl=person.body.transl + shift))
    turn = replace(STILL, stands=False, parallax=parallax)
    world = find_world([moving], body, TIMES, turn, Options())
    placed = to_world(moving.joints, world, np.arange(len(TIMES)))[:, 0]
    far = float(np.ptp(shift[:, 0]))
    assert np.ptp(placed[:, 0]) < 0.1 * far if parallax else np.ptp(placed[:, 0]) > 0.9 * far
    assert abs(placed[0, 0]) < 1e-6 and abs(placed[0, 2]) < 1e-6  # above the origin
