"""Cut a track into windows for a solver, and blend the solved windows back without a seam."""

from collections.abc import Iterable, Iterator

import numpy as np

from hpsvid.common.records import take_frames
from hpsvid.common.series import at_times, interpolate_rotations, nearest_rotations, rate_times
from hpsvid.errors import InputError
from hpsvid.ik import Solver
from hpsvid.types import N_ROTATIONS, BodyParams, Observations, Window


def shared_frames(length: int) -> int:
    """How many of its `length` frames a window shares with the next: half of them."""
    return length // 2


def split(obs: Observations, length: int | None, overlap: int = 0) -> Iterator[Window]:
    """Windows of `length` frames that cover the whole track, each sharing `overlap` with the next.

    length None: one window as long as the track. The last window is moved back to end with the
    track, so only a track shorter than `length` is padded: by its last frame, marked not valid.
    Raises InputError unless 0 <= overlap < length.
    """
    total = len(obs)
    if length is None:
        yield Window(obs=obs, start=0, valid=np.ones(total, bool))
        return
    if not 0 <= overlap < length:
        raise InputError(f"window overlap {overlap}: expected 0 <= overlap < length {length}")
    last = max(total - length, 0)
    for start in (*range(0, last, length - overlap), last):
        places = np.arange(start, start + length)
        yield Window(
            obs=take_frames(obs, np.minimum(places, total - 1)),
            start=start,
            valid=places < total,
        )


def blend(parts: Iterable[tuple[int, BodyParams]], total: int) -> BodyParams:
    """One track of `total` frames from solved windows, given as (start, parameters).

    Each window counts by a sin^2 bump that vanishes towards its ends, so that windows fade into
    each other. Rotations are averaged as matrices and projected back to the nearest rotation;
    frames past `total` (padding) are dropped; betas are the windows' mean.
    Raises ValueError when a frame is in no window.
    """
    rotmats = np.zeros((total, N_ROTATIONS, 3, 3))
    transl = np.zeros((total, 3))
    weight = np.zeros(total)
    betas = []
    for start, part in parts:
        inside = min(len(part), total - start)
        place = slice(start, start + inside)
        bump = np.sin(np.pi * (np.arange(len(part)) + 0.5) / len(part))[:inside] ** 2
        rotmats[place] += bump[:, None, None, None] * part.rotmats[:inside]
        transl[place] += bump[:, None] * part.transl[:inside]
        weight[place] += bump
        betas.append(part.betas)
    if not weight.all():
        raise ValueError(f"blend: frame {int(np.argmin(weight))} is in none of the windows")
    rotmats /= weight[:, None, None, None]
    return BodyParams(
        rotmats=nearest_rotations(rotmats),
        betas=np.stack(betas).mean(0, dtype=np.float64).astype(np.float32),
        transl=(transl / weight[:, None]).astype(np.float32),
    )


def solve(obs: Observations, times: np.ndarray, betas: np.ndarray, solver: Solver) -> np.ndarray:
    """Rotations (T, 24, 3, 3) of one track; a solver of windows sees them at its own frame rate.

    times: (T,) s; betas: (10,).
    """
    even = rate_times(times) if solver.window_length else None
    evenly = obs if even is None else at_times(obs, times, even)
    windows = split(evenly, solver.window_length, shared_frames(solver.window_length or 0))
    parts = ((window.start, solver(window, betas)) for window in windows)
    rotmats = blend(parts, len(evenly)).rotmats
    return rotmats if even is None else interpolate_rotations(times, even, rotmats)
