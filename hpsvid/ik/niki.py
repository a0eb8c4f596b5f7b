"""NIKI: neural inverse kinematics with invertible networks and decoupled errors.

Li et al., CVPR 2023 (paper and supplement). The same class serves the frame-based and the
temporal model: a config with `attention` > 0 alternates spatial with temporal couplings. Where
paper and released code differ, this follows the paper: conditioned on betas, confidences in,
error embedding out.

`analytic` goes one step further in the paper's "emulate the analytical IK": couplings clean the
evidence, then a lifting layer (`flow.Lift`) holds HybrIK's closed form and FK. A model that has
learned nothing is then HybrIK, and z is what the pose does not explain of the evidence.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hpsvid.common.geometry import nearest_rotation
from hpsvid.common.records import join
from hpsvid.ik.flow import CouplingSize, Flow, Given, Lift, couplings
from hpsvid.ik.hybrik import solve, twists
from hpsvid.ik.tensors import (
    BETA_SCALE,
    BONE_ENDS,
    CEILING_M,
    CONDITION_DIM,
    FLOOR_M,
    JOINT_DIM,
    POSE_DIM,
    SIGMA_UNIT_M,
    TWIST_DIM,
    TWIST_ERROR,
    UNIT_M,
    Evidence,
    Person,
    Pose,
    posed_joints,
    rotation_6d_to_rotmat,
    rotmat_to_6d,
    swings_of,
    to_rest_axes,
    turn_root,
)
from hpsvid.types import N_JOINTS, N_TWISTS

Kind = Literal["one-stage", "twist-and-swing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NikiConfig:
    """Size and kind of a model; stored in its checkpoint."""

    kind: Kind = "twist-and-swing"
    blocks: int = 8
    twist_blocks: int = 4  # of the second flow
    hidden: int = 512
    attention: int = 0  # width of the temporal couplings; 0 = frame-based
    heads: int = 4
    analytic: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the checkpoint's metadata."""
        return asdict(self)


class Niki(nn.Module):
    """Inverse and forward kinematics in one invertible network.

    `solve` is g of the paper's Eq. 4 (evidence -> rotations and error embedding); `explain` is
    f of Eq. 3 (rotations and error embedding -> evidence). They are exact inverses.
    """

    def __init__(self, config: NikiConfig) -> None:
        super().__init__()
        self.config = config
        both = config.kind == "twist-and-swing"
        size = CouplingSize(
            n_condition=CONDITION_DIM,
            hidden=config.hidden,
            attention=config.attention,
            heads=config.heads,
            beliefs=config.analytic,
        )
        evidence = JOINT_DIM + (0 if both else TWIST_DIM)
        # the pelvis is the origin: nothing to move there
        used = torch.arange(3, evidence if config.analytic else evidence + POSE_DIM)
        first = couplings(used, used[:0], 3, config.blocks, size)
        if config.analytic:
            first.append(Lift(evidence, *((_swing, _posed) if both else (_solved, _observed))))
        self.first = Flow(first)
        self.evidence_dim = evidence
        self.second: Flow | None = None
        if both:
            swings, twist = torch.arange(POSE_DIM), POSE_DIM + torch.arange(TWIST_DIM)
            if config.analytic:
                second = couplings(twist, swings, 2, config.twist_blocks, size)
                second.append(Lift(POSE_DIM + TWIST_DIM, _twisted, _untwisted))
            else:
                every = torch.cat([swings, twist])
                second = couplings(every, every[:0], 2, config.twist_blocks, size)
            self.second = Flow(second)

    def given(
        self, person: Person, *, second: bool, whole: bool = True, phase: int | Tensor = 0
    ) -> Given:
        """What the first or the second flow is conditioned on."""
        shape = (*person.sigma.shape[:2], -1)
        sigma = person.sigma.clamp(FLOOR_M, CEILING_M)
        condition = [
            (person.betas / BETA_SCALE).expand(shape),
            person.view,
            torch.log(sigma / SIGMA_UNIT_M),
        ]
        joint = (sigma / UNIT_M).square().reciprocal()
        turn = TWIST_ERROR * sigma[..., BONE_ENDS]
        twist = turn.square().reciprocal().repeat_interleave(2, -1)
        free = joint.new_ones(*person.sigma.shape[:2], POSE_DIM)
        parts = [free, twist, free] if second else [joint.repeat_interleave(3, -1), twist, free]
        if not second and self.second is not None:
            del parts[1]
        return Given(
            condition=torch.cat(condition, -1),
            precision=torch.cat(parts, -1),
            rest=person.rest.expand(*person.sigma.shape[:2], N_JOINTS, 3),
            valid=person.valid,
            whole=whole,
            phase=phase,
        )

    def solve(
        self,
        evidence: Evidence,
        person: Person,
        *,
        phase: int | Tensor = 0,
        padding: Tensor | None = None,
        whole: bool = True,
    ) -> Pose:
        """Evidence -> pose.

        phase: 1, or (B, 1), exchanges the interleaved frames of temporal couplings. padding:
        (B, T, P) other than zero shows that all of it is invertible. `whole` False saves the
        work of computing z.
        """
        inner, outer = (
            evidence.joints.new_zeros(*evidence.joints.shape[:-2], self.pad_dim)
            if padding is None
            else padding
        ).tensor_split([POSE_DIM], -1)
        given = self.given(person, second=False, whole=whole, phase=phase)
        out = self.first(self.pack(evidence, inner), given)[0]
        z, pose = out.tensor_split([self.evidence_dim], -1)
        if self.second is None:
            return Pose(rotations=pose, swings=None, z=z)
        packed = torch.cat([pose, evidence.twist.flatten(-2), outer], -1)
        given = self.given(person, second=True, whole=whole, phase=phase)
        out = self.second(packed, given)[0]
        if self.config.analytic:
            rest, rotations = out.tensor_split([POSE_DIM + TWIST_DIM], -1)
        else:
            rotations, rest = out.tensor_split([POSE_DIM], -1)
        return Pose(rotations=rotations, swings=pose, z=torch.cat([z, rest], -1))

    def rotations(self, evidence: Evidence, person: Person, *, both_phases: bool = True) -> Tensor:
        """Solve windows in any axes: rotations (B, T, 24, 3, 3) in those axes.

        A temporal model solves both phases and takes the mean, so that neighbouring frames are
        treated alike and nothing flickers.
        """
        temporal = self.config.attention > 0
        turn, evidence, person = to_rest_axes(evidence, person, framewise=not temporal)
        if not (temporal and both_phases):
            pose = self.solve(evidence, person, whole=False)
            return turn_root(turn.mT, rotation_6d_to_rotmat(pose.rotations))
        count = len(person.valid)
        poses = self.solve(
            join(evidence, evidence),
            join(person, person),
            phase=torch.arange(2, device=turn.device).repeat_interleave(count)[:, None],
            whole=False,
        )
        mean = rotation_6d_to_rotmat(poses.rotations).unflatten(0, (2, count)).mean(0)
        return turn_root(turn.mT, nearest_rotation(mean))

    def pack(self, evidence: Evidence, padding: Tensor | None = None) -> Tensor:
        """The first flow's input (B, T, D); padding None is zeros."""
        parts = [evidence.joints.flatten(-2) / UNIT_M]
        if self.second is None:
            parts.append(evidence.twist.flatten(-2))
        zeros = parts[0].new_zeros(*parts[0].shape[:-1], POSE_DIM)
        return torch.cat([*parts, zeros if padding is None else padding], -1)

    @property
    def pad_dim(self) -> int:
        """Width P of the zeros that the evidence is padded with."""
        return POSE_DIM * (2 if self.second is not None and self.config.analytic else 1)

    def explain(
        self, pose: Pose, person: Person, *, teach_swings: bool = False, whole: bool = True
    ) -> tuple[Evidence, Tensor, Tensor | None]:
        """Pose -> evidence, the padding (B, T, P) that should come out zero, and the swings.

        With `teach_swings` the first flow starts from the swings given in `pose` instead of those
        that the second flow puts out, so that each flow is supervised by itself. `whole` False
        saves the work of computing the padding.
        """
        z, rest = pose.z.tensor_split([self.evidence_dim], -1)
        swings, twist, own_swings = pose.rotations, None, None
        padding: list[Tensor] = []
        if self.second is not None:
            order = (rest, pose.rotations) if self.config.analytic else (pose.rotations, rest)
            given = self.given(person, second=True, whole=whole)
            out = self.second.inverse(torch.cat(order, -1), given)
            own_swings, twist, outer = out.tensor_split([POSE_DIM, POSE_DIM + TWIST_DIM], -1)
            padding.append(outer)
            swings = pose.swings if teach_swings and pose.swings is not None else own_swings
        given = self.given(person, second=False, whole=whole)
        out = self.first.inverse(torch.cat([z, swings], -1), given)
        packed, inner = out.tensor_split([self.evidence_dim], -1)
        joints, more = packed.tensor_split([JOINT_DIM], -1)
        evidence = Evidence(
            joints=joints.unflatten(-1, (N_JOINTS, 3)) * UNIT_M,
            twist=(more if twist is None else twist).unflatten(-1, (N_TWISTS, 2)),
        )
        return evidence, torch.cat([inner, *padding], -1), own_swings


def _joints(packed: Tensor) -> Tensor:
    return packed.unflatten(-1, (N_JOINTS, 3)) * UNIT_M


def _swing(evidence: Tensor, rest: Tensor) -> Tensor:
    return rotmat_to_6d(swings_of(_joints(evidence), rest))


def _posed(pose: Tensor, rest: Tensor) -> Tensor:
    return posed_joints(rotation_6d_to_rotmat(pose), rest).flatten(-2) / UNIT_M


def _solved(evidence: Tensor, rest: Tensor) -> Tensor:
    joints, twist = evidence.tensor_split([JOINT_DIM], -1)
    return rotmat_to_6d(solve(_joints(joints), rest, twist.unflatten(-1, (N_TWISTS, 2))))


def _observed(pose: Tensor, rest: Tensor) -> Tensor:
    rotmats = rotation_6d_to_rotmat(pose)
    joints = posed_joints(rotmats, rest).flatten(-2) / UNIT_M
    return torch.cat([joints, twists(rotmats, rest).flatten(-2)], -1)


def _twisted(evidence: Tensor, rest: Tensor) -> Tensor:
    swings, twist = evidence.tensor_split([POSE_DIM], -1)
    joints = posed_joints(rotation_6d_to_rotmat(swings), rest)
    return rotmat_to_6d(solve(joints, rest, twist.unflatten(-1, (N_TWISTS, 2))))


def _untwisted(pose: Tensor, rest: Tensor) -> Tensor:
    rotmats = rotation_6d_to_rotmat(pose)
    swings = rotmat_to_6d(swings_of(posed_joints(rotmats, rest), rest))
    return torch.cat([swings, twists(rotmats, rest).flatten(-2)], -1)
