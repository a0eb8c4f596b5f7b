"""Training pairs of the lifter: what the landmark network sees of rendered people, and the truth.

`tools.people.pairs` makes them. Every sequence is there twice, as it was seen and as the network
saw it in a mirror: to its inner maps a mirrored person is somebody else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpsvid.backbone.lifter_network import View, crop_turn, make_view, mirror_view
from hpsvid.body.model import Body
from hpsvid.body.people import told_betas
from hpsvid.body.skeleton import BLAZEPOSE, SMPL, mirror_points, mirror_twists
from hpsvid.common.files import read_npz
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.common.records import join
from hpsvid.common.series import fill_gaps
from hpsvid.errors import InputError
from hpsvid.ik.hybrik import twists
from hpsvid.types import Array

SEEN_KEYS = ("image", "world", "visibility", "presence")  # of the crops, and `mirror_` of them
KEYS = (
    *SEEN_KEYS, *(f"mirror_{key}" for key in SEEN_KEYS), "inner", "mirror_inner", "score", "crop",
    "shows", "person", "rotvec", "betas", "transl", "K",
)  # fmt: skip
START_RIDGE = 1e-2  # landmarks are correlated, so the regression onto joints needs damping
LEAST_SEEN = 0.3  # of a sequence's frames


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """N sequences of T frames: what is read, with samples of the inner maps, and the truth."""

    view: View  # of (N, T, ...); inner: (N, T, 19, 352) float16
    marks: Tensor  # (N, T, 33, 3) m from the camera, true landmarks in the view's axes
    joints: Tensor  # (N, T, 29, 3) m from the pelvis, in the view's axes
    twist: Tensor  # (N, T, 23, 2)
    betas: Tensor  # (N, 10)

    def __len__(self) -> int:
        return len(self.joints)


def read_shards(folder: Path, body: Body) -> tuple[Pairs, Pairs]:
    """All shards of a folder: pairs as seen, and the same sequences as seen in a mirror.

    Raises InputError when there are none or one is damaged.
    """
    paths = sorted(folder.rglob("shard_*.npz"))
    if not paths:
        raise InputError(
            f"{folder}: holds no rendered pairs (shard_*.npz); make some with "
            f"`python -m tools.people.pairs --out {folder}`"
        )
    shards = [read_shard(path, body) for path in paths]
    plain, mirrored = zip(*shards, strict=True)
    return join(*plain), join(*mirrored)


def read_shard(path: Path, body: Body) -> tuple[Pairs, Pairs]:
    """One file of `tools/people/pairs.py`; frames whose landmarks lie on somebody else count as
    not seen, and sequences with hardly any frame are left out.

    Raises InputError when it is something else.
    """
    arrays = read_npz(path, "a shard of tools.people.pairs", KEYS)
    if missing := sorted(set(KEYS) - arrays.keys()):
        raise InputError(
            f"{path}: has no `{missing[0]}`, expected a shard of "
            "tools.people.pairs; render it again"
        )
    seen = (arrays["score"] > 0) & (arrays["shows"] == arrays["person"][:, None])
    kept = seen.mean(1) > LEAST_SEEN
    seen = seen[kept]
    arrays = {key: value[kept] for key, value in arrays.items()}
    for key in (*SEEN_KEYS, *(f"mirror_{key}" for key in SEEN_KEYS), "crop"):
        arrays[key] = _filled(arrays[key].astype(np.float32), seen)
    data = {key: torch.from_numpy(value) for key, value in arrays.items()}
    both = (pairs_of(data, torch.from_numpy(seen), body, name) for name in ("", "mirror_"))
    plain, mirrored = both
    return plain, mirror_pairs(mirrored)


def _filled(series: Array, seen: Array) -> Array:
    """A series (N, T, ...) with the frames that are not seen (N, T) between their neighbours."""
    times = np.arange(seen.shape[1], dtype=np.float64)
    rows = [fill_gaps(row, good, times) for row, good in zip(series, seen, strict=True)]
    return np.stack(rows) if rows else series


def pairs_of(data: Mapping[str, Tensor], seen: Tensor, body: Body, name: str) -> Pairs:
    """Pairs of one shard's arrays; name: "", or "mirror_" for what was seen in a mirror.

    The truth comes from the body's kinematics; what was seen in a mirror is told of the person.
    """
    K = data["K"][:, None].float()
    centre, focal = K[..., :2, 2], torch.stack([K[..., 0, 0], K[..., 1, 1]], -1)
    rays = (data[f"{name}image"] - centre[..., None, :]) / focal[..., None, :]
    lean = data["crop"][..., 3]
    chances = (data[f"{name}visibility"], data[f"{name}presence"])
    view = make_view(data[f"{name}world"], rays, chances, lean, data[f"{name}inner"])
    view.seen.copy_(seen)
    rotmats = axis_angle_to_matrix(data["rotvec"].float())
    rest = body.rest_joints(data["betas"])[:, None]
    joints = body.joints(rotmats, data["betas"][:, None], torch.zeros(3))
    joints = joints - joints[..., :1, :]
    turn = crop_turn(rays, lean)
    shape = data["betas"][:, None].expand(*lean.shape, -1)
    marks = body.landmarks(rotmats, shape, data["transl"].float())
    return Pairs(
        view=view,
        marks=marks @ turn,  # rows: R^T p
        joints=joints @ turn,
        twist=twists(rotmats, rest),
        betas=told_betas(data["betas"], body),
    )


def mirror_pairs(pairs: Pairs) -> Pairs:
    """Left and right exchanged."""
    return Pairs(
        view=mirror_view(pairs.view),
        marks=mirror_points(pairs.marks, BLAZEPOSE),
        joints=mirror_points(pairs.joints, SMPL),
        twist=mirror_twists(pairs.twist),
        betas=pairs.betas,
    )


def linear_start(pairs: Pairs) -> Tensor:
    """Joints as sums of landmarks (29, 33), ridge least squares over all seen frames."""
    seen = pairs.view.seen.bool()
    x, y = (
        points[seen].transpose(1, 2).reshape(-1, points.shape[-2])
        for points in (pairs.view.points, pairs.joints)
    )
    return least_squares(x, y, START_RIDGE).T


def least_squares(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """Weights (K, M) with which rows x (N, K) give y (N, M); ridge: relative to x's mean square."""
    x, y = x.double(), y.double()
    normal = x.T @ x
    normal += ridge * normal.diagonal().mean() * torch.eye(len(normal), dtype=torch.float64)
    return torch.linalg.solve(normal, x.T @ y).float()


def usual_samples(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Mean and spread (352,) of the inner maps' samples; a channel that hardly varies gets a
    tenth of the usual spread at least.
    """
    samples = pairs.view.inner[pairs.view.seen.bool()][::7].float().flatten(0, 1)
    spread = samples.std(0)
    return samples.mean(0), spread + 0.1 * spread.mean()
