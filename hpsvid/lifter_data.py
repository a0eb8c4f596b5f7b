"""Training pairs of the lifter: rendered ones as they are, and simulated ones in any number.

Rendered pairs (`tools/render_pairs.py`) hold what the landmark network says of pictures. Simulated
pairs take a pose from anywhere and give its landmarks the errors that the network made on some
rendered sequence: its linear habit (limbs read short in depth) fitted over all of them, and the
rest of that one sequence, correlated over time and landmarks as it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from hpsvid.backbone.learned import (
    HIPS,
    OTHER_JOINT,
    OTHER_LANDMARK,
    OTHER_TWIST,
    View,
    held,
    make_view,
    view_turn,
)
from hpsvid.body import LANDMARK, Body
from hpsvid.errors import InputError
from hpsvid.files import read_npz
from hpsvid.geometry import axis_angle_to_matrix, unit
from hpsvid.ik.hybrik import twists
from hpsvid.synthetic import MotionSource
from hpsvid.takes import chimera, choose_take, joints_of

KEYS = ("image", "world", "visibility", "presence", "score", "rotvec", "betas", "transl", "K")
SHOULDERS = [LANDMARK["left_shoulder"], LANDMARK["right_shoulder"]]
Joined = TypeVar("Joined", "Pairs", "SimulatedTruth")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """N sequences of T frames: the landmark network's words and the truth."""

    points: Tensor  # (N, T, 33, 3) m
    rays: Tensor  # (N, T, 33, 2) x/z and y/z
    visibility: Tensor  # (N, T, 33)
    presence: Tensor  # (N, T, 33)
    seen: Tensor  # (N, T) 1.0 or 0.0
    joints: Tensor  # (N, T, 29, 3) m from the pelvis, in the view's axes
    twist: Tensor  # (N, T, 23, 2)
    betas: Tensor  # (N, 10)
    known: Tensor  # (N, T) 1.0 where the frame belongs to the sequence at all

    def __len__(self) -> int:
        return len(self.points)

    def to(self, device: torch.device) -> "Pairs":
        """The same pairs there."""
        return Pairs(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def pick(self, rows: Tensor) -> "Pairs":
        """The given sequences."""
        return Pairs(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def join(parts: Sequence[Joined]) -> Joined:
    """All sequences of several Pairs or several Truths together."""
    kind = type(parts[0])
    return kind(
        **{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(kind)}
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shard:
    """Rendered pairs with the truth about what the landmark network read."""

    pairs: Pairs
    marks: Tensor  # (N, T, 33, 3) m from the camera, true landmarks in the view's axes


def read_shards(folder: Path, body: Body) -> Shard:
    """All shards of a folder as one. Raises InputError when there are none or one is damaged."""
    paths = sorted(folder.glob("shard_*.npz"))
    if not paths:
        raise InputError(
            f"{folder}: holds no rendered pairs (shard_*.npz); make some with "
            f"`python -m tools.render_pairs --out {folder}`"
        )
    shards = [read_shard(path, body) for path in paths]
    return Shard(
        pairs=join([shard.pairs for shard in shards]),
        marks=torch.cat([shard.marks for shard in shards]),
    )


def read_shard(path: Path, body: Body) -> Shard:
    """One file of `tools/render_pairs.py`; sequences in which nobody was seen are left out.

    Raises InputError when it is something else.
    """
    arrays = {
        key: value.astype(np.float32)
        for key, value in read_npz(path, "a shard of tools.render_pairs", KEYS).items()
    }
    if missing := sorted(set(KEYS) - arrays.keys()):
        raise InputError(
            f"{path}: has no `{missing[0]}`, expected a shard of tools.render_pairs; render it anew"
        )
    seen = arrays["score"] > 0
    ever = seen.any(1)
    for key in ("image", "world", "visibility", "presence"):
        for row in np.flatnonzero(ever & ~seen.all(1)):
            times = np.arange(seen.shape[1], dtype=np.float64)
            arrays[key][row] = held(arrays[key][row], seen[row], times)
    data = {key: torch.from_numpy(value[ever]) for key, value in arrays.items()}
    pairs = pairs_of(data, body)
    shape = data["betas"][:, None].expand(-1, seen.shape[1], -1)
    marks = body.landmarks(axis_angle_to_matrix(data["rotvec"]), shape, data["transl"])
    return Shard(pairs=pairs, marks=marks @ view_turn(pairs.rays))


def pairs_of(data: Mapping[str, Tensor], body: Body) -> Pairs:
    """Training pairs of one shard's arrays; the truth comes from the body's kinematics."""
    K = data["K"][:, None]
    centre, focal = K[..., :2, 2], torch.stack([K[..., 0, 0], K[..., 1, 1]], -1)
    rays = (data["image"] - centre[..., None, :]) / focal[..., None, :]
    rotmats = axis_angle_to_matrix(data["rotvec"])
    rest = body.rest_joints(data["betas"])[:, None]
    joints = body.joints(rotmats, data["betas"][:, None], torch.zeros(3))
    joints = joints - joints[..., :1, :]
    return Pairs(
        points=data["world"],
        rays=rays,
        visibility=data["visibility"],
        presence=data["presence"],
        seen=(data["score"] > 0).float(),
        joints=joints @ view_turn(rays),  # rows: R^T p
        twist=twists(rotmats, rest),
        betas=data["betas"],
        known=torch.ones_like(data["score"]),
    )


def linear_start(pairs: Pairs) -> Tensor:
    """Joints as sums of landmarks (29, 33), ridge least squares over all seen frames."""
    seen = pairs.seen.bool()
    x = pairs.points[seen].transpose(1, 2).reshape(-1, pairs.points.shape[-2]).double()
    y = pairs.joints[seen].transpose(1, 2).reshape(-1, pairs.joints.shape[-2]).double()
    normal = x.T @ x
    normal += 1e-2 * normal.diagonal().mean() * torch.eye(len(normal), dtype=torch.float64)
    return torch.linalg.solve(normal, x.T @ y).T.float()


# The landmark network's own 3D is not the same on renders as on video. Of renders it reads depths a
# third too short and trunks 10 degrees too upright (slope and mean of lean against the truth, 96
# sequences); of the calibrated real clips neither: slope 0.94 to 1.26, lean within 3 degrees.
DEPTH_GAIN = (0.8, 1.9)  # 1 is as flat as on renders
LEAN_RAD = 0.15  # towards the camera, about the axis across the trunk in the picture
TILT_RAD = 0.1  # spread of further tilts about each axis
SIZE_SPREAD = 0.1
DEPTHLESS = 0.3  # of the sequences have no depth of the network's own


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
    if _coin(rng, 0.5):
        pairs = mirror_pairs(pairs)
    count, total = pairs.seen.shape
    roll = torch.randn(count, generator=rng) * 0.3
    pairs = rolled(pairs, torch.where(torch.rand(count, generator=rng) < 0.1, roll * 5, roll))
    focal = (torch.randn(count, 1, 1, 1, generator=rng) * 0.2).exp()
    noise = torch.randn(count, 1, 1, 1, generator=rng).abs() * 0.008
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
    length = torch.rand(count, 1, generator=rng) * 14
    frames = torch.arange(total)
    gap = (frames >= start) & (frames < start + length)
    gap &= torch.rand(count, 1, generator=rng) < 0.2
    gap |= torch.rand(count, total, generator=rng) < 0.02
    return replace(pairs, points=points, rays=rays, seen=pairs.seen * ~gap)


def _coin(rng: torch.Generator, chance: float) -> bool:
    return bool(torch.rand((), generator=rng) < chance)


def _wander(shape: torch.Size, rng: torch.Generator) -> Tensor:
    """Noise (N, T, ...) of unit variance, half of it constant over the sequence."""
    steady = torch.randn(shape[0], 1, *shape[2:], generator=rng)
    return (steady + torch.randn(shape, generator=rng)) * 0.7


def _other_pace(pairs: Pairs, rng: torch.Generator) -> Pairs:
    """Each sequence at another speed; some with only every so many frames told apart."""
    count, total = pairs.seen.shape
    frames = torch.arange(total).float()
    speed = torch.where(
        torch.rand(count, 1, generator=rng) < 0.5,
        (torch.randn(count, 1, generator=rng) * 0.35).exp().clamp(0.45, 2.0),
        torch.ones(count, 1),
    )
    spare = (total - 1 - (total - 1) * speed).clamp_min(0)
    place = torch.rand(count, 1, generator=rng) * spare + frames * speed
    known = (place <= total - 1).float()
    place = place.clamp(max=total - 1)
    truth = {name: _at(getattr(pairs, name), place) for name in ("joints", "twist")}
    every = torch.tensor([1, 2, 3, 6])[
        torch.multinomial(torch.tensor([0.8, 0.1, 0.06, 0.04]), count, True, generator=rng)
    ][:, None]
    before = (frames / every).floor() * every
    share = (frames - before) / every
    inputs = {}
    for name in ("points", "rays", "visibility", "presence", "seen"):
        values = _at(getattr(pairs, name), place)
        after = _at(values, (before + every).clamp(max=total - 1))
        weight = share.reshape(count, total, *[1] * (values.ndim - 2))
        inputs[name] = _at(values, before) * (1 - weight) + after * weight
    inputs["seen"] = (inputs["seen"] > 0.99).float() * known
    return replace(pairs, **inputs, **truth, known=known)


def _at(values: Tensor, place: Tensor) -> Tensor:
    """Values (N, T, ...) at fractional frames `place` (N, T')."""
    before = place.floor().long().clamp(max=values.shape[1] - 1)
    after = (before + 1).clamp(max=values.shape[1] - 1)
    weight = (place - before).reshape(*place.shape, *[1] * (values.ndim - 2))
    rows = torch.arange(len(values))[:, None]
    return values[rows, before] * (1 - weight) + values[rows, after] * weight


def mirror_pairs(pairs: Pairs) -> Pairs:
    """Left and right exchanged."""
    flip = torch.tensor([-1.0, 1, 1])
    return replace(
        pairs,
        points=pairs.points[..., OTHER_LANDMARK, :] * flip,
        rays=pairs.rays[..., OTHER_LANDMARK, :] * flip[:2],
        visibility=pairs.visibility[..., OTHER_LANDMARK],
        presence=pairs.presence[..., OTHER_LANDMARK],
        joints=pairs.joints[..., OTHER_JOINT, :] * flip,
        twist=pairs.twist[..., OTHER_TWIST, :] * torch.tensor([1.0, -1]),
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


def view_of(pairs: Pairs) -> View:
    """What the network reads."""
    return make_view(pairs.points, pairs.rays, pairs.visibility, pairs.presence, pairs.seen)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedTruth:
    """N sequences of T frames of truth alone, in view axes: the optical axis meets the hips."""

    marks: Tensor  # (N, T, 33, 3) m from the camera, landmarks on the body
    joints: Tensor  # (N, T, 29, 3) m from the pelvis
    twist: Tensor  # (N, T, 23, 2)
    betas: Tensor  # (N, 10)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LandmarkErrors:
    """What the landmark network got wrong on N rendered sequences."""

    habit: Tensor  # (99, 99) error that follows from the pose: row landmarks @ habit
    rest: Tensor  # (N, T, 33, 3) m, the remaining error of its 3D
    flat: Tensor  # (N, T, 33, 2) m, error of its 2D at the landmark's depth
    visibility: Tensor  # (N, T, 33)
    presence: Tensor  # (N, T, 33)
    seen: Tensor  # (N, T)


def errors_of(pairs: Pairs, marks: Tensor) -> LandmarkErrors:
    """Errors of rendered pairs against their true landmarks `marks` (N, T, 33, 3) m, view axes."""
    true = (marks - marks[..., HIPS, :].mean(-2, keepdim=True)).flatten(-2)
    miss = pairs.points.flatten(-2) - true
    seen = pairs.seen.bool()
    x, y = true[seen].double(), miss[seen].double()
    normal = x.T @ x
    # 5 mm of error are worth a pose of unit size: no habit is read from a few odd poses
    normal += 3e-3 * normal.diagonal().mean() * torch.eye(len(normal), dtype=torch.float64)
    habit = torch.linalg.solve(normal, x.T @ y).float()
    ahead = torch.cat([pairs.rays, torch.ones_like(pairs.rays[..., :1])], -1)
    local = ahead @ view_turn(pairs.rays)
    flat = local[..., :2] / local[..., 2:] * marks[..., 2:] - marks[..., :2]
    return LandmarkErrors(
        habit=habit,
        rest=(miss - true @ habit).unflatten(-1, (-1, 3)),
        flat=flat,
        visibility=pairs.visibility,
        presence=pairs.presence,
        seen=pairs.seen,
    )


def with_errors(truth: SimulatedTruth, errors: LandmarkErrors, donors: Tensor) -> Pairs:
    """Simulated pairs: the sequences of `truth` with the errors of rendered ones `donors`."""
    marks = truth.marks
    true = marks - marks[..., HIPS, :].mean(-2, keepdim=True)
    usual = (true.flatten(-2) @ errors.habit).unflatten(-1, (-1, 3))
    depth = marks[..., 2:].clamp_min(0.3)
    return Pairs(
        points=true + usual + errors.rest[donors],
        rays=(marks[..., :2] + errors.flat[donors]) / depth,
        visibility=errors.visibility[donors],
        presence=errors.presence[donors],
        seen=errors.seen[donors],
        joints=truth.joints,
        twist=truth.twist,
        betas=truth.betas,
        known=torch.ones_like(errors.seen[donors]),
    )


def simulate(rng: np.random.Generator, source: MotionSource, body: Body) -> SimulatedTruth:
    """One sequence that nobody performed, before a random camera."""
    take = choose_take(rng, lambda rng: chimera(rng, source), body)
    rotmats, betas, transl = (
        torch.from_numpy(a) for a in (take.params.rotmats, take.params.betas, take.params.transl)
    )
    marks = body.landmarks(rotmats, betas.expand(len(rotmats), -1), transl)
    joints = torch.from_numpy(joints_of(take.params, body))
    turn = view_turn(marks[..., :2] / marks[..., 2:])
    return SimulatedTruth(
        marks=(marks @ turn)[None],
        joints=((joints - joints[:, :1]) @ turn)[None],
        twist=twists(rotmats, body.rest_joints(betas))[None],
        betas=betas[None],
    )
