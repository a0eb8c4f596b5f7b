"""Cut a track into windows for a solver, and blend the solved windows back without a seam."""

from collections.abc import Sequence

import numpy as np
import torch

from hpsvid.errors import InputError
from hpsvid.geometry import nearest_rotation, slerp
from hpsvid.types import Array, BodyParams, Observations, Window, take_frames

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


def split(obs: Observations, length: int | None, overlap: int = 0) -> list[Window]:
    """Windows of `length` frames that cover the whole track, each sharing `overlap` with the next.

    length None: one window as long as the track. The last window is moved back to end with the
    track, so only a track shorter than `length` is padded: by its last frame, marked not valid.
    Raises InputError unless 0 <= overlap < length.
    """
    total = len(obs)
    if length is None:
        return [Window(obs=obs, start=0, valid=np.ones(total, bool))]
    if not 0 <= overlap < length:
        raise InputError(f"window overlap {overlap}: expected 0 <= overlap < length {length}")
    last = max(total - length, 0)
    starts = [*range(0, last, length - overlap), last]
    windows = []
    for start in starts:
        places = np.arange(start, start + length)
        windows.append(
            Window(
                obs=take_frames(obs, np.minimum(places, total - 1)),
                start=start,
                valid=places < total,
            )
        )
    return windows


def blend(parts: Sequence[tuple[int, BodyParams]], total: int) -> BodyParams:
    """One track of `total` frames from solved windows, given as (start, parameters).

    Each window counts by a sin^2 bump that vanishes towards its ends, so that windows fade into
    each other. Rotations are averaged as matrices and projected back to the nearest rotation;
    frames past `total` (padding) are dropped; betas are the windows' mean.
    Raises ValueError when a frame is in no window.
    """
    rotmats = np.zeros((total, 24, 3, 3))
    transl = np.zeros((total, 3))
    weight = np.zeros(total)
    for start, part in parts:
        inside = min(len(part), total - start)
        place = slice(start, start + inside)
        bump = np.sin(np.pi * (np.arange(len(part)) + 0.5) / len(part))[:inside] ** 2
        rotmats[place] += bump[:, None, None, None] * part.rotmats[:inside]
        transl[place] += bump[:, None] * part.transl[:inside]
        weight[place] += bump
    if not weight.all():
        raise ValueError(f"blend: frame {int(np.argmin(weight))} is in none of the windows")
    mean = nearest_rotation(torch.from_numpy(rotmats / weight[:, None, None, None]))
    betas = np.stack([part.betas for _, part in parts]).mean(0, dtype=np.float64)
    return BodyParams(
        rotmats=mean.numpy().astype(np.float32),
        betas=betas.astype(np.float32),
        transl=(transl / weight[:, None]).astype(np.float32),
    )
