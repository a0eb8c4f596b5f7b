"""GIK-Net: joints repaired by one network, rotations regressed from them by another.

Best of Both Worlds (Wang et al., 2022), Sec. 3.2: an inpaint-and-refine net fills in the
joints that were not seen and corrects the others, GIK-Net turns joints into rotations, twists
included; no twist is asked for. Each frame on its own.

Unlike the paper: all 29 joints; the sigmas say which joints are missing and the refine net reads
them; the shape is given, as to every solver here, and not put out; layer norm for batch norm and no
dropout, so that a frame's result depends on nothing but the frame.
"""

from dataclasses import replace

from torch import Tensor, nn

from hpsvid.ik.mlp import ResidualMlp, frame_betas, frame_condition, upright
from hpsvid.ik.tensors import (
    CEILING_M,
    CONDITION_DIM,
    JOINT_DIM,
    POSE_DIM,
    UNIT_M,
    Evidence,
    Person,
    rotation_6d_to_rotmat,
    to_rest_axes,
    turn_root,
)
from hpsvid.types import N_BETAS, N_JOINTS

# a joint less certain than this says no more than the other joints do: over all poses a hand or a
# foot strays about as far from where it is on average
MISSING_M = 0.35


def hide_joints(evidence: Evidence, person: Person, missing: Tensor) -> tuple[Evidence, Person]:
    """Evidence without the joints in `missing` (B, T, 29): at the pelvis, sigma at its most."""
    joints = evidence.joints.masked_fill(missing[..., None], 0.0)
    return replace(evidence, joints=joints), replace(
        person, sigma=person.sigma.masked_fill(missing, CEILING_M)
    )


class GikNet(nn.Module):
    """Joints, sigmas, betas and view in; refined joints and 6D rotations out."""

    def __init__(
        self,
        refine_hidden: int = 256,
        refine_blocks: int = 4,
        hidden: int = 512,
        blocks: int = 3,
    ) -> None:
        super().__init__()
        self.refine = ResidualMlp(
            JOINT_DIM + CONDITION_DIM, refine_hidden, refine_blocks, JOINT_DIM
        )
        self.solve = ResidualMlp(JOINT_DIM + N_BETAS, hidden, blocks, POSE_DIM)

    def forward(self, evidence: Evidence, person: Person) -> tuple[Tensor, Tensor]:
        """Refined joints (B, T, 29, 3) m and 6D rotations (B, T, 144), in the rest body's axes.

        Missing joints of the evidence lie at the pelvis, with a sigma to say so.
        """
        joints = evidence.joints.flatten(-2) / UNIT_M
        refined = joints + self.refine(joints, frame_condition(person))
        rotations = upright(self.solve(refined, frame_betas(person)))
        return refined.unflatten(-1, (N_JOINTS, 3)) * UNIT_M, rotations

    def rotations(self, evidence: Evidence, person: Person) -> Tensor:
        """Solve windows in any axes: rotations (B, T, 24, 3, 3) in those axes."""
        turn, evidence, person = to_rest_axes(
            *hide_joints(evidence, person, person.sigma > MISSING_M), framewise=True
        )
        return turn_root(turn.mT, rotation_6d_to_rotmat(self(evidence, person)[1]))
