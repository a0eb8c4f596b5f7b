"""Values over time: runs, gaps, interpolation and resampling."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from hpsvid.common.geometry import slerp
from hpsvid.common.records import take_frames
from hpsvid.types import Array, Observations


def increasing_times(pts_s: Array) -> Array:
    """Times (T,) s as float64; frames of the same time count as a millisecond apart."""
    steps = np.maximum(np.diff(pts_s.astype(np.float64)), 1e-3)
    return np.concatenate([[0.0], np.cumsum(steps)])


def held(series: Array, seen: Array, times: Array) -> Array:
    """A series (T, ...) with its unseen frames interpolated between the seen ones."""
    rows = series.reshape(len(series), -1)
    columns = np.stack([np.interp(times, times[seen], column[seen]) for column in rows.T], -1)
    return columns.reshape(series.shape).astype(np.float32)


MIN_STEP_S = 1e-3  # that frames with the same time stamp, which damaged files hold, count as apart


def interpolate(values: Tensor, good: Tensor, times: Array) -> Tensor:
    """Replace the rows (T, C) that are not good, linearly in time between the good ones."""
    known = good.numpy()
    columns = [np.interp(times, times[known], column[known]) for column in values.numpy().T]
    return torch.from_numpy(np.stack(columns, -1))


def at_times(obs: Observations, pts_s: Array, times: Array) -> Observations:
    """The evidence a solver reads at other moments `times` (N,) s, on lines between its frames.

    pts_s: (T,) s, its own times. Landmarks and flags are those of the frames before.
    """

    def between(values: Array) -> Array:
        columns = [np.interp(times, pts_s, column) for column in values.reshape(len(obs), -1).T]
        return np.stack(columns, -1).reshape(len(times), *values.shape[1:]).astype(np.float32)

    before = np.searchsorted(pts_s, times, side="right").clip(1, len(obs)) - 1
    names = ("joints", "sigma", "twist", "betas", "pelvis")
    moved = {name: between(getattr(obs, name)) for name in names}
    return replace(take_frames(obs, before), **moved)


def fill(rotmats: Array, valid: Array, pts_s: Array) -> Array:
    """Rotations (T, 24, 3, 3) with the frames that are not valid turned steadily between the
    valid ones around them; before the first and after the last, the pose is held.
    """
    known = np.flatnonzero(valid)
    if len(known) in (0, len(valid)):
        return rotmats
    missing = np.flatnonzero(~valid)
    after = np.searchsorted(known, missing)
    before_i = known[np.maximum(after - 1, 0)]
    after_i = known[np.minimum(after, len(known) - 1)]
    span = np.maximum(pts_s[after_i] - pts_s[before_i], 1e-9)
    share = torch.from_numpy(np.clip((pts_s[missing] - pts_s[before_i]) / span, 0, 1))
    share = torch.where(torch.from_numpy(after_i == before_i), 0.0, share)
    first, second = torch.from_numpy(rotmats[before_i]), torch.from_numpy(rotmats[after_i])
    filled = rotmats.copy()
    filled[missing] = slerp(first, second, share[:, None].to(first.dtype)).numpy()
    return filled


def spaced_times(pts_s: Array) -> Array:
    """Times (T,) s from 0 on, no two nearer than MIN_STEP_S."""
    return np.concatenate([[0.0], np.cumsum(np.maximum(np.diff(pts_s), MIN_STEP_S))])


def runs(flags: Array) -> list[slice]:
    """Stretches of True in (T,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


RATE_HZ = 30.0  # frame rate of the motion that solvers of windows were trained on
SAME_RATE = 0.1  # how far off, relatively, a frame's step may be to count as that rate


def rate_times(pts_s: Array) -> Array | None:
    """Moments (N,) s at RATE_HZ that cover a track's times (T,) s; None where it has that rate."""
    steps = np.diff(pts_s)
    if len(steps) == 0 or np.abs(steps * RATE_HZ - 1).max() < SAME_RATE:
        return None
    count = int(np.ceil((pts_s[-1] - pts_s[0]) * RATE_HZ - 1e-6)) + 1
    return pts_s[0] + np.arange(count) / RATE_HZ


def back_to(rotmats: Array, pts_s: Array) -> Array:
    """Rotations (N, 24, 3, 3) of `rate_times` at the track's own times (T,) s."""
    place = (pts_s - pts_s[0]) * RATE_HZ
    before = np.floor(place + 1e-6).astype(np.int64).clip(0, len(rotmats) - 1)
    after = np.minimum(before + 1, len(rotmats) - 1)
    start, end = (torch.from_numpy(rotmats[at]) for at in (before, after))
    share = torch.from_numpy((place - before).clip(0, 1)).float()
    return slerp(start, end, share[:, None]).numpy()
