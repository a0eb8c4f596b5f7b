"""The collision ratio against linear programming, and on bodies that do or do not collide."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.evaluation.collision import collision_ratio, crossing, near_parts

FAR = np.zeros((2, 2), bool)  # two parts, neither near the other, nor itself


def meet(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two triangles (3, 3) share a point: convex combinations that are equal."""
    equal = np.vstack([np.hstack([one.T, -other.T]), [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    return linprog(np.zeros(6), A_eq=equal, b_eq=[0, 0, 0, 1, 1]).status == 0


def test_crossing_triangles_are_those_of_a_linear_programme():
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(150, 2, 3, 3)) + rng.normal(0, 0.5, (150, 2, 1, 3))
    faces, part = np.arange(6).reshape(2, 3), np.array([0, 1])
    ours = [crossing(pair.reshape(6, 3), faces, part, FAR).all() for pair in pairs]
    assert ours == [meet(*pair) for pair in pairs]
    assert 20 < sum(ours) < 130


def test_the_sweep_finds_every_pair():
    rng = np.random.default_rng(1)
    middle = rng.uniform(0, 1, (120, 1, 3))
    soup = (middle + rng.normal(0, 0.09, (120, 3, 3))).reshape(-1, 3)
    faces, part = np.arange(360).reshape(-1, 3), np.arange(120) % 2
    near = np.eye(2, dtype=bool)  # only triangles of the other part count
    expected = np.zeros(120, bool)
    triangles = soup[faces]
    for i in range(0, 120, 2):
        for j in range(1, 120, 2):
            apart = (triangles[i].min(0) > triangles[j].max(0)) | (
                triangles[j].min(0) > triangles[i].max(0)
            )
            if not apart.any() and meet(triangles[i], triangles[j]):
                expected[[i, j]] = True
    np.testing.assert_array_equal(crossing(soup, faces, part, near), expected)
    assert 10 < expected.sum() < 110


def test_near_parts_are_two_joints_apart():
    near = near_parts()
    assert near[JOINT["left_wrist"], JOINT["left_shoulder"]]
    assert near[JOINT["left_hip"], JOINT["right_hip"]]
    assert not near[JOINT["left_wrist"], JOINT["left_collar"]]
    assert not near[JOINT["left_knee"], JOINT["right_hip"]]


def test_a_standing_body_is_free_and_an_arm_through_the_chest_is_not(body: Body):
    angles = torch.zeros(3, 24, 3)
    angles[1, JOINT["left_shoulder"]] = torch.tensor([0.0, -1.2, -0.3])  # before the chest
    angles[1, JOINT["left_elbow"]] = torch.tensor([0.0, -2.3, 0.0])  # and back into it
    angles[2, JOINT["left_elbow"]] = torch.tensor([0.0, -2.0, 0.0])  # bent, folds only
    vertices = body.vertices(
        axis_angle_to_matrix(angles), torch.zeros(10), torch.zeros(3, 3)
    ).numpy()
    free, pierced, bent = collision_ratio(vertices, body)
    assert free < 0.001
    assert bent < 0.002
    assert 5 * max(free, bent) < pierced < 0.3
    (moved,) = collision_ratio(vertices[1:2].astype(np.float64) + 2, body)
    assert moved == pytest.approx(pierced, abs=1e-3)
