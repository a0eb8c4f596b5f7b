"""Cut a track into windows for a solver, and blend the solved windows back without a seam."""

from collections.abc import Sequence

import numpy as np
import torch

from hpsvid.common.geometry import nearest_rotation
from hpsvid.common.records import take_frames
from hpsvid.common.series import at_times, interpolate_rotations, rate_times
from hpsvid.errors import InputError
from hpsvid.ik import Solver
from hpsvid.types import N_ROTATIONS, BodyParams, Observations, Window


def shared_frames(length: int) -> int:
    """How many of its `length` frames a window shares with the next: half of them."""
    return length // 2


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
    rotmats = np.zeros((total, N_ROTATIONS, 3, 3))
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
    sums = torch.from_numpy(rotmats / weight[:, None, None, None])
    mean = torch.cat([nearest_rotation(chunk) for chunk in sums.split(1024)])  # 10 kB a frame
    betas = np.stack([part.betas for _, part in parts]).mean(0, dtype=np.float64)
    return BodyParams(
        rotmats=mean.numpy().astype(np.float32),
        betas=betas.astype(np.float32),
        transl=(transl / weight[:, None]).astype(np.float32),
    )


def solve(obs: Observations, times: np.ndarray, betas: np.ndarray, solver: Solver) -> np.ndarray:
    """Rotations (T, 24, 3, 3) of one track; a solver of windows sees them at its own frame rate.

    times: (T,) s; betas: (10,).
    """
    even = rate_times(times) if solver.window_length else None
    evenly = obs if even is None else at_times(obs, times, even)
    parts = [
        (window.start, solver(window, betas))
        for window in split(evenly, solver.window_length, shared_frames(solver.window_length or 0))
    ]
    rotmats = blend(parts, len(evenly)).rotmats
    return rotmats if even is None else interpolate_rotations(times, even, rotmats)
