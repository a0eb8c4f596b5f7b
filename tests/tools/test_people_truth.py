"""The truth lies on the pictures: joints on their own person, hidden ones known as hidden."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpsvid.body.skeleton import JOINT, SMPL
from tests.tools.people_factories import scene_of
from tools.people.film import NOBODY, Frame, exact_frames, filmed
from tools.people.lens import draw_sensor
from tools.people.props import box
from tools.people.truth import (
    HIDDEN,
    OUTSIDE,
    SEEN,
    SELF_HIDDEN,
    camera_params,
    depth_under_skin,
    point_states,
    truth_of,
)
from tools.people.watch import detector_boxes, shown

WALL = np.array([2.0, 2.4, 0.1])  # m, a box that hides a person


@pytest.fixture(scope="module")
def two(body):
    """Somebody at the right behind somebody in the middle, filmed; and the truth of both."""
    scene = scene_of(body, [(0, 0, 0), (0.25, 0, -0.8)])
    frames = list(exact_frames(scene, 0.0))
    return scene, frames, truth_of(scene, frames, body)


def test_parameters_in_camera_axes_give_the_filmed_surface(body, two):
    scene, _, _ = two
    for actor in scene.actors:
        params = camera_params(actor, scene, body)
        again = actor.character.body.vertices(
            torch.from_numpy(params.rotmats),
            torch.from_numpy(np.asarray(params.betas)),
            torch.from_numpy(params.transl),
        ).numpy()
        assert np.abs(again - scene.shot.camera_points(actor.vertices)).max() < 1e-4


def test_seen_joints_fall_on_their_own_person_in_the_picture(two):
    _, frames, people = two
    for which, truth in enumerate(people):
        column, row = np.floor(truth.joints2d[1]).astype(int).T
        owner = frames[1].owner[:, row.clip(0, 159), column.clip(0, 119)]
        seen = truth.joint_state[1] == SEEN
        assert seen.sum() >= 8
        assert (owner == which)[:, seen].mean() > 0.8  # pixels of 1 cm
    assert (frames[0].owner == NOBODY).mean() > 0.3


def test_who_stands_behind_is_hidden_and_who_stands_in_front_is_not(two):
    _, _, (front, behind) = two
    assert (front.joint_state == HIDDEN).sum() == 0
    hips = [JOINT["right_hip"], JOINT["right_knee"]]  # at the picture's left, behind the other
    assert (behind.joint_state[:, hips] == HIDDEN).all()
    assert behind.joint_state[0, JOINT["left_shoulder"]] == SEEN


def test_a_wall_hides_everybody_and_identity_is_by_place(body, two):
    wall = box(np.random.default_rng(0), np.array([0, 1.2, 1.0]), WALL, 0)
    scene = scene_of(body, [(0, 0, 0)], props=[wall])
    frames = list(exact_frames(scene, 0.0))
    (truth,) = truth_of(scene, frames, body)
    inside = truth.joint_state != OUTSIDE
    assert (truth.joint_state[inside] == HIDDEN).mean() > 0.9
    assert (frames[0].owner == 1).any()  # things are numbered after people
    _, _, people = two
    for which in range(2):
        assert shown(people[which].landmarks2d[0], people, 0) == which
    assert shown(people[0].landmarks2d[0] + 500, people, 0) == -1


def test_states_of_points_by_the_samples_of_their_pixel():
    owner = np.full((4, 2, 4), NOBODY, np.int16)
    nearness = np.zeros((4, 2, 4), np.float32)
    owner[:, 0, 0], nearness[:, 0, 0] = 0, 1 / 2.0
    owner[:, 0, 1], nearness[:, 0, 1] = 1, 1 / 1.0
    owner[:2, 0, 2], nearness[:2, 0, 2] = 1, 1 / 1.0  # half of the samples only
    frame = Frame(rgb=np.zeros((0, 4, 3)), owner=owner, nearness=nearness)
    points = np.array([[0, 0, 2.05], [0, 0, 2.3], [0, 0, 3.0], [0, 0, 0.9], [0, 0, 3], [0, 0, 3]])
    flat = np.array([[0.5, 0.5], [0.5, 0.5], [1.5, 0.5], [1.5, 0.5], [2.5, 0.5], [4.0, 0.5]])
    states = point_states(points, flat, np.full(6, 0.1), frame, 0)
    assert states.tolist() == [SEEN, SELF_HIDDEN, HIDDEN, SEEN, SEEN, OUTSIDE]
    assert (depth_under_skin(SMPL.names) > 0).all()


def test_film_is_the_same_for_the_same_seed_and_the_picture_shows_the_person(two):
    scene, _, _ = two

    def film(seed):
        rng = np.random.default_rng(seed)
        return filmed(scene, draw_sensor(rng), rng)

    pictures, frames = film(1)
    again, _ = film(1)
    assert pictures.shape == (2, 160, 120, 3)
    assert pictures.tobytes() == again.tobytes()
    assert frames[0].owner.shape == (4, 160, 120)
    assert frames[0].rgb.size == 0


def test_detector_boxes_hold_what_shows_and_bridge_gaps(two):
    _, _, people = two
    boxes = detector_boxes(np.random.default_rng(0), people[0], 120, 160)
    assert boxes.shape == (2, 4)
    assert (boxes[:, :2] < people[0].joints2d.mean(1)).all()
    assert (boxes[:, 2:] > people[0].joints2d.mean(1)).all()
    assert (boxes >= 0).all() and (boxes <= [120, 160, 120, 160]).all()
    state = people[0].joint_state.copy()
    state[1] = HIDDEN
    gone = replace(people[0], joint_state=state)
    boxes = detector_boxes(np.random.default_rng(0), gone, 120, 160)
    assert boxes[1] == pytest.approx(boxes[0])
