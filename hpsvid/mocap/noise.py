"""Training and test windows: captured motion, seen with the errors that a lifter makes.

A window's truth is motion capture on a random shape; its evidence (joints, sigmas, twists) is
that truth with errors that are larger in depth than across, correlated in time and worse where
something hides the body. Nothing here needs a picture.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpsvid.body.skeleton import SMPL
from hpsvid.common.geometry import unit
from hpsvid.common.series import values_at
from hpsvid.ik.hybrik import twists
from hpsvid.ik.tensors import BONE_ENDS, FLOOR_M, TWIST_ERROR, Evidence, posed_joints
from hpsvid.types import N_JOINTS, N_TWISTS

KEY_FRAMES = 8  # frames between the key frames of an occlusion (NIKI supplement I)
TRUNCATED = 0.75  # of the key frames; the protocol asks for more than 2/3
MAX_HIDDEN_AREA = 0.3  # of the picture
# how much worse than the trunk a joint is seen, as measured on the landmark network
FARNESS = torch.tensor(
    [1.7 if any(part in name for part in ("wrist", "hand", "tip", "ankle", "foot", "toe"))
     else 1.3 if any(part in name for part in ("elbow", "knee", "head")) else 1.0
     for name in SMPL.names]
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Noise:
    """The errors of a window's evidence: their size, correlation, and what the solver is told."""

    sigma: Tensor  # (B, T, 29) m, true standard deviation per axis
    rho: Tensor  # (B, 1, 1, 1) correlation from frame to frame
    depth: Tensor  # (B, 1, 1) how many times larger along the view
    doubt: Tensor  # (B, 1, 1) standard deviation of log(reported / true sigma)
    twist: Tensor  # (B, 1, 1) rad of twist error per m of joint error


def correlated(shape: tuple[int, ...], rho: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise (B, T, ...) that follows itself in time with correlation `rho`."""
    white = torch.randn(shape, generator=generator)
    rows = [white[:, 0]]
    keep, fresh = rho[:, 0], (1 - rho[:, 0].square()).sqrt()
    for frame in range(1, shape[1]):
        rows.append(keep * rows[-1] + fresh * white[:, frame])
    return torch.stack(rows, 1)


def random_noise(joints: Tensor, view: Tensor, up: Tensor, generator: torch.Generator) -> Noise:
    """What a lifter may get wrong: a fifth of the windows are clean, half are partly hidden."""
    b, t = joints.shape[:2]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(b, *shape, generator=generator)

    kind = torch.rand(b, 1, 1, generator=generator)
    base = torch.exp(uniform(np.log(0.006), np.log(0.1), 1, 1))
    varied = FARNESS * torch.exp(0.3 * torch.randn(b, 1, N_JOINTS, generator=generator))
    # a fifth clean, a quarter alike for all joints (the noise curve's way), the others unlike
    sigma = torch.where(kind < 0.45, base, base * 0.7 * varied).expand(b, t, N_JOINTS)
    hidden = hidden_joints(joints, view, up, generator)
    worse = torch.exp(uniform(np.log(0.06), np.log(0.3), 1, 1)) * torch.exp(
        0.3 * torch.randn(b, 1, N_JOINTS, generator=generator)
    )
    partly = hidden & (torch.rand(b, 1, 1, generator=generator) < 0.6) & (kind > 0.1)
    sigma = torch.where(kind < 0.2, torch.full_like(sigma, 1e-5), sigma)
    sigma = torch.where(partly, torch.maximum(worse, sigma), sigma)
    rho = torch.where(torch.rand(b, 1, 1, generator=generator) < 0.3, 0.0, uniform(0.2, 0.98, 1, 1))
    depth = torch.where(kind < 0.45, 1.0, uniform(1, 3, 1, 1))
    return Noise(
        sigma=sigma,
        rho=rho[..., None],
        depth=depth,
        doubt=uniform(0.05, 0.4, 1, 1),
        twist=uniform(0.5, 1.5, 1, 1) * TWIST_ERROR,
    )


def hidden_joints(
    joints: Tensor, view: Tensor, up: Tensor, generator: torch.Generator, *, phase: bool = True
) -> Tensor:
    """Joints (B, T, 29) bool hidden by the protocol of 3DPW-XOCC (NIKI supplement I), on motion.

    joints: (B, T, 29, 3) m; view: (B, T, 3); up: (3,). In every eighth frame the picture around
    the person is clipped on one side so that part of the body is outside, three times in four,
    and a square of up to 30 % of the rest is covered; in between both move linearly. `phase`
    starts the key frames anywhere.
    """
    b, t = joints.shape[:2]
    right = unit(torch.linalg.cross(view, up.expand_as(view)))
    above = torch.linalg.cross(right, view)
    flat = torch.stack([(joints * axis[..., None, :]).sum(-1) for axis in (right, above)], -1)
    low, high = flat.amin(2, keepdim=True), flat.amax(2, keepdim=True)
    # a square picture with a margin, as a crop has; places are shares of it
    middle, size = (low + high) / 2, 1.2 * (high - low).amax(-1, keepdim=True)
    place = (flat - middle) / size + 0.5
    count = t // KEY_FRAMES + 3

    def keys(*shape: int) -> Tensor:
        return torch.rand(b, count, *shape, generator=generator)

    depth = (0.15 + 0.4 * keys(1)) * (keys(1) < TRUNCATED)
    side = torch.nn.functional.one_hot((keys() * 4).long().clamp_max(3), 4)
    clip = depth * side  # what is cut off at the left, top, right and bottom
    start, end = clip[..., :2], 1 - clip[..., 2:]
    area = (end - start).prod(-1, keepdim=True) * MAX_HIDDEN_AREA * (0.3 + 0.7 * keys(1))
    centre = start + (end - start) * keys(2)
    shape = torch.cat([start, end, centre, area.sqrt()], -1)
    offset = torch.rand(b, 1, generator=generator) * (KEY_FRAMES if phase else 0)
    when = (torch.arange(t) + offset) / KEY_FRAMES
    start, end, centre, width = values_at(when, shape).split([2, 2, 2, 1], -1)
    outside = ((place < start[:, :, None]) | (place > end[:, :, None])).any(-1)
    covered = ((place - centre[:, :, None]).abs() < width[:, :, None] / 2).all(-1)
    return outside | covered


def observe(
    rotmats: Tensor,
    rest: Tensor,
    view: Tensor,
    noise: Noise,
    generator: torch.Generator,
) -> tuple[Evidence, Tensor]:
    """Evidence of a pose (B, T, 24, 3, 3) with errors, and the sigmas (B, T, 29) m reported."""
    b, t = rotmats.shape[:2]
    rest = rest.expand(b, t, N_JOINTS, 3)
    sigma = noise.sigma
    error = correlated((b, t, N_JOINTS, 3), noise.rho, generator)
    # along the view `depth` times as large as across, the mean square kept
    across = (3 / (2 + noise.depth.square())).sqrt()
    along = (error * view[..., None, :]).sum(-1, keepdim=True) * view[..., None, :]
    error = across[..., None] * (error + (noise.depth[..., None] - 1) * along)
    error[..., 0, :] = 0
    joints = posed_joints(rotmats, rest) + sigma[..., None] * error
    turn = correlated((b, t, N_TWISTS, 1), noise.rho, generator)[..., 0]
    turn = turn * (noise.twist * sigma[..., BONE_ENDS]).clamp_max(1.5)
    cos, sin = twists(rotmats, rest).unbind(-1)
    turned = [cos * turn.cos() - sin * turn.sin(), sin * turn.cos() + cos * turn.sin()]
    doubt = noise.doubt * torch.randn(b, 1, N_JOINTS, generator=generator)
    reported = (sigma + FLOOR_M) * torch.exp(doubt)
    return Evidence(joints=joints, twist=torch.stack(turned, -1)), reported
