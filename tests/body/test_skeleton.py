"""The skeleton as a value: its counts, its hierarchy, its mirror image."""

import torch

from hpsvid.body.skeleton import (
    BLAZEPOSE,
    JOINT,
    SMPL,
    Skeleton,
    forward_kinematics,
    mirror_points,
    mirror_twists,
)
from hpsvid.types import N_JOINTS, N_LANDMARKS, N_ROTATIONS, N_TWISTS


def test_records_have_the_skeletons_counts():
    assert len(SMPL.names) == len(SMPL.parents) == N_JOINTS
    assert SMPL.n_rotations == N_ROTATIONS
    assert len(SMPL.mirror_twists) == N_TWISTS
    assert len(BLAZEPOSE.names) == N_LANDMARKS


def test_parents_come_before_their_children_and_leaves_have_none():
    for joint, parent in enumerate(SMPL.parents[1:], start=1):
        assert parent < joint and joint in SMPL.children[parent]
    assert not any(SMPL.children[N_ROTATIONS:])
    assert SMPL.ancestors[JOINT["left_knee"]] == (JOINT["left_hip"], JOINT["pelvis"])
    assert SMPL.ancestors[0] == ()


def test_the_mirror_image_of_a_pose_has_mirrored_joints(body):
    """Points and rotations are mirrored by the same tables."""
    generator = torch.Generator().manual_seed(0)
    rotmats = torch.linalg.qr(torch.randn(24, 3, 3, generator=generator))[0]
    rotmats = rotmats * torch.linalg.det(rotmats)[:, None, None]
    rest = body.rest_joints(torch.zeros(10))
    flip = torch.diag(torch.tensor([-1.0, 1, 1]))
    mirrored = flip @ rotmats[SMPL.mirror_rotations] @ flip
    expected = mirror_points(forward_kinematics(rotmats, rest)[0], SMPL)
    assert torch.allclose(forward_kinematics(mirrored, rest)[0], expected, atol=1e-4)
    twist = torch.randn(5, N_TWISTS, 2, generator=generator)
    left, right = JOINT["left_elbow"] - 1, JOINT["right_elbow"] - 1
    assert torch.equal(mirror_twists(twist)[:, left], twist[:, right] * torch.tensor([1.0, -1]))


def test_kinematics_take_any_skeleton():
    chain = Skeleton(names=("root", "left_a", "tip"), parents=(-1, 0, 1), n_rotations=2)
    rest = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    joints, turned = forward_kinematics(torch.stack([torch.eye(3), quarter]), rest, chain)
    assert joints.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
    assert turned.shape == (2, 3, 3)
