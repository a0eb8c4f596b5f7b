"""The ground: which way is up, where it is, and people in its axes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hpsvid.backbone.learned import nothing_seen
from hpsvid.body.model import Body
from hpsvid.body.world import in_world, to_world
from hpsvid.errors import InputError
from hpsvid.motion.person import shape_of
from hpsvid.motion.upright import LEAN_RAD, Cue, fused
from hpsvid.motion.world import find_world, pitch_and_roll, up_of, with_contacts
from hpsvid.options import Options
from hpsvid.types import BodyParams, Person
from hpsvid.video.egomotion import still_camera
from tests.factories import make_motion, make_person

FRAMES = 20
TIMES = np.arange(FRAMES) / 30
STILL = still_camera(FRAMES)


def standing(body: Body, up: np.ndarray, *, person_id: int = 0, at_m: float = 0.0) -> Person:
    """A person in rest pose on a camera's ground, whose up is this, beside the view's middle.

    Leans away from the camera as the engine sees those who stand upright.
    """
    away = np.array([0.0, 0, 1]) - up[2] * up
    up = np.cos(LEAN_RAD) * up + np.sin(LEAN_RAD) * away / np.linalg.norm(away)
    axis = np.cross([0.0, 1, 0], up)
    turn = np.linalg.norm(axis)
    K = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]]) / turn
    angle = np.arccos(up[1])
    R = np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K
    rotmats = np.tile(np.eye(3, dtype=np.float32), (FRAMES, 24, 1, 1))
    rotmats[:, 0] = R
    sideways = np.cross(up, [0.0, 0, 1])
    transl = np.tile([0, 0, 4] + at_m * sideways, (FRAMES, 1)).astype(np.float32)
    params = BodyParams(rotmats=rotmats, betas=np.zeros(10, np.float32), transl=transl)
    return make_person(body, params, person_id=person_id)


@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.01), (25.0, 0.0), (-8.0, 15.0), (20.0, -20.0)])
def test_people_who_stand_say_which_way_is_up(body: Body, pitch: float, roll: float) -> None:
    up = up_of(np.deg2rad(pitch), np.deg2rad(roll))
    people = [standing(body, up, person_id=i, at_m=i) for i in range(2)]
    world = find_world(people, body, TIMES, STILL, Options())
    assert np.rad2deg(np.arccos(world.up @ up)) < 4
    for person in people:
        soles = to_world(body.vertices_of(person.body), world, person.track.frame_index)
        assert abs(soles[..., 1].min()) < 0.08  # on the ground
    assert np.allclose(np.rad2deg(pitch_and_roll(up)), (pitch, roll))


def test_the_first_person_begins_above_the_origin_and_the_camera_looks_forward(body: Body) -> None:
    person = standing(body, up_of(0.3, 0.1))
    world = find_world([person], body, TIMES, STILL, Options())
    pelvis = to_world(person.joints[:1, :1], world, person.track.frame_index[:1])[0, 0]
    assert np.allclose(pelvis[[0, 2]], 0, atol=1e-6)
    assert world.t[0, 2] > 3  # the camera: before the person
    assert (world.R[0] @ [0, 0, 1])[2] < 0  # and looks along -z


def test_a_cue_far_from_the_others_is_outvoted_and_sure_ones_count_more() -> None:
    def cue(pitch: float, roll: float, sigma: float) -> Cue:
        up = up_of(np.deg2rad(pitch), np.deg2rad(roll))
        return Cue(up=up, pitch_deg=sigma, roll_deg=sigma, made_from="")

    agreed = [cue(20, 3, 3), cue(22, 5, 3), cue(21, 4, 3)]
    alone, _ = fused(agreed)
    up, information = fused([*agreed, cue(-30, 60, 3)])
    assert np.rad2deg(np.arccos(up @ alone)) < 1.5
    assert np.rad2deg(np.sqrt(np.linalg.inv(information)[0, 0])) < 3
    up, _ = fused([cue(20, 0, 5), cue(10, 0, 0.5)])
    assert abs(np.rad2deg(pitch_and_roll(up)[0]) - 10) < 0.5


def test_what_the_user_says_of_the_camera_holds(body: Body) -> None:
    person = standing(body, up_of(0.4, 0.2))
    level = find_world([person], body, TIMES, STILL, Options(up="camera"))
    assert np.allclose(level.up, [0, -1, 0])
    given = find_world([person], body, TIMES, STILL, Options(pitch=10, roll=-5))
    assert np.allclose(given.up, up_of(np.deg2rad(10), np.deg2rad(-5)))
    one = find_world([person], body, TIMES, STILL, Options(pitch=10))
    assert np.allclose(np.rad2deg(pitch_and_roll(one.up))[0], 10)


def test_a_person_in_the_world_has_its_joints_there(body: Body) -> None:
    motion = make_motion(body, people=2)
    world = find_world(
        motion.people, body, motion.pts_s, still_camera(len(motion.pts_s)), Options()
    )
    rng = np.random.default_rng(3)  # a camera that moves
    turned, _ = np.linalg.qr(rng.normal(size=(len(motion.pts_s), 3, 3)))
    world = replace(world, R=turned * np.linalg.det(turned)[:, None, None])
    for person in motion.people:
        expected = to_world(person.joints, world, person.track.frame_index)
        found = body.joints_of(in_world(person, world))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_person_is_as_tall_as_the_user_says(body: Body) -> None:
    options = Options(height="0:1.90,2:1.55")

    def stature(who: int) -> float:
        seen = replace(nothing_seen(who, np.arange(3)), valid=np.ones(3, bool))
        shape = torch.from_numpy(shape_of(seen, options, body))
        return float(np.ptp(body.shaped(shape).numpy()[:, 1]))

    assert abs(stature(0) - 1.90) < 2e-3
    assert abs(stature(2) - 1.55) < 2e-3
    assert 1.65 < stature(1) < 1.75  # nothing was said


@pytest.mark.parametrize("text", ["tall", "0:", "9", "0:1.7,1.8m", ""])
def test_heights_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"expected metres from 0\.5 to 2\.5"):
        Options(height=text)


def test_heels_and_balls_touch_the_ground_where_they_rest_on_it(body: Body) -> None:
    person = standing(body, up_of(0.2, 0.1))
    lifted = person.body.rotmats.copy()
    bend = np.deg2rad(80.0)
    lifted[10:, 4] = [[1, 0, 0], [0, np.cos(bend), -np.sin(bend)], [0, np.sin(bend), np.cos(bend)]]
    person = make_person(body, replace(person.body, rotmats=lifted))
    world = find_world([person], body, TIMES, STILL, Options())
    found = with_contacts(person, body, world, TIMES).contacts
    assert found is not None
    assert (found[:5] > 0.5).all()  # both feet, until 0.2 s before one goes up
    assert (found[12:, :2] < 0.2).all()  # the left one is in the air
    assert (found[12:, 2:] > 0.5).all()


def test_a_turning_that_would_topple_people_is_not_believed(body: Body) -> None:
    person = standing(body, up_of(0.1, 0.05))
    turns = Rotation.from_rotvec(np.linspace(0, 2, FRAMES)[:, None] * [0, 0, 1]).as_matrix()
    lost = replace(STILL, stands=False, turns=turns)
    world = find_world([person], body, TIMES, lost, Options())
    tilt = np.rad2deg(np.arccos(np.clip(world.R[:, 1] @ up_of(0.1, 0.05), -1, 1)))
    assert tilt.max() < 5
    assert "not known" in world.made_from
    pan = Rotation.from_rotvec(np.linspace(0, 2, FRAMES)[:, None] * up_of(0.1, 0.05)).as_matrix()
    shown = find_world([person], body, TIMES, replace(lost, turns=pan), Options())
    assert "not known" not in shown.made_from
