"""A person's path before the camera: directions as they are seen, the distance as people move.

Distance from one camera is a ratio of sizes. Of a person of whom a long lens shows the shoulders it
errs by a fifth, and from frame to frame: a body that went there would dart about. So the distance
is what agrees best with three things at once: the distances that were placed, each by what it may
be off and some of them plainly wrong; how fast people come and go; feet that stand.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solveh_banded

from hpsvid.body.skeleton import JOINT
from hpsvid.common.series import spaced_times
from hpsvid.motion.smoothing import PATH_CUTOFF_HZ, add_bends, add_squares, biweight, smooth_series
from hpsvid.types import Array

# How people come and go: of the captured motion in ../shared/data/mocap/free/train the pelvis's
# speed along one level axis is 0.56 m/s (root mean square), its acceleration 1.45 m/s^2.
SPEED_M_S = 0.56
SPEED_LASTS_S = 0.5
FAST_M_S = 1.0  # faster people are as likely as their placed distances make them
# What is wrong with a distance stays so for a while. This and what is below it was chosen on
# rendered takes (tools.tables.world, seeds 0-24) and on the samples.
ERROR_LASTS_S = 0.5
FREEDOM = 4.0  # of Student's t: a distance that is far off hardly counts
MOST_DOUBT_M = 1.0  # a distance counts for something, however far away the person is
FEET = [JOINT[f"{s}_{part}"] for s in ("left", "right") for part in ("ankle", "foot", "big_toe")]
STANDING_M_S = 0.6  # across the view: a foot that is faster does not stand, a slower one may
WANDERING_M_S = 1.0  # the same along it, as far as the other two have settled it
FOOT_M_S = 0.3  # how fast each of a standing foot's points may come nearer or go away
FOOT_LASTS_S = 0.1
ROUNDING = 1e-12  # of a matrix's largest number: below it the solution is noise
ROUNDS = 6  # of finding which distances are wrong
FOOT_ROUNDS = 2  # and then which feet stand


def steady_path(pelvis: Array, weight: Array, doubt: Array, feet: Array, pts_s: Array) -> Array:
    """The path (T, 3) float32 m of a pelvis that was placed at `pelvis` (T, 3) m in each frame.

    weight: (T,), of each frame's direction as in `smooth_series`; doubt: (T,) standard deviation
    of each frame's distance, as a share of it (`distance_doubt`); feet: (T, 6, 3) m, FEET against
    the pelvis, or (T, 0, 3) where none can be held; pts_s: (T,) s. z stays positive. Paths of
    fewer than four frames come back as they are.

    The distance r along the smoothed directions minimises, over time, the sum of Student's t of
    (r - placed) / doubt, of (r'^2 + (SPEED_LASTS_S r'')^2) / (2 SPEED_M_S^2 SPEED_LASTS_S), which
    is an Ornstein-Uhlenbeck process's (r'^2 grows no more beyond FAST_M_S), and of the squares of
    standing feet's speed along the view. By reweighted least squares.
    """
    if len(pelvis) < 4:
        return pelvis.astype(np.float32)
    placed = np.linalg.norm(pelvis.astype(np.float64), axis=1)
    level = smooth_series(pelvis[:, :2] / pelvis[:, 2:].astype(np.float64), pts_s, weight,
                          PATH_CUTOFF_HZ)  # fmt: skip
    ray = np.concatenate([level, np.ones((len(level), 1))], 1)
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    times = spaced_times(pts_s)
    sigma = np.minimum(doubt * placed, MOST_DOUBT_M)
    information = np.gradient(times) / (2 * ERROR_LASTS_S * sigma**2)
    distance, off = np.full_like(placed, np.median(placed)), np.zeros_like(placed)
    counts = information
    for _ in range(ROUNDS):
        counts = (FREEDOM + 1) / (FREEDOM + off**2) * information
        distance = _settled(placed, counts, distance, times)
        off = (placed - distance) / sigma
    # feet do not talk distances down: who glides on a board goes where he is seen
    for _ in range(FOOT_ROUNDS):
        stand = _standing(distance[:, None] * ray, feet, np.diff(times))
        distance = _settled(placed, counts, distance, times, stand)
    return (distance[:, None] * ray).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """Points of feet between two frames each."""

    weight: Array  # (T - 1, 6) of holding them still, 0 where they do not stand
    speed: Array  # (T - 1, 6) m/s away from the camera, beside the pelvis's own


def _settled(
    placed: Array, counts: Array, before: Array, times: Array, stand: _Standing | None = None
) -> Array:
    """The distance (T,) m by least squares, speeds weighed by those of the round before.

    placed, before: (T,) m; counts: (T,) 1/m^2 of the placed distances; times: (T,) s.
    """
    step = np.diff(times)
    rate = np.stack([-1 / step, 1 / step], -1)
    bands, moment = np.zeros((3, len(placed))), np.zeros(len(placed))
    slow = 1 / (1 + (np.diff(before) / step / FAST_M_S) ** 2)
    add_squares(bands, rate, slow * step / (2 * SPEED_M_S**2 * SPEED_LASTS_S))
    add_bends(bands, times, SPEED_M_S * np.sqrt(2 / SPEED_LASTS_S))
    if stand is not None:
        add_squares(bands, rate, stand.weight.sum(1))
        pull = -(stand.weight * stand.speed).sum(1)[:, None] * rate
        moment[:-1] += pull[:, 0]
        moment[1:] += pull[:, 1]
    # frames of one time are next to nothing beside their accelerations
    holds = np.maximum(counts, ROUNDING * bands[-1].max())
    bands[-1] += holds
    usual = np.median(placed)  # only changes are solved for: people may be far away
    distance = usual + solveh_banded(bands, moment + holds * (placed - usual))
    return np.maximum(distance, placed.min())


def _standing(pelvis: Array, feet: Array, step: Array) -> _Standing:
    """Which feet stand where the pelvis goes so; pelvis: (T, 3) m; step: (T - 1,) s."""
    points = pelvis[:, None] + feet
    view = points[1:] + points[:-1]
    view /= np.linalg.norm(view, axis=-1, keepdims=True)
    velocity = np.diff(points, axis=0) / step[:, None, None]
    along = (velocity * view).sum(-1)
    across = np.linalg.norm(velocity - along[..., None] * view, axis=-1)
    still = biweight(across / STANDING_M_S) * biweight(along / WANDERING_M_S)
    own = np.diff(np.linalg.norm(pelvis, axis=1)) / step
    return _Standing(
        weight=still * step[:, None] / (2 * FOOT_LASTS_S * FOOT_M_S**2), speed=along - own[:, None]
    )
