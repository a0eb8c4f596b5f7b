"""MLP-IK: plain regression from evidence to rotations, the baseline that NIKI is measured by.

Zhou et al., CVPR 2019, as in NIKI's Table 5 and supplement D; each frame on its own.
"""

import torch
from torch import Tensor, nn

from hpsvid.ik.losses import Batch
from hpsvid.ik.niki import (
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
    posed_joints,
    rotation_6d_to_rotmat,
    rotmat_to_6d,
    to_rest_axes,
    turn_root,
)


class MlpIk(nn.Module):
    """Residual MLP with layer norm: joints, sigmas, twists, betas and view in, 6D rotations out."""

    def __init__(self, hidden: int = 512, blocks: int = 3) -> None:
        super().__init__()
        self.enter = nn.Linear(JOINT_DIM + TWIST_DIM + CONDITION_DIM, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.GELU())
            for _ in range(blocks)
        )
        self.leave = nn.Linear(hidden, POSE_DIM)

    def forward(self, evidence: Evidence, person: Person) -> Tensor:
        """6D rotations (B, T, 144) of evidence in the rest body's axes."""
        sigma = person.sigma.clamp(FLOOR_M, CEILING_M)
        parts = [
            evidence.joints.flatten(-2) / UNIT_M,
            evidence.twist.flatten(-2),
            person.betas.expand(*sigma.shape[:2], -1) / 2,
            person.view,
            torch.log(sigma / SIGMA_UNIT_M),
        ]
        hidden = self.enter(torch.cat(parts, -1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.leave(hidden) + rotmat_to_6d(torch.eye(3).to(hidden).expand(24, 3, 3))

    def rotations(self, evidence: Evidence, person: Person) -> Tensor:
        """Solve windows in any axes: rotations (B, T, 24, 3, 3) in those axes."""
        turn, evidence, person = to_rest_axes(evidence, person, framewise=True)
        return turn_root(turn.mT, rotation_6d_to_rotmat(self(evidence, person)))


def mlp_loss(model: MlpIk, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """L_inv of NIKI (Eq. 7), the only direction that an MLP has."""
    found = model(batch.evidence, batch.person)
    valid = batch.person.valid
    rest = batch.person.rest.expand(*valid.shape, 29, 3)
    turned = (found - rotmat_to_6d(batch.rotmats)).square().sum(-1)
    off = posed_joints(rotation_6d_to_rotmat(found), rest) - posed_joints(batch.rotmats, rest)
    errors = turned + off.abs().flatten(2).sum(-1) / UNIT_M
    total = (errors * valid).sum() / valid.sum()
    return total, {"inv": total.item()}
