"""MLP-IK: plain regression from evidence to rotations, the baseline that NIKI is measured by.

Zhou et al., CVPR 2019, as in NIKI's Table 5 and supplement D; each frame on its own.
"""

import torch
from torch import Tensor, nn

from hpsvid.ik.tensors import (
    BETA_SCALE,
    CEILING_M,
    CONDITION_DIM,
    FLOOR_M,
    JOINT_DIM,
    POSE_DIM,
    SIGMA_UNIT_M,
    TWIST_DIM,
    UNIT_M,
    Evidence,
    Person,
    rotation_6d_to_rotmat,
    rotmat_to_6d,
    to_rest_axes,
    turn_root,
)
from hpsvid.types import N_ROTATIONS


class ResidualMlp(nn.Module):
    """Linear layer in, blocks of layer norm, linear layer and GELU with a residual, linear out."""

    def __init__(self, n_in: int, hidden: int, blocks: int, n_out: int) -> None:
        super().__init__()
        self.enter = nn.Linear(n_in, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.GELU())
            for _ in range(blocks)
        )
        self.leave = nn.Linear(hidden, n_out)

    def forward(self, *parts: Tensor) -> Tensor:
        """Features (..., n_in), in one or more parts -> (..., n_out)."""
        hidden = self.enter(torch.cat(parts, -1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.leave(hidden)


def frame_betas(person: Person) -> Tensor:
    """A person's shape for each frame (B, T, 10), at about unit size."""
    return person.betas.expand(*person.sigma.shape[:2], -1) / BETA_SCALE


def frame_condition(person: Person) -> Tensor:
    """What a network reads beside each frame's evidence (B, T, 42): betas, view, log sigmas."""
    sigma = person.sigma.clamp(FLOOR_M, CEILING_M)
    return torch.cat([frame_betas(person), person.view, torch.log(sigma / SIGMA_UNIT_M)], -1)


def upright(rotations: Tensor) -> Tensor:
    """Rotations (B, T, 144) 6D that a network put out relative to the rest pose."""
    return rotations + rotmat_to_6d(torch.eye(3).to(rotations).expand(N_ROTATIONS, 3, 3))


class MlpIk(nn.Module):
    """Residual MLP with layer norm: joints, sigmas, twists, betas and view in, 6D rotations out."""

    def __init__(self, hidden: int = 512, blocks: int = 3) -> None:
        super().__init__()
        self.net = ResidualMlp(JOINT_DIM + TWIST_DIM + CONDITION_DIM, hidden, blocks, POSE_DIM)

    def forward(self, evidence: Evidence, person: Person) -> Tensor:
        """6D rotations (B, T, 144) of evidence in the rest body's axes."""
        joints, twist = evidence.joints.flatten(-2) / UNIT_M, evidence.twist.flatten(-2)
        return upright(self.net(joints, twist, frame_condition(person)))

    def rotations(self, evidence: Evidence, person: Person) -> Tensor:
        """Solve windows in any axes: rotations (B, T, 24, 3, 3) in those axes."""
        turn, evidence, person = to_rest_axes(evidence, person, framewise=True)
        return turn_root(turn.mT, rotation_6d_to_rotmat(self(evidence, person)))
