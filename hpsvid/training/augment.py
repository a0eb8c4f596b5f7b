"""Training pairs of the lifter, varied: other paces, cameras, guesses of depth, and gaps.

`augment` makes other pairs that are as true; `as_on_video` takes out what the landmark network
gets wrong on renders alone.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from hpsvid.backbone.lifter_network import HIPS
from hpsvid.body.skeleton import BLAZEPOSE, LANDMARK, SMPL, mirror_points, mirror_twists
from hpsvid.common.geometry import axis_angle_to_matrix, unit
from hpsvid.common.series import values_at
from hpsvid.training.pairs import Pairs

SHOULDERS = [LANDMARK["left_shoulder"], LANDMARK["right_shoulder"]]

# The landmark network's own 3D is not the same on renders as on video. Of renders it reads depths a
# third too short and trunks 10 degrees too upright (slope and mean of lean against the truth, 96
# sequences); of the calibrated real clips neither: slope 0.94 to 1.26, lean within 3 degrees.
DEPTH_GAIN = (0.8, 1.9)  # 1 is as flat as on renders
LEAN_RAD = 0.15  # towards the camera, about the axis across the trunk in the picture
TILT_RAD = 0.1  # spread of further tilts about each axis
SIZE_SPREAD = 0.1
DEPTHLESS = 0.3  # of the sequences have no depth of the network's own
MIRRORED = 0.5  # of the batches
ROLL_RAD = 0.3  # spread of the camera's roll
FAR_ROLLED = 0.1  # of the sequences, by FAR_ROLL times as much
FAR_ROLL = 5
FOCAL_SPREAD = 0.2  # of a guessed focal length's logarithm
NOISE_M = 0.008  # spread of the landmarks' noise; in 2D half as much, of the person's size
GAPPED = 0.2  # of the sequences have a gap
GAP_FRAMES = 14  # its greatest length
BLINK = 0.02  # of all frames are unseen, one by one
REPACED = 0.5  # of the sequences are slower or faster
PACE_SPREAD = 0.35  # of its logarithm
PACE_RANGE = (0.45, 2.0)
EVERY = {1: 0.8, 2: 0.1, 3: 0.06, 6: 0.04}  # step between distinct frames: share of the sequences


def as_on_video(pairs: Pairs) -> Pairs:
    """Rendered pairs with 3D in the middle of what the landmark network may say of real video."""
    middle = torch.full((len(pairs), 1, 1, 1), float(np.sqrt(np.prod(DEPTH_GAIN))))
    return replace(pairs, points=deepened(pairs.points, middle) @ turned(lean(pairs.rays)))


def lean(rays: Tensor) -> Tensor:
    """Axis-angle (N, 3) that leans trunks LEAN_RAD towards the camera; rays: (N, T, 33, 2)."""
    shoulders, hips = (rays[..., ends, :].mean((1, 2)) for ends in (SHOULDERS, HIPS))
    up = unit(shoulders - hips)
    return LEAN_RAD * torch.stack([-up[:, 1], up[:, 0], 0 * up[:, 0]], -1)


def turned(axis_angle: Tensor) -> Tensor:
    """Matrices (N, 1, 3, 3) for rows of points (N, T, ..., 3)."""
    return axis_angle_to_matrix(axis_angle)[:, None].mT


def deepened(points: Tensor, gain: Tensor) -> Tensor:
    """Points (N, T, 33, 3) whose depth is `gain` (N, 1, 1, 1) times as great."""
    return torch.cat([points[..., :2], points[..., 2:] * gain], -1)


def augment(pairs: Pairs, rng: torch.Generator) -> Pairs:
    """Other pairs that are as true: slower, rarer frames, mirrored, rolled, with gaps.

    The focal length of the rays is off by some, as a guessed one is; the truth stays. So are tilt
    and depth of the network's 3D, or there is no depth at all: how deep a body is must be read
    from the 2D landmarks.
    """
    pairs = _other_pace(pairs, rng)
    if _coin(rng, MIRRORED):
        pairs = mirror_pairs(pairs)
    count, total = pairs.seen.shape
    roll = torch.randn(count, generator=rng) * ROLL_RAD
    far = torch.rand(count, generator=rng) < FAR_ROLLED
    pairs = rolled(pairs, torch.where(far, FAR_ROLL * roll, roll))
    focal = (torch.randn(count, 1, 1, 1, generator=rng) * FOCAL_SPREAD).exp()
    noise = torch.randn(count, 1, 1, 1, generator=rng).abs() * NOISE_M
    low, high = np.log(DEPTH_GAIN)
    gain = (low + (high - low) * torch.rand(count, 1, 1, 1, generator=rng)).exp()
    points = deepened(pairs.points, gain)
    points = points * (torch.randn(count, 1, 1, 1, generator=rng) * SIZE_SPREAD).exp()
    tilt = lean(pairs.rays) + torch.randn(count, 3, generator=rng) * TILT_RAD
    points = points @ turned(tilt) + noise * _wander(pairs.points.shape, rng)
    depthless = torch.rand(count, 1, 1, 1, generator=rng) < DEPTHLESS
    points = deepened(points, 1.0 - depthless.float())
    size = (pairs.rays.amax(2) - pairs.rays.amin(2)).amax(-1)[..., None, None]
    rays = (pairs.rays + noise / 2 * size * _wander(pairs.rays.shape, rng)) * focal
    start = torch.rand(count, 1, generator=rng) * total
    length = torch.rand(count, 1, generator=rng) * GAP_FRAMES
    frames = torch.arange(total)
    gap = (frames >= start) & (frames < start + length)
    gap &= torch.rand(count, 1, generator=rng) < GAPPED
    gap |= torch.rand(count, total, generator=rng) < BLINK
    return replace(pairs, points=points, rays=rays, seen=pairs.seen * ~gap)


def _coin(rng: torch.Generator, chance: float) -> bool:
    return bool(torch.rand((), generator=rng) < chance)


def _wander(shape: torch.Size, rng: torch.Generator) -> Tensor:
    """Noise (N, T, ...) of unit variance, half of it constant over the sequence."""
    steady = torch.randn(shape[0], 1, *shape[2:], generator=rng)
    return (steady + torch.randn(shape, generator=rng)) * 0.7


def _other_pace(pairs: Pairs, rng: torch.Generator) -> Pairs:
    """Each sequence at another speed; in some, frames between every n-th are interpolated."""
    count, total = pairs.seen.shape
    frames = torch.arange(total).float()
    speed = torch.where(
        torch.rand(count, 1, generator=rng) < REPACED,
        (torch.randn(count, 1, generator=rng) * PACE_SPREAD).exp().clamp(*PACE_RANGE),
        torch.ones(count, 1),
    )
    spare = (total - 1 - (total - 1) * speed).clamp_min(0)
    place = torch.rand(count, 1, generator=rng) * spare + frames * speed
    valid = (place <= total - 1).float()
    place = place.clamp(max=total - 1)
    truth = {name: values_at(place, getattr(pairs, name)) for name in ("joints", "twist")}
    drawn = torch.multinomial(torch.tensor(list(EVERY.values())), count, True, generator=rng)
    every = torch.tensor(list(EVERY))[drawn][:, None]
    before = (frames / every).floor() * every
    share = (frames - before) / every
    inputs = {}
    for name in ("points", "rays", "visibility", "presence", "seen"):
        values = values_at(place, getattr(pairs, name))
        after = values_at((before + every).clamp(max=total - 1), values)
        weight = share.reshape(count, total, *[1] * (values.ndim - 2))
        inputs[name] = values_at(before, values) * (1 - weight) + after * weight
    inputs["seen"] = (inputs["seen"] > 0.99).float() * valid
    return replace(pairs, **inputs, **truth, valid=valid)


def mirror_pairs(pairs: Pairs) -> Pairs:
    """Left and right exchanged."""
    return replace(
        pairs,
        points=mirror_points(pairs.points, BLAZEPOSE),
        rays=mirror_points(pairs.rays, BLAZEPOSE),
        visibility=pairs.visibility[..., BLAZEPOSE.mirror],
        presence=pairs.presence[..., BLAZEPOSE.mirror],
        joints=mirror_points(pairs.joints, SMPL),
        twist=mirror_twists(pairs.twist),
    )


def rolled(pairs: Pairs, angle: Tensor) -> Pairs:
    """The camera turned about its axis by `angle` (N,) rad."""
    turn = turned(torch.stack([0 * angle, 0 * angle, angle], -1))
    return replace(
        pairs,
        points=pairs.points @ turn,
        rays=pairs.rays @ turn[..., :2, :2],
        joints=pairs.joints @ turn,
    )
