"""HybrIK: joint positions and twist angles to rotations, in closed form.

Li et al., "HybrIK: A Hybrid Analytical-Neural Inverse Kinematics Solution for 3D Human Pose and
Shape Estimation", CVPR 2021, Sec. 3.2 and Alg. 1-2.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT, SMPL
from hpsvid.common.geometry import (
    nearest_rotation,
    rotation_about,
    swing_between,
    swing_twist,
    unit,
)
from hpsvid.types import BodyParams, Window

Mode = Literal["adaptive", "naive", "released"]


LEVELS = tuple(
    tuple(joint for joint in range(SMPL.n_rotations) if len(SMPL.ancestors[joint]) == depth)
    for depth in range(1 + max(map(len, SMPL.ancestors[: SMPL.n_rotations])))
)  # joints by their depth in the tree; those of a level are solved together
RELEASED_FALLBACK_M = 0.015  # the authors' code (9b8681d); not in the paper


def solve(joints: Tensor, rest: Tensor, twist: Tensor, mode: Mode = "adaptive") -> Tensor:
    """Parent-relative rotations (..., 24, 3, 3) that carry the rest skeleton to `joints`.

    joints, rest: (..., 29, 3) m, in any position; twist: (..., 23, 2) (cos, sin) about the rest
    bone from joint j = 1..23 to its child, any length > 0 (zero length: no twist). Batched over
    the leading dimensions, differentiable in all three.

    Joints with three children (pelvis, spine3) are solved by SVD over their bones, for them no
    twist is read; all others turn one bone: R = swing @ twist (Eq. 6).
    mode "adaptive" aims each bone from where its near end was reconstructed (Alg. 2), "naive" from
    where that was observed (Alg. 1). "released" does as the authors' code does: adaptive, but
    naive for a bone whose target moves by more than 15 mm between the two, and spine3 by its bone
    to the neck alone.
    """
    # not torch.broadcast_shapes, whose first call imports sympy: more than a second
    shape = np.broadcast_shapes(joints.shape[:-2], rest.shape[:-2], twist.shape[:-2])
    joints = (joints - joints[..., :1, :]).expand(*shape, *joints.shape[-2:])
    rest = rest.expand(*shape, *rest.shape[-2:])
    bones = (
        rest - rest[..., [0, *SMPL.parents[1:]], :]
    )  # each from its parent, the pelvis's is zero
    order: list[int] = []
    relative: list[Tensor] = []
    above: list[int] = []  # the level before, as it was solved
    placed = turned = torch.empty(0)  # its joints (..., n, 3) and global rotations (..., n, 3, 3)
    for level in LEVELS:
        several = [joint for joint in level if len(_aims(joint, mode)) > 1]
        single = [joint for joint in level if len(_aims(joint, mode)) == 1]
        solved = single + several
        turn = torch.eye(3, dtype=joints.dtype, device=joints.device).expand(*shape, 1, 3, 3)
        if level == LEVELS[0]:
            placed = joints[..., :1, :]
        else:
            parents = [above.index(SMPL.parents[joint]) for joint in solved]
            turn = turned[..., parents, :, :]
            step = (turn @ bones[..., solved, :, None])[..., 0]
            placed = placed[..., parents, :] + step
        rotations = []
        if single:
            children = [_aims(joint, mode)[0] for joint in single]
            target = joints[..., children, :] - placed[..., : len(single), :]
            observed = joints[..., children, :] - joints[..., single, :]
            if mode == "naive":
                target = observed
            elif mode == "released":
                length = bones[..., children, :].norm(dim=-1, keepdim=True)
                at_length = unit(observed) * length
                far = (target - at_length).norm(dim=-1, keepdim=True) > RELEASED_FALLBACK_M
                target = torch.where(far, at_length, target)
            target = (target[..., None, :] @ turn[..., : len(single), :, :])[..., 0, :]  # R^T p
            bone_twist = twist[..., [joint - 1 for joint in single], :]
            rotations.append(_twist_then_swing(bones[..., children, :], target, bone_twist))
        for place, joint in enumerate(several, len(single)):
            children = _aims(joint, mode)
            near = joints[..., joint, :] if mode == "naive" else placed[..., place, :]
            target = (joints[..., children, :] - near[..., None, :]) @ turn[..., place, :, :]
            rotations.append(nearest_rotation(target.mT @ bones[..., children, :])[..., None, :, :])
        relative.append(torch.cat(rotations, -3))
        turned = turn @ relative[-1]
        above = solved
        order += solved
    return torch.cat(relative, -3)[
        ..., [order.index(joint) for joint in range(SMPL.n_rotations)], :, :
    ]


def _aims(joint: int, mode: Mode) -> tuple[int, ...]:
    """The joints that `joint`'s rotation is solved to point at."""
    if mode == "released" and joint == JOINT["spine3"]:
        return (JOINT["neck"],)
    return SMPL.children[joint]


def _twist_then_swing(source: Tensor, target: Tensor, twist: Tensor) -> Tensor:
    """Eq. 6: rotation that takes bone `source` to the direction of `target` after its twist."""
    length = twist.norm(dim=-1, keepdim=True)
    untwisted = torch.tensor([1.0, 0.0], dtype=twist.dtype, device=twist.device)
    cos, sin = torch.where(length > 1e-6, twist / length.clamp_min(1e-6), untwisted).unbind(-1)
    return swing_between(source, target) @ rotation_about(unit(source), cos, sin)


def twists(rotmats: Tensor, rest: Tensor) -> Tensor:
    """Twist (cos, sin) (..., 23, 2) of joints 1..23, what `solve` needs to give `rotmats` back.

    rotmats: (..., 24, 3, 3) parent-relative; rest: (..., 29, 3) m. Joints with several children
    report the twist about their first bone; `solve` does not read it.
    """
    first = [SMPL.children[joint][0] for joint in range(1, SMPL.n_rotations)]
    bones = rest[..., first, :] - rest[..., 1 : SMPL.n_rotations, :]
    return swing_twist(rotmats[..., 1:, :, :], bones)[1]


@dataclass(frozen=True)
class HybrIK:
    """The analytic solver behind the `Solver` protocol; every frame on its own."""

    body: Body
    mode: Mode = "adaptive"
    window_length: None = None  # takes a whole track at once

    @property
    def name(self) -> str:
        """As in `hpsvid.ik.SOLVERS`."""
        return "hybrik" if self.mode == "adaptive" else f"hybrik-{self.mode}"

    def __call__(self, window: Window, betas: np.ndarray) -> BodyParams:
        """Solve all frames of a window for one person's shape `betas` (10,) float32."""
        obs = window.obs
        rest = self.body.rest_joints(torch.from_numpy(betas))
        with torch.no_grad():
            rotmats = solve(
                torch.from_numpy(obs.joints), rest, torch.from_numpy(obs.twist), self.mode
            )
        return BodyParams(
            rotmats=rotmats.numpy(),
            betas=betas,
            transl=obs.pelvis - rest[0].numpy(),
        )
