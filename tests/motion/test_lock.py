"""Planted feet are held; those in the air, and what the picture shows, stay."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT
from hpsvid.motion.feet import feet_over_ground
from hpsvid.motion.lock import holds_feet, lock_feet
from hpsvid.options import LockName, Options
from hpsvid.types import BodyParams, Camera, Person, World
from tests.factories import K, make_person

FRAMES = 60
TIMES = np.arange(FRAMES) / 30
CAMERA = Camera(K=K, source="given")
ANKLES = [JOINT["left_ankle"], JOINT["right_ankle"]]


def level_world() -> World:
    R = np.tile(np.diag([1.0, -1, -1]), (FRAMES, 1, 1))
    t = np.tile([0, 1.0, 0], (FRAMES, 1))
    return World(up=np.array([0.0, -1, 0]), up_sigma_deg=3.0, R=R, t=t, made_from="a test")


def swaying(body: Body, contacts: np.ndarray) -> Person:
    """A person with bent knees whose left foot, which should stand, slides to and fro."""
    angles = np.zeros((FRAMES, 24, 3))
    angles[:, 0, 0] = np.pi
    angles[:, [1, 2], 0] = -0.3
    angles[:, [4, 5], 0] = 0.6
    sway = np.sin(TIMES * 4)
    angles[:, 1, 2] += 0.015 * sway  # across the view: 1.3 cm
    angles[:, 1, 0] += 0.05 * sway  # along it: 4 cm
    rotmats = Rotation.from_rotvec(angles.reshape(-1, 3)).as_matrix().reshape(FRAMES, 24, 3, 3)
    params = BodyParams(
        rotmats=rotmats.astype(np.float32),
        betas=np.zeros(10, np.float32),
        transl=np.tile(np.array([0, 0, 4], np.float32), (FRAMES, 1)),
    )
    return replace(make_person(body, params), contacts=contacts)


def test_a_planted_foot_stands_and_the_picture_stays(body: Body) -> None:
    contacts = np.zeros((FRAMES, 4), np.float32)
    contacts[20:40, :2] = 0.9
    person = swaying(body, contacts)
    held = lock_feet(person, body, CAMERA, level_world(), TIMES)

    def slide(person: Person) -> float:
        return float(np.ptp(person.joints[20:40, ANKLES[0]], axis=0).max())

    assert slide(person) > 0.03
    assert slide(held) < 0.25 * slide(person)
    far = np.linalg.norm(held.joints2d - person.joints2d, axis=-1).max()
    assert far * 4 / K[0, 0] < 0.018  # metres at the person: 1 % of the height
    np.testing.assert_array_equal(held.joints[:, ANKLES[1]], person.joints[:, ANKLES[1]])
    untouched = [*range(10), *range(50, FRAMES)]  # longer than the fade before and after
    np.testing.assert_allclose(held.joints[untouched], person.joints[untouched], atol=2e-3)
    bend = np.linalg.norm(np.diff(held.joints[:, ANKLES[0]], n=2, axis=0), axis=-1) * 30**2
    assert bend.max() < 10  # m/s^2: no pop where the contact begins and ends
    knees = [
        np.linalg.norm(p.joints[:, 1] - p.joints[:, ANKLES[0]], axis=-1) for p in (held, person)
    ]
    assert knees[0].max() < knees[1].max() + 0.03  # nor a knee that snaps straight


@pytest.mark.parametrize("away_m", [-0.02, 0.02])
def test_levelled_feet_come_down_or_up_to_the_floor_and_go_where_they_went(
    body: Body, away_m: float
) -> None:
    contacts = np.zeros((FRAMES, 4), np.float32)
    contacts[20:40] = 0.9
    person = swaying(body, contacts)
    at = np.arange(FRAMES)
    world = level_world()
    lowest = float(feet_over_ground(person.body, world, at, body)[20:40, :, 1].min())
    world = replace(world, t=world.t + np.array([0, away_m - lowest, 0]))

    def soles(person: Person) -> np.ndarray:
        """Heights (T, 2) of the lower end of each foot."""
        height = feet_over_ground(person.body, world, at, body)[..., 1]
        return height.reshape(FRAMES, 2, 2).min(-1)

    level = lock_feet(person, body, CAMERA, world, TIMES, level=True)
    before, after = np.abs(soles(person)[22:38]), np.abs(soles(level)[22:38])
    assert after.mean() < 0.5 * before.mean() and (after < before + 1e-3).all()
    assert soles(level).min() > min(away_m, 0) - 1e-3
    before, after = (np.diff(p.joints[:, ANKLES[0], [0, 2]], axis=0) for p in (person, level))
    np.testing.assert_allclose(after, before, atol=2e-3)  # not held sideways
    far = np.linalg.norm(level.joints2d - person.joints2d, axis=-1).max()
    assert far * 4 / K[0, 0] < 0.018
    bend = np.linalg.norm(np.diff(level.joints[:, ANKLES], n=2, axis=0), axis=-1) * 30**2
    assert bend.max() < 10


def test_feet_in_the_air_stay_there(body: Body) -> None:
    person = swaying(body, np.full((FRAMES, 4), 0.1, np.float32))
    held = lock_feet(person, body, CAMERA, level_world(), TIMES)
    np.testing.assert_allclose(held.joints, person.joints, atol=1e-5)
    assert (
        lock_feet(replace(person, contacts=None), body, CAMERA, level_world(), TIMES).contacts
        is None
    )


@pytest.mark.parametrize(
    ("lock", "sigma", "held"),
    [("auto", 3, True), ("auto", 20, False), ("always", 20, True), ("ground", 20, True),
     ("off", 3, False)],
)  # fmt: skip
def test_feet_are_held_where_the_ground_is_known(lock: LockName, sigma: float, held: bool) -> None:
    world = replace(level_world(), up_sigma_deg=float(sigma))
    assert holds_feet(world, Options(foot_lock=lock)) == held


def test_a_ball_that_bears_alone_is_held_and_a_sure_picture_binds_more(body: Body) -> None:
    contacts = np.zeros((FRAMES, 4), np.float32)
    contacts[20:40, 1] = 0.9  # the left ball, the heel is up
    person = swaying(body, contacts)

    def slide(sigma: float) -> tuple[float, float]:
        """How far the ball goes in the world, and the ankle from where it was seen, m."""
        seen = replace(person, sigma=np.full_like(person.sigma, sigma))
        held = lock_feet(seen, body, CAMERA, level_world(), TIMES)
        points = feet_over_ground(held.body, level_world(), np.arange(FRAMES), body)
        far = np.linalg.norm((held.joints2d - person.joints2d)[:, ANKLES[0]], axis=-1).max()
        return float(np.ptp(points[20:40, 1], axis=0).max()), float(far * 4 / K[0, 0])

    free, bound = slide(0.1), slide(0.0)
    before = feet_over_ground(person.body, level_world(), np.arange(FRAMES), body)
    assert free[0] < 0.5 * np.ptp(before[20:40, 1], axis=0).max()
    assert bound[1] < 0.018  # 1 % of the height
