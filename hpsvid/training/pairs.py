"""Training pairs of the lifter: rendered ones as they are, and simulated ones in any number.

Rendered pairs (tools.people.render_pairs) hold what the landmark network says of pictures.
Simulated pairs take a pose from anywhere and give its landmarks the errors that the network made
on some rendered sequence: its linear habit (limbs read short in depth) fitted over all of them, and
the rest of that one sequence, correlated over time and landmarks as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpsvid.backbone.lifter_network import HIPS, View, make_view, view_turn
from hpsvid.body.model import Body
from hpsvid.common.files import read_npz
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.common.records import join
from hpsvid.common.series import fill_gaps
from hpsvid.errors import InputError
from hpsvid.ik.hybrik import twists
from hpsvid.mocap.sources import MotionSource
from hpsvid.mocap.takes import chimera, choose_take

KEYS = ("image", "world", "visibility", "presence", "score", "rotvec", "betas", "transl", "K")
START_RIDGE = 1e-2  # landmarks are correlated, so the regression onto joints needs damping
# Weighs 5 mm of error against a pose of unit size, so that a few unusual poses teach nothing.
HABIT_RIDGE = 3e-3
NEAREST_M = 0.3  # of a simulated landmark to the camera, for its 2D


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """N sequences of T frames: the landmark network's output and the truth."""

    points: Tensor  # (N, T, 33, 3) m
    rays: Tensor  # (N, T, 33, 2) x/z and y/z
    visibility: Tensor  # (N, T, 33)
    presence: Tensor  # (N, T, 33)
    seen: Tensor  # (N, T) 1.0 or 0.0
    joints: Tensor  # (N, T, 29, 3) m from the pelvis, in the view's axes
    twist: Tensor  # (N, T, 23, 2)
    betas: Tensor  # (N, 10)
    valid: Tensor  # (N, T) 1.0 where the frame belongs to the sequence

    def __len__(self) -> int:
        return len(self.points)


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
            f"`python -m tools.people.render_pairs --out {folder}`"
        )
    return join(*(read_shard(path, body) for path in paths))


def read_shard(path: Path, body: Body) -> Shard:
    """One file of `tools/people/render_pairs.py`; sequences without any detection are left out.

    Raises InputError when it is something else.
    """
    arrays = {
        key: value.astype(np.float32)
        for key, value in read_npz(path, "a shard of tools.people.render_pairs", KEYS).items()
    }
    if missing := sorted(set(KEYS) - arrays.keys()):
        raise InputError(
            f"{path}: has no `{missing[0]}`, expected a shard of "
            "tools.people.render_pairs; render it again"
        )
    seen = arrays["score"] > 0
    ever = seen.any(1)
    for key in ("image", "world", "visibility", "presence"):
        for row in np.flatnonzero(ever & ~seen.all(1)):
            times = np.arange(seen.shape[1], dtype=np.float64)
            arrays[key][row] = fill_gaps(arrays[key][row], seen[row], times)
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
        valid=torch.ones_like(data["score"]),
    )


def linear_start(pairs: Pairs) -> Tensor:
    """Joints as sums of landmarks (29, 33), ridge least squares over all seen frames."""
    seen = pairs.seen.bool()
    x = pairs.points[seen].transpose(1, 2).reshape(-1, pairs.points.shape[-2])
    y = pairs.joints[seen].transpose(1, 2).reshape(-1, pairs.joints.shape[-2])
    return _least_squares(x, y, START_RIDGE).T


def _least_squares(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """Weights (K, M) with which rows x (N, K) give y (N, M); ridge: relative to x's mean square."""
    x, y = x.double(), y.double()
    normal = x.T @ x
    normal += ridge * normal.diagonal().mean() * torch.eye(len(normal), dtype=torch.float64)
    return torch.linalg.solve(normal, x.T @ y).float()


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
    habit = _least_squares(true[seen], miss[seen], HABIT_RIDGE)
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
    depth = marks[..., 2:].clamp_min(NEAREST_M)
    return Pairs(
        points=true + usual + errors.rest[donors],
        rays=(marks[..., :2] + errors.flat[donors]) / depth,
        visibility=errors.visibility[donors],
        presence=errors.presence[donors],
        seen=errors.seen[donors],
        joints=truth.joints,
        twist=truth.twist,
        betas=truth.betas,
        valid=torch.ones_like(errors.seen[donors]),
    )


def simulate(rng: np.random.Generator, source: MotionSource, body: Body) -> SimulatedTruth:
    """One sequence of recombined motion before a random camera."""
    take = choose_take(rng, lambda rng: chimera(rng, source), body)
    rotmats, betas = torch.from_numpy(take.params.rotmats), torch.from_numpy(take.params.betas)
    marks = torch.from_numpy(body.landmarks_of(take.params))
    joints = torch.from_numpy(body.joints_of(take.params))
    turn = view_turn(marks[..., :2] / marks[..., 2:])
    return SimulatedTruth(
        marks=(marks @ turn)[None],
        joints=((joints - joints[:, :1]) @ turn)[None],
        twist=twists(rotmats, body.rest_joints(betas))[None],
        betas=betas[None],
    )
