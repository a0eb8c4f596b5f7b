"""Values over time: runs, gaps, interpolation and resampling.

Values are interpolated linearly, rotations along the shortest way (slerp); before the first and
after the last sample both are held.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from hpsvid.common.geometry import nearest_rotation, slerp
from hpsvid.common.records import take_frames
from hpsvid.types import Array, Observations

MIN_STEP_S = 1e-3  # step that two frames of the same time, which damaged files hold, count as
LONGEST_STEP_S = 1.0  # between two frames of a track, as solvers and smoothing count it
RATE_HZ = 30.0  # frame rate of the motion that solvers of windows were trained on
SAME_RATE = 0.1  # how far off, relatively, a frame's step may be to count as that rate
CHUNK = 1024  # frames whose rotations are worked on at once: some 10 MB
_SAME_TIME = 1e-9  # s or frames; a moment this little before a frame lies on it
_SHORTEST = 1e-6  # s or frames; step between frames that interpolation divides by


def chunks(frames: int, size: int) -> Iterator[slice]:
    """All frames in order, `size` at a time: what is large on the way is held for these alone."""
    return (slice(start, start + size) for start in range(0, frames, size))


def spaced_times(pts_s: Array) -> Array:
    """Times (T,) s from 0 on, no two nearer than MIN_STEP_S."""
    return np.concatenate([[0.0], np.cumsum(np.maximum(np.diff(pts_s), MIN_STEP_S))])


def bridged(pts_s: Array) -> Array:
    """Times (T,) s, from the same first one on, of which no step is longer than LONGEST_STEP_S.

    Nobody saw what happens during a longer hold of the picture. What is sampled evenly in time
    grows with a track's frames, not with the hours that they span.
    """
    steps = np.diff(pts_s)
    if len(steps) == 0 or steps.max() <= LONGEST_STEP_S:
        return pts_s
    return pts_s[0] + np.concatenate([[0.0], np.cumsum(np.minimum(steps, LONGEST_STEP_S))])


def rate_times(pts_s: Array) -> Array | None:
    """Moments (N,) s at RATE_HZ that cover a track's times (T,) s; None where it has that rate."""
    steps = np.diff(pts_s)
    if len(steps) == 0 or np.abs(steps * RATE_HZ - 1).max() < SAME_RATE:
        return None
    count = int(np.ceil((pts_s[-1] - pts_s[0]) * RATE_HZ - 1e-6)) + 1
    return pts_s[0] + np.arange(count) / RATE_HZ


def nearest(at: Array, times: Array) -> Array:
    """For each of the moments (N,) the frame (N,) of nearest time; of two, the earlier.

    times: (T,) increasing.
    """
    after = np.searchsorted(times, at).clip(0, len(times) - 1)
    before = (after - 1).clip(0)
    return np.where(np.abs(times[before] - at) <= np.abs(times[after] - at), before, after)


def interpolate(
    at: Array, times: Array, values: Array, dtype: np.dtype | type = np.float64
) -> Array:
    """Values (N, ...) of type `dtype` at the moments `at` (N,), worked out in float64.

    times: (T,) increasing; values: (T, ...).
    """
    between = np.empty((len(at), *values.shape[1:]), dtype)
    for part in chunks(len(at), CHUNK):
        before, after, share = _around(at[part], times)
        share = share.reshape(-1, *[1] * (values.ndim - 1))
        between[part] = (1 - share) * values[before] + share * values[after]
    return between


def interpolate_rotations(at: Array, times: Array, rotmats: Array) -> Array:
    """Rotations (N, J, 3, 3) at the moments `at` (N,); times: (T,); rotmats: (T, J, 3, 3)."""
    turned = torch.from_numpy(rotmats)
    between = torch.empty(len(at), *turned.shape[1:], dtype=turned.dtype)
    for part in chunks(len(at), CHUNK):
        before, after, share = _around(at[part], times)
        weight = torch.from_numpy(share)[:, None].to(turned.dtype)
        between[part] = slerp(turned[before], turned[after], weight)
    return between.numpy()


def nearest_rotations(matrices: Array) -> Array:
    """Rotations (T, J, 3, 3) float32 nearest to the matrices (T, J, 3, 3), float64."""
    nearest = np.empty(matrices.shape, np.float32)
    for part in chunks(len(matrices), CHUNK):
        nearest[part] = nearest_rotation(torch.from_numpy(matrices[part])).numpy()
    return nearest


def _around(at: Array, times: Array) -> tuple[Array, Array, Array]:
    """Frames before and after the moments (N,), and the share of the frame after in [0, 1]."""
    following = np.searchsorted(times, at + _SAME_TIME, side="right")
    before, after = (following - 1).clip(0), following.clip(max=len(times) - 1)
    span = np.maximum(times[after] - times[before], _SHORTEST)
    return before, after, ((at - times[before]) / span).clip(0, 1)


def values_at(place: Tensor, values: Tensor) -> Tensor:
    """Values (B, N, ...) of a batch of series (B, T, ...) at fractional frames `place` (B, N)."""
    before = place.floor().long().clamp(0, values.shape[1] - 1)
    after = (before + 1).clamp(max=values.shape[1] - 1)
    share = (place - before).reshape(*place.shape, *[1] * (values.ndim - 2))
    rows = torch.arange(len(values))[:, None]
    return values[rows, before] * (1 - share) + values[rows, after] * share


def fill_gaps(values: Array, valid: Array, times: Array) -> Array:
    """A series (T, ...) with the frames that are not valid interpolated between the valid ones.

    valid: (T,) bool, at least one; times: (T,) increasing. Returns the dtype of `values`.
    """
    return interpolate(times, times[valid], values[valid], values.dtype)


def fill_rotations(rotmats: Array, valid: Array, pts_s: Array) -> Array:
    """Rotations (T, J, 3, 3) with the frames that are not valid turned steadily between the
    valid ones around them; without any valid frame they come back as they are.

    valid: (T,) bool; pts_s: (T,) s.
    """
    if valid.all() or not valid.any():
        return rotmats
    filled = rotmats.copy()
    filled[~valid] = interpolate_rotations(pts_s[~valid], pts_s[valid], rotmats[valid])
    return filled


def at_times(obs: Observations, pts_s: Array, times: Array) -> Observations:
    """What a solver reads of observations, interpolated at other moments `times` (N,) s.

    pts_s: (T,) s, its own times. Landmarks and flags are those of the frames before.
    """
    before = np.searchsorted(pts_s, times, side="right").clip(1, len(obs)) - 1
    names = ("joints", "sigma", "twist", "betas", "pelvis")
    moved = {name: interpolate(times, pts_s, getattr(obs, name), np.float32) for name in names}
    return replace(take_frames(obs, before), **moved)


def runs(flags: Array) -> list[slice]:
    """Stretches of True in (T,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
