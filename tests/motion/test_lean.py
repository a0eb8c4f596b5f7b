"""Who stands is turned upright along the view, where up is known; poses and feet stay."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.body.world import to_world
from hpsvid.motion.lean import UP, lasting, righted
from hpsvid.motion.upright import standing_axes, support
from hpsvid.types import BodyParams, Camera, Person, World
from tests.factories import K, make_person

FRAMES = 60
TIMES = np.arange(FRAMES) / 30
AT = np.arange(FRAMES)
CAMERA = Camera(K=K, source="given")


def world_of(pitch_deg: float, sigma_deg: float = 0.0) -> World:
    """Of a camera that looks down by `pitch_deg`."""
    R = Rotation.from_euler("x", -pitch_deg, degrees=True).as_matrix() @ np.diag([1.0, -1, -1])
    return World(
        up=R[1], up_sigma_deg=sigma_deg, R=np.tile(R, (FRAMES, 1, 1)),
        t=np.tile([0.0, 1.5, 0], (FRAMES, 1)), made_from="a test",
    )  # fmt: skip


def tipped(body: Body, world: World, away_deg: float, angles: np.ndarray | None = None) -> Person:
    """Somebody who stands, tipped by so much away from the camera."""
    angles = np.zeros((FRAMES, 24, 3)) if angles is None else angles
    rotmats = Rotation.from_rotvec(angles.reshape(-1, 3)).as_matrix().reshape(FRAMES, 24, 3, 3)
    # a camera's view is along -z of the world: tipped away means turned about -x
    tip = Rotation.from_euler("x", -away_deg, degrees=True).as_matrix()
    rotmats[:, 0] = world.R.mT @ tip @ rotmats[:, 0]
    params = BodyParams(
        rotmats=rotmats.astype(np.float32),
        betas=np.zeros(10, np.float32),
        transl=np.tile(np.array([0, 0, 4], np.float32), (FRAMES, 1)),
    )
    return make_person(body, params)


def lean_deg(person: Person, world: World) -> np.ndarray:
    joints = to_world(person.joints, world, AT)
    axes, _ = standing_axes(joints, UP)
    return np.rad2deg(np.arcsin(-axes[:, 2]))


@pytest.mark.parametrize("pitch_deg", [-10.0, 0.0, 35.0])
def test_who_leans_along_the_view_is_turned_back_about_the_feet(
    body: Body, pitch_deg: float
) -> None:
    world = world_of(pitch_deg)
    upright = lean_deg(tipped(body, world, 0), world)[0]  # a T-pose's own
    for away in (-8.0, 5.0):
        person = tipped(body, world, away)
        after = righted(person, body, CAMERA, world, TIMES)
        assert lean_deg(person, world) == pytest.approx(upright + away, abs=0.7)
        assert np.abs(lean_deg(after, world)).max() < 0.15 * (abs(away) + 1)
        np.testing.assert_array_equal(after.body.rotmats[:, 1:], person.body.rotmats[:, 1:])
        feet = [support(to_world(p.joints, world, AT), UP) for p in (person, after)]
        np.testing.assert_allclose(feet[0], feet[1], atol=0.015)
        np.testing.assert_allclose(after.joints, body.joints_of(after.body), atol=1e-6)


def test_where_up_is_hardly_known_or_nobody_stands_nothing_is_turned(body: Body) -> None:
    person = tipped(body, world_of(0), 8.0)
    unsure = world_of(0, sigma_deg=9.0)
    after = righted(person, body, CAMERA, unsure, TIMES)
    assert np.abs(lean_deg(after, unsure) - lean_deg(person, unsure)).max() < 0.6
    sitting = np.zeros((FRAMES, 24, 3))
    sitting[:, [1, 2], 0] = -1.5
    sitting[:, [4, 5], 0] = 1.5
    for someone in (tipped(body, world_of(0), 8.0, sitting), tipped(body, world_of(0), 85.0)):
        after = righted(someone, body, CAMERA, world_of(0), TIMES)
        assert np.abs(after.joints - someone.joints).max() < 0.02


def test_a_bow_is_no_lean() -> None:
    times = np.arange(300) / 30
    lean = np.radians(np.where((times > 4) & (times < 4.5), 20.0, -3.0))
    kept = np.degrees(lasting(lean, np.ones(300), times))
    assert kept[135] < 0.0  # in its middle
    assert kept[240:].max() < -2.2
    assert np.abs(np.diff(kept)).max() < 0.1  # it comes and goes slowly
    assert not lasting(lean, np.zeros(300), times).any()
    assert lasting(lean[:1], np.ones(1), times[:1]) == pytest.approx(lean[0] / 1.1)


def test_frames_in_which_a_person_is_not_seen_tell_nothing(body: Body) -> None:
    world = world_of(0)
    person = tipped(body, world, 8.0)
    unseen = replace(person, valid=np.zeros(FRAMES, bool))
    after = righted(unseen, body, CAMERA, world, TIMES)
    np.testing.assert_allclose(after.joints, person.joints, atol=1e-5)
