"""HybrIK: joint positions and twist angles to rotations, in closed form.

Li et al., "HybrIK: A Hybrid Analytical-Neural Inverse Kinematics Solution for 3D Human Pose and
Shape Estimation", CVPR 2021, Sec. 3.2 and Alg. 1-2.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hpsvid.body import JOINT, N_BODY, PARENTS, Body
from hpsvid.geometry import nearest_rotation, rotation_about, swing_between, swing_twist, unit
from hpsvid.types import BodyParams, Window

Mode = Literal["adaptive", "naive", "released"]

CHILDREN = tuple(
    tuple(child for child, parent in enumerate(PARENTS) if parent == joint)
    for joint in range(N_BODY)
)
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
    shape = torch.broadcast_shapes(joints.shape[:-2], rest.shape[:-2], twist.shape[:-2])
    joints = joints - joints[..., :1, :]
    bones = {c: rest[..., c, :] - rest[..., PARENTS[c], :] for c in range(1, len(PARENTS))}
    placed: dict[int, Tensor] = {0: joints[..., 0, :]}
    turned: dict[int, Tensor] = {}  # global rotations
    relative: list[Tensor] = []
    for joint in range(N_BODY):
        if joint > 0:
            parent = PARENTS[joint]
            step = (turned[parent] @ bones[joint][..., None])[..., 0]
            placed[joint] = placed[parent] + step
        children = CHILDREN[joint]
        if mode == "released" and joint == JOINT["spine3"]:
            children = (JOINT["neck"],)
        source = torch.stack([bones[child] for child in children], -2)
        observed = joints[..., children, :] - joints[..., joint : joint + 1, :]
        target = joints[..., children, :] - placed[joint][..., None, :]
        if mode == "naive":
            target = observed
        elif mode == "released" and len(children) == 1:
            at_length = unit(observed) * source.norm(dim=-1, keepdim=True)
            far = (target - at_length).norm(dim=-1, keepdim=True) > RELEASED_FALLBACK_M
            target = torch.where(far, at_length, target)
        if joint > 0:
            target = target @ turned[PARENTS[joint]]  # rows: R^T p
        if len(children) > 1:
            rotation = nearest_rotation(target.mT @ source)
        else:
            bone_twist = twist[..., joint - 1, :]
            rotation = _twist_then_swing(source[..., 0, :], target[..., 0, :], bone_twist)
        rotation = rotation.expand(*shape, 3, 3)
        relative.append(rotation)
        turned[joint] = rotation if joint == 0 else turned[PARENTS[joint]] @ rotation
    return torch.stack(relative, -3)


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
    first = [CHILDREN[joint][0] for joint in range(1, N_BODY)]
    bones = rest[..., first, :] - rest[..., 1:N_BODY, :]
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
