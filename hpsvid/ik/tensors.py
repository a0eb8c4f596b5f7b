"""The tensors that the networks exchange: evidence, person and pose, their units and rotations."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hpsvid.body.skeleton import JOINT, SMPL, forward_kinematics
from hpsvid.common.geometry import nearest_rotation
from hpsvid.ik.hybrik import solve
from hpsvid.types import N_BETAS, N_JOINTS, N_ROTATIONS, N_TWISTS

POSE_DIM = N_ROTATIONS * 6
JOINT_DIM = N_JOINTS * 3
TWIST_DIM = N_TWISTS * 2
CONDITION_DIM = N_BETAS + 3 + N_JOINTS  # betas, direction of view, sigmas
# Inputs are brought to about unit size: a joint lies within 1 m of the pelvis, a joint's sigma is
# 0.01-0.3 m (its logarithm is given), betas are standard normal.
UNIT_M = 0.25
SIGMA_UNIT_M = 0.05
BETA_SCALE = 2.0
FLOOR_M = 0.004  # no joint is known better than this
CEILING_M = 0.5  # nor worse: a joint this uncertain can be anywhere already
TWIST_ERROR = 4.0  # rad of twist error per m of error of the joint that the bone leads to
# far ends of the bones that the twists turn about
BONE_ENDS = [SMPL.children[joint][0] for joint in range(1, SMPL.n_rotations)]
TORSO = tuple(
    JOINT[name]
    for name in (
        "spine1", "spine2", "spine3", "neck", "left_hip", "right_hip", "left_shoulder",
        "right_shoulder",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Person:
    """What a window's poses are conditioned on."""

    rest: Tensor  # (B, T or 1, 29, 3) m, rest joints of the person's shape
    betas: Tensor  # (B, T or 1, 10)
    view: Tensor  # (B, T, 3) unit vector from the camera to the person, in the joints' axes
    sigma: Tensor  # (B, T, 29) m
    valid: Tensor  # (B, T) bool; the padding comes last


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """A window of joints and twists, with or without errors."""

    joints: Tensor  # (B, T, 29, 3) m, relative to the pelvis
    twist: Tensor  # (B, T, 23, 2) cos, sin


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pose:
    """A window of body poses in the network's terms: rotations and the swings inside them."""

    rotations: Tensor  # (B, T, 144) 6D
    swings: Tensor | None  # (B, T, 144) 6D; None for the one-stage model
    z: Tensor  # (B, T, Z) error embedding; 0 = the evidence lies on the manifold of poses


def rotmat_to_6d(rotmats: Tensor) -> Tensor:
    """(..., 24, 3, 3) -> (..., 144): the first two rows of each (Zhou et al., CVPR 2019)."""
    return rotmats[..., :2, :].flatten(-3)


def rotation_6d_to_rotmat(rotations: Tensor) -> Tensor:
    """(..., 144) -> (..., 24, 3, 3) by Gram-Schmidt on the two rows."""
    rows = rotations.unflatten(-1, (N_ROTATIONS, 2, 3))
    first = nn.functional.normalize(rows[..., 0, :], dim=-1, eps=1e-6)
    second = rows[..., 1, :] - (first * rows[..., 1, :]).sum(-1, keepdim=True) * first
    second = nn.functional.normalize(second, dim=-1, eps=1e-6)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -2)


def posed_joints(rotmats: Tensor, rest: Tensor) -> Tensor:
    """Joints (..., 29, 3) m relative to the pelvis; see `forward_kinematics`."""
    joints = forward_kinematics(rotmats, rest)[0]
    return joints - joints[..., :1, :]


def swings_of(joints: Tensor, rest: Tensor) -> Tensor:
    """Rotations (..., 24, 3, 3) that reach `joints` (..., 29, 3) m without any twist.

    They are a function of the joints alone, which makes them the first flow's target (Eq. 17).
    """
    none = torch.zeros(*joints.shape[:-2], N_TWISTS, 2, dtype=joints.dtype, device=joints.device)
    return solve(joints, rest, none)


def to_rest_axes(
    evidence: Evidence, person: Person, *, framewise: bool
) -> tuple[Tensor, Evidence, Person]:
    """Turn each window, or with `framewise` each frame by itself, to the rest body's axes.

    The torso's joints of all valid frames together are rotated onto the rest torso, each by its
    precision. So a solver is equivariant: its network never sees which way the person faces.
    Returns the rotation (B, 1 or T, 3, 3) too; `turn_root` takes rotations there and back.
    """
    torso = list(TORSO)
    rest = person.rest.expand(*person.valid.shape, N_JOINTS, 3)
    sigma = person.sigma[..., torso].clamp(FLOOR_M, CEILING_M)
    weight = sigma.square().reciprocal() * (person.valid[..., None] | framewise)
    moment = (rest[..., torso, :] - rest[..., :1, :]).mT @ (
        evidence.joints[..., torso, :] * weight[..., None]
    )
    turn = nearest_rotation(moment if framewise else moment.sum(1, keepdim=True))
    turned = Evidence(joints=evidence.joints @ turn.mT, twist=evidence.twist)
    return turn, turned, replace(person, view=(turn @ person.view[..., None])[..., 0])


def turn_root(turn: Tensor, rotmats: Tensor) -> Tensor:
    """Rotations (B, T, 24, 3, 3) of a body after it is turned by `turn` (B, 1 or T, 3, 3)."""
    return torch.cat([(turn @ rotmats[:, :, 0])[:, :, None], rotmats[:, :, 1:]], 2)
