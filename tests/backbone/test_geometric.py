"""The geometric lifter on perfect landmarks of the free body, whose joints are known."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hpsvid.backbone.geometric import (
    UNSEEN_SIGMA_M,
    camera_landmarks,
    fit_betas,
    lift_geometrically,
)
from hpsvid.backbone.landmarks import Landmarks
from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT, LANDMARK, forward_kinematics
from hpsvid.common.geometry import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    project,
    rotation_to_ray,
)
from hpsvid.ik.hybrik import solve
from hpsvid.mocap.amass import read_mocap
from hpsvid.types import Array, Camera

K = torch.tensor([[1000.0, 0, 640], [0, 1000.0, 360], [0, 0, 1]])
CAMERA = Camera(K=K.double().numpy(), source="given")


@dataclass(frozen=True)
class Truth:
    """A posed body in camera axes and what a perfect network would say about it."""

    landmarks: Landmarks
    joints: Array  # (T, 29, 3) m, camera coordinates
    turned: Tensor  # (T, 24, 3, 3) global rotations
    points: Tensor  # (T, 33, 3) m, camera coordinates


def observe(body: Body, rotmats: Tensor, betas: Tensor, transl: Tensor) -> Truth:
    rest = body.rest_joints(betas)
    joints, turned = forward_kinematics(rotmats, rest)
    points = body.landmarks(rotmats, betas, transl)
    image = project(points, K)
    hips = [LANDMARK["left_hip"], LANDMARK["right_hip"]]
    middle = image[:, hips].mean(1)
    ray = torch.cat([(middle - K[:2, 2]) / K[0, 0], torch.ones(len(image), 1)], -1)
    world = (points - points[:, hips].mean(1, keepdim=True)) @ rotation_to_ray(ray)
    count = len(image)
    landmarks = Landmarks(
        track_id=7,
        frame_index=np.arange(count),
        image=image.numpy(),
        world=world.numpy(),
        visibility=np.ones((count, 33), np.float32),
        presence=np.ones((count, 33), np.float32),
        score=np.ones(count, np.float32),
    )
    joints = (joints + transl[:, None]).numpy()
    return Truth(landmarks=landmarks, joints=joints, turned=turned, points=points)


def facing_camera(pose: Tensor) -> Tensor:
    """Rotations (T, 24, 3, 3) of axis angles (T, 24, 3) whose root is y up, in camera axes."""
    rotmats = axis_angle_to_matrix(pose)
    rotmats[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotmats[:, 0]
    return rotmats


def standing(body: Body, count: int = 1) -> Truth:
    transl = torch.tensor([0.8, -0.2, 4.0]).expand(count, 3)
    return observe(body, facing_camera(torch.zeros(count, 24, 3)), torch.zeros(count, 10), transl)


def pelvis_relative(joints: Array) -> Array:
    return joints - joints[..., :1, :]


def test_lone_frame_gives_whole_observations(body: Body):
    truth = standing(body)
    seen = lift_geometrically(truth.landmarks, CAMERA, body)
    assert seen.track_id == 7 and len(seen) == 1 and seen.valid.all()
    error = np.linalg.norm(seen.joints - pelvis_relative(truth.joints), axis=-1)
    assert error.mean() < 0.02 and error.max() < 0.06
    np.testing.assert_allclose(seen.pelvis, truth.joints[:, 0], atol=0.03)
    np.testing.assert_allclose(np.linalg.norm(seen.twist, axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(seen.landmarks2d[..., :2], truth.landmarks.image)
    for array in (seen.joints, seen.sigma, seen.twist, seen.betas, seen.pelvis):
        assert array.dtype == np.float32


def test_motion_capture_with_perfect_landmarks(body: Body, shared: Path):
    files = sorted((shared / "data/mocap/free/val").glob("*/*.npz"))[::4]
    poses, betas = [], []
    for capture in (capture for file in files for capture in read_mocap(file, body)):
        poses.append(torch.from_numpy(capture.rotmats[::40]))
        betas.append(torch.from_numpy(capture.betas).expand(len(poses[-1]), 10))
    rotmats, shape = torch.cat(poses), torch.cat(betas)
    generator = torch.Generator().manual_seed(0)
    yaw = 2 * torch.pi * torch.rand(len(rotmats), generator=generator)
    turn = axis_angle_to_matrix(torch.stack([0.2 * yaw.cos(), yaw, 0.2 * yaw.sin()], -1))
    rotmats[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ turn @ rotmats[:, 0]
    transl = torch.tensor([0.5, 0.0, 4.0]).expand(len(rotmats), 3)
    truth = observe(body, rotmats, shape, transl)
    seen = lift_geometrically(truth.landmarks, CAMERA, body)
    error = np.linalg.norm(seen.joints - pelvis_relative(truth.joints), axis=-1)
    assert error.mean() < 0.025

    def rotation_error(twist: Tensor) -> float:
        rest = body.rest_joints(torch.from_numpy(seen.betas))
        solved = solve(torch.from_numpy(seen.joints), rest, twist)
        turned = forward_kinematics(solved, rest)[1]
        return float(matrix_to_axis_angle(turned.mT @ truth.turned).norm(dim=-1).rad2deg().mean())

    found = rotation_error(torch.from_numpy(seen.twist))
    without = rotation_error(torch.tensor([1.0, 0.0]).expand(len(rotmats), 23, 2))
    assert found < 13 and found < 0.7 * without


@pytest.mark.parametrize("side", ["left", "right"])
def test_bent_arm_shows_the_twist_of_the_upper_arm(body: Body, side: str):
    sign = 1 if side == "left" else -1
    pose = torch.zeros(3, 24, 3)
    pose[:, JOINT[f"{side}_elbow"], 1] = -1.6 * sign
    bone = body.rest_mean[JOINT[f"{side}_elbow"]] - body.rest_mean[JOINT[f"{side}_shoulder"]]
    angles = torch.tensor([-1.0, 0.0, 1.0])
    pose[:, JOINT[f"{side}_shoulder"]] = angles[:, None] * bone / bone.norm()
    truth = observe(
        body, facing_camera(pose), torch.zeros(3, 10), torch.tensor([[0.0, 0, 4]]).expand(3, 3)
    )
    twist = lift_geometrically(truth.landmarks, CAMERA, body).twist
    found = np.arctan2(*twist[:, JOINT[f"{side}_shoulder"] - 1, ::-1].T)
    assert found[0] < -0.7 and abs(found[1]) < 0.15 and found[2] > 0.7


def test_straight_limbs_are_not_twisted_by_noise(body: Body):
    truth = standing(body, 40)
    noise = np.random.default_rng(0).normal(0, 0.01, truth.landmarks.world.shape)
    noisy = replace(truth.landmarks, world=(truth.landmarks.world + noise).astype(np.float32))
    twist = lift_geometrically(noisy, CAMERA, body).twist
    for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip"):
        angle = np.degrees(np.arctan2(*twist[:, JOINT[name] - 1, ::-1].T))
        assert np.abs(angle).mean() < 20


def test_person_off_the_axis_is_seen_along_its_ray(body: Body):
    truth = standing(body)
    points = camera_landmarks(truth.landmarks, CAMERA)
    hips = truth.points[:, [LANDMARK["left_hip"], LANDMARK["right_hip"]]].mean(1, keepdim=True)
    np.testing.assert_allclose(points, truth.points - hips, atol=1e-5)
    assert np.abs(truth.landmarks.world - points.numpy()).max() > 0.1  # the ray matters here


def test_betas_follow_stature_and_a_noisy_frame_makes_no_giant(body: Body):
    eye = torch.eye(3).expand(1, 24, 3, 3)
    sure = torch.ones(1, 33)

    def points(stature: float) -> Tensor:
        shape = torch.tensor([[stature] + [0.0] * 9])
        return body.landmarks(eye, shape, torch.zeros(1, 3))

    for stature in (-2.0, 0.0, 2.0):
        found = fit_betas(points(stature), sure, body)[0]
        assert abs(float(found[0]) - stature) < 0.7
    noise = 0.05 * torch.randn(50, 33, 3, generator=torch.Generator().manual_seed(0))
    noisy = fit_betas(points(0.0) + noise, sure.expand(50, 33), body)
    assert float(noisy.abs().max()) < 1.5
    unseen = fit_betas(points(2.0), torch.zeros(1, 33), body)
    assert float(unseen.abs().max()) == 0  # no evidence, mean shape


def test_sigma_grows_as_joints_hide(body: Body):
    truth = standing(body)
    visibility = truth.landmarks.visibility.copy()
    visibility[:, LANDMARK["left_wrist"]] = 0
    seen = lift_geometrically(truth.landmarks, CAMERA, body)
    hidden = lift_geometrically(replace(truth.landmarks, visibility=visibility), CAMERA, body)
    wrist = JOINT["left_wrist"]
    assert seen.sigma.min() > 0.02 and seen.sigma.max() < 0.15
    assert hidden.sigma[0, wrist] == pytest.approx(0.3)
    assert hidden.sigma[0, JOINT["left_hand"]] > seen.sigma[0, JOINT["left_hand"]]
    others = np.delete(np.arange(29), [wrist, JOINT["left_hand"], JOINT["left_middle_tip"]])
    np.testing.assert_array_equal(hidden.sigma[0, others], seen.sigma[0, others])


def test_unseen_frames_are_marked_and_stay_finite(body: Body):
    truth = standing(body, 5)
    blank = {name: getattr(truth.landmarks, name).copy() for name in ("image", "world", "score")}
    for array in blank.values():
        array[[0, 3]] = 0
    seen = lift_geometrically(replace(truth.landmarks, **blank), CAMERA, body)
    np.testing.assert_array_equal(seen.valid, [False, True, True, False, True])
    np.testing.assert_array_equal(seen.joints[0], seen.joints[1])
    assert (seen.sigma[[0, 3]] == UNSEEN_SIGMA_M).all()
    assert (seen.landmarks2d[[0, 3], :, 2] == 0).all()
    nothing = {name: np.zeros_like(array) for name, array in blank.items()}
    lost = lift_geometrically(replace(truth.landmarks, **nothing), CAMERA, body)
    assert not lost.valid.any()
    for found in (seen, lost):
        for name in ("joints", "sigma", "twist", "betas", "landmarks2d", "pelvis"):
            assert np.isfinite(getattr(found, name)).all(), name


def test_a_body_without_landmarks_borrows_the_free_bodys(body: Body):
    truth = standing(body)
    bare = replace(body, landmark_regressor=None)
    np.testing.assert_allclose(
        lift_geometrically(truth.landmarks, CAMERA, bare).joints,
        lift_geometrically(truth.landmarks, CAMERA, body).joints,
        atol=1e-6,
    )
