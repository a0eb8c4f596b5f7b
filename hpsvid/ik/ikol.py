"""IKOL: inverse kinematics as a few Gauss-Newton steps on all joints at once.

Zhang et al., "IKOL: Inverse kinematics optimization layer for 3D human pose and shape estimation
via Gauss-Newton differentiation", AAAI 2023. Where HybrIK settles one bone after another, this
minimises the distance to all observed joints, which is what pays under noise. Every step is a
closed form, so gradients flow through all of them (GN-Diff, Alg. 1).

The paper turns 18 bones by one angle each in the plane that the observation spans. `solve` lets
every swing go both ways, head, hands and feet included. The published parametrisation, with its
Jacobian put right, is in `tools/tables/solver_tables.py`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL, forward_kinematics
from hpsvid.common.geometry import (
    axis_angle_to_matrix,
    cross_matrix,
    rotation_about,
    swing_between,
    unit,
)
from hpsvid.ik import hybrik
from hpsvid.types import BodyParams, Window

ITERATIONS = 3  # from HybrIK's swings; further ones gain only where joints are hidden
DAMPING = 3e-4  # m^2, sigma of Eq. 10
# added to the damping, of the squared distance (m^2) still to go: the further, the less the
# linearisation holds
COST_SHARE = 0.03
NEARBY = (0, -1, 1, -8, 8)  # frames whose swings a frame may start from
CHUNK_FRAMES = 256
SMALLEST_SIGMA_M = 1e-3  # a smaller sigma counts as this

SWUNG = tuple(joint for joint in range(1, SMPL.n_rotations) if len(SMPL.children[joint]) == 1)
TIPS = tuple(SMPL.children[joint][0] for joint in SWUNG)  # far ends of their bones
# joints with several children turn any way
FREE = tuple(joint for joint in range(SMPL.n_rotations) if len(SMPL.children[joint]) > 1)
PLACE = tuple((SWUNG + FREE).index(joint) for joint in range(SMPL.n_rotations))
# a step's parameters: two for each swing, three for each free joint
OWNERS = tuple(joint for joint in SWUNG for _ in range(2)) + tuple(
    joint for joint in FREE for _ in range(3)
)
N_SWINGS = 2 * len(SWUNG)


MOVES = torch.tensor(
    [[owner in SMPL.ancestors[joint] for joint in range(1, len(SMPL.parents))] for owner in OWNERS]
).float()  # (50, 28) whether turning the owner moves the joint


@dataclass(frozen=True, slots=True)
class Bones:
    """What stays the same from step to step."""

    rest: Tensor  # (..., 29, 3) m
    axis: Tensor  # (..., 22, 3) unit, rest bone of each swung joint
    across: Tensor  # (..., 22, 2, 3) unit, two axes orthogonal to it and to each other
    twist: Tensor  # (..., 22, 3, 3)


def bone_frames(rest: Tensor, twist: Tensor) -> Bones:
    """Each swung bone's axis at rest, two axes across it and its twist.

    rest: (..., 29, 3) m; twist: (..., 23, 2) cos and sin.
    """
    axis = unit(rest[..., TIPS, :] - rest[..., SWUNG, :])
    least = torch.nn.functional.one_hot(axis.detach().abs().argmin(-1), 3).to(axis.dtype)
    first = unit(torch.linalg.cross(axis, least))
    second = torch.linalg.cross(axis, first)
    twist = twist[..., [joint - 1 for joint in SWUNG], :]
    length = twist.norm(dim=-1, keepdim=True)
    untwisted = torch.tensor([1.0, 0.0], dtype=twist.dtype, device=twist.device)
    cos, sin = torch.where(length > 1e-6, twist / length.clamp_min(1e-6), untwisted).unbind(-1)
    return Bones(rest, axis, torch.stack([first, second], -2), rotation_about(axis, cos, sin))


def turned_by(rotmats: Tensor, bones: Bones, step: Tensor | None = None) -> Tensor:
    """Rotations (..., 24, 3, 3) moved by a step (..., 50), radians to first order; None: no step.

    The first 44 numbers tilt the bones of `SWUNG`, two each, in the joint's own axes; a bone keeps
    its given twist and takes the smallest swing that reaches its new direction. The last six turn
    pelvis and spine3. rotmats: (..., 24, 3, 3).
    """
    aim, free = bones.axis, rotmats[..., FREE, :, :]
    if step is not None:
        tilt = (step[..., :N_SWINGS].unflatten(-1, (-1, 1, 2)) @ bones.across)[..., 0, :]
        aim = aim + torch.linalg.cross(tilt, aim.expand_as(tilt))
        free = free @ axis_angle_to_matrix(step[..., N_SWINGS:].unflatten(-1, (-1, 3)))
    swing = swing_between(bones.axis, (rotmats[..., SWUNG, :, :] @ aim[..., None])[..., 0])
    return torch.cat([swing @ bones.twist, free], -3)[..., PLACE, :, :]


def swing_jacobian(rotmats: Tensor, bones: Bones, share: Tensor) -> tuple[Tensor, Tensor]:
    """Joints (..., 28, 3) m from the pelvis, and their Jacobian (..., 50, 3, 28) m / rad.

    The analytic derivative of all joints but the pelvis by the step of `turned_by`, at no step;
    `rotmats` have the twists of `bones`. share: (..., 50, 28) factor of each entry.
    """
    joints, turned = forward_kinematics(rotmats, bones.rest)
    joints = joints - joints[..., :1, :]
    # A swing that tilts also turns about its bone, or it would not stay the smallest one:
    # w = t - d (s . t) / (1 + s . d) for the bone s at d tilted about t.
    local = rotmats[..., SWUNG, :, :]
    along = bones.axis[..., None, :] @ local  # (..., 22, 1, 3): s^T R
    roll = along @ bones.across.mT / (1 + along @ bones.axis[..., None]).clamp_min(1e-3)
    tilt = bones.across - roll.mT * bones.axis[..., None, :]
    swings = (tilt @ turned[..., SWUNG, :, :].mT).flatten(-3, -2)
    frees = turned[..., FREE, :, :].mT.flatten(-3, -2)
    axes = torch.cat([swings, frees], -2)  # (..., 50, 3) in the root's axes
    # axis x (joint - owner), as one product of matrices for all pairs
    joints, owners = joints[..., 1:, :], joints[..., OWNERS, :]
    reach = torch.cat(
        [cross_matrix(axes), torch.linalg.cross(owners, axes)[..., None]], -1
    )  # (..., 50, 3, 4)
    places = torch.cat([joints, torch.ones_like(joints[..., :1])], -1)
    moved = (reach.flatten(-3, -2) @ places.mT).unflatten(-2, (-1, 3))
    return joints, moved * share[..., None, :]


def solve(
    joints: Tensor,
    rest: Tensor,
    twist: Tensor,
    *,
    sigma: Tensor | None = None,
    in_time: bool = False,
    iterations: int = ITERATIONS,
) -> Tensor:
    """Parent-relative rotations (..., 24, 3, 3) whose joints lie closest to `joints`.

    joints, rest: (..., 29, 3) m, in any position, the pelvises put together; twist: (..., 23, 2)
    as in `hybrik.solve`; sigma: (..., 29) m, by which joints count as 1 / sigma^2, None: all alike.
    Starts from HybrIK's swings. in_time: the last leading dimension is a run of frames, and each
    starts from its own or a neighbour's swings, whichever fit it better. iterations >= 0; DAMPING
    holds each step back (Eq. 10, whose sign is + here: towards P - f). Batched over the leading
    dimensions, differentiable in all tensors.
    """
    bones = bone_frames(rest, twist)
    wanted = (joints - joints[..., :1, :])[..., 1:, :]
    weight = torch.ones_like(wanted[..., 0])  # its square is what a joint's distance^2 counts
    if sigma is not None:
        weight = sigma[..., 1:].clamp_min(SMALLEST_SIGMA_M).reciprocal()
        weight = weight / weight.square().mean(-1, keepdim=True).sqrt()
    share = MOVES.to(weight) * weight[..., None, :]
    rotmats = hybrik.solve(joints, rest, twist)
    if in_time:
        rotmats = turned_by(_best_of_neighbours(rotmats, rest, wanted, weight), bones)
    for _ in range(iterations):
        posed, jacobian = swing_jacobian(rotmats, bones, share)
        left = (wanted - posed) * weight[..., None]
        hold = DAMPING + COST_SHARE * left.square().sum((-1, -2))
        rotmats = turned_by(rotmats, bones, gauss_newton_step(jacobian, left, hold))
    return rotmats


def _best_of_neighbours(rotmats: Tensor, rest: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """For each frame of (..., T, 24, 3, 3) those rotations of a frame nearby that fit it best."""
    posed, _ = forward_kinematics(rotmats, rest)
    posed = posed[..., 1:, :] - posed[..., :1, :]
    frames = torch.arange(rotmats.shape[-4], device=rotmats.device)
    sources = torch.stack([(frames + lag).clamp(0, len(frames) - 1) for lag in NEARBY])
    off = (wanted[..., None, :, :, :] - posed[..., sources, :, :]).square().sum(-1)
    cost = (off * weight[..., None, :, :].square()).sum(-1)  # (..., lags, T)
    best = cost.argmin(-2)  # at a tie the first of NEARBY, the frame itself
    chosen = sources[best, frames][..., None, None, None]
    return rotmats.gather(-4, chosen.expand_as(rotmats))


def gauss_newton_step(jacobian: Tensor, left: Tensor, damping: Tensor) -> Tensor:
    """Gauss-Newton step (..., P), Eq. 10.

    jacobian: (..., P, 3, J); left: (..., J, 3) m, from the joints found to those wanted; damping:
    (...) m^2.
    """
    rows = jacobian.flatten(-2)  # J^T, as Eq. 10 has it
    eye = torch.eye(rows.shape[-2]).to(rows)
    factor = torch.linalg.cholesky(rows @ rows.mT + damping[..., None, None] * eye)
    return torch.cholesky_solve(rows @ left.mT.flatten(-2)[..., None], factor)[..., 0]


@dataclass(frozen=True)
class Ikol:
    """The Gauss-Newton solver behind the `Solver` protocol."""

    body: Body
    name: str = "ikol"  # as in `hpsvid.ik.SOLVERS`
    window_length: None = None  # takes a whole track at once

    def __call__(self, window: Window, betas: np.ndarray) -> BodyParams:
        """Solve all frames of a window for one person's shape `betas` (10,) float32."""
        obs = window.obs
        rest = self.body.rest_joints(torch.from_numpy(betas))
        frames = (torch.from_numpy(x) for x in (obs.joints, obs.twist, obs.sigma))
        # some frames at a time: the Jacobians of a long track would fill the memory
        parts = zip(*(x.split(CHUNK_FRAMES) for x in frames), strict=True)
        with torch.inference_mode():
            rotmats = [
                solve(joints, rest, twist, sigma=sigma, in_time=True)
                for joints, twist, sigma in parts
            ]
        return BodyParams(
            rotmats=torch.cat(rotmats).numpy(), betas=betas, transl=obs.pelvis - rest[0].numpy()
        )
