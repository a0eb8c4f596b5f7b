"""Where a camera that is carried about goes, told by the ground that it sees and feet that stand.

The ground's flow says how far the camera goes in its heights over it (`hpsvid.motion.carried`), and
feet that stand say how high it is. A planted foot is a fixed point of the world, too: with the
camera's turning known, how it moves before the camera is how the camera moves. While nobody stands
and no ground is seen the camera goes on smoothly. What it is told by is as large as the people are,
so the way is in metres.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solveh_banded

from hpsvid.common.series import spaced_times
from hpsvid.motion.carried import OverPlane
from hpsvid.motion.feet import contacts
from hpsvid.motion.smoothing import add_bends, add_squares
from hpsvid.motion.upright import tangents
from hpsvid.types import Array

# As people and cameras are; on rendered takes (tools.tables.world, seeds 0-33) little depends on it
STANDING_M_S = 0.3  # of a planted point: one that is faster hardly counts
TRAVEL_M_S = 3.0  # of a camera, where nothing says how fast it goes
TRAVEL_M_S2 = 1.5  # how steadily it goes
FLOOR_M = 0.05  # how far a planted point is from the floor
# Of the way over the ground: ground is not a plane, and the height over it is not known exactly.
OVER_M_S, OVER_SHARE = 0.05, 0.05
LOW_M = 0.04  # a point this much higher than a person's lowest carries a third of its weight
ROUNDS = 8  # of finding out what is planted
ORDER = (1, 0, 2)  # up, along, across -> with up second
_HOLD = 1e6  # of the first frame, where the way begins


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """One person's contact points, as seen by a camera that only turns."""

    frames: Array  # (T,) of the shot
    points: Array  # (T, 4, 3) m, axes of the shot's first frame, less their standing heights
    pelvis: Array  # (T, 3) m, the same axes
    valid: Array  # (T,) bool


def camera_way(
    people: Sequence[Steps], up: Array, pts_s: Array, over: OverPlane | None = None
) -> Array:
    """Where the camera is in each frame of a shot, (F, 3) m from where it was in the first.

    up: (3,), axes of the first frame's camera, as the result's; pts_s: (F,) s; over: what the
    ground's flow says of these frames. Minimises over time the squares of (planted points' velocity
    / STANDING_M_S), their height over one floor / FLOOR_M, (what the velocity is other than the
    ground's flow has it / what that may be off), (the camera's velocity / TRAVEL_M_S) and its
    acceleration / TRAVEL_M_S2, robustly.
    """
    way = np.zeros((len(pts_s), 3))  # up, along the first view, across it
    if len(pts_s) < 4 or not people:
        return way
    axes, times = np.stack([up, *tangents(up)]), spaced_times(pts_s)
    seen = [(person, person.points @ axes.T) for person in people]
    planted = [_low(points[..., 0]) * person.valid[:, None] for person, points in seen]
    flown = _Flown(np.zeros((len(pts_s) - 1, 3)), np.zeros((len(pts_s) - 1, 3)))
    for _ in range(ROUNDS):
        heights = [points[..., 0] + way[of.frames, :1] for of, points in seen]
        floor = weighted_median(np.concatenate([h.ravel() for h in heights]),
                                np.concatenate([w.ravel() for w in planted]))  # fmt: skip
        if over is not None:
            flown = _flown(over, axes, way[:, 0] - floor, times)
        way = _solved(seen, planted, flown, floor, (way, times))
        planted = [
            _planted((points, of.pelvis @ axes.T), way[of.frames], times[of.frames])
            * of.valid[:, None]
            for of, points in seen
        ]
    return (way - way[0]) @ axes


def _low(height: Array) -> Array:
    """How much each of four points (T, 4) carries, by its height alone: the lowest all."""
    return np.exp(-(height - height.min(1, keepdims=True)) / LOW_M)


def _planted(seen: tuple[Array, Array], way: Array, times: Array) -> Array:
    """How much each of a person's points is planted: (T, 4) in [0, 1].

    seen: these (T, 4, 3) m and the pelvis (T, 3) m, up first, before a camera that only turns; way:
    (T, 3) m, of the camera.
    """
    points, pelvis = seen[0] + way[:, None], seen[1] + way
    chance = contacts(points[..., ORDER], pelvis[:, ORDER], way[:, ORDER], times)
    speed = np.zeros(chance.shape)
    if len(times) > 1:
        speed = np.linalg.norm(np.gradient(points, times, axis=0), axis=-1)
    return chance / (1 + (speed / STANDING_M_S) ** 2)


@dataclass(frozen=True, slots=True, eq=False)
class _Flown:
    """What the ground's flow says of the camera's velocity from frame to frame."""

    velocity: Array  # (F - 1, 3) m/s
    weight: Array  # (F - 1, 3) 1/(m^2/s), of its square's time integral


def _flown(over: OverPlane, axes: Array, height: Array, times: Array) -> _Flown:
    """height: (F,) m of the camera over the ground; axes: (3, 3), its rows the result's."""
    said = _Flown(np.zeros((len(times) - 1, 3)), np.zeros((len(times) - 1, 3)))
    seen = over.seen
    own = np.diagonal(axes @ over.covariance[seen] @ axes.T, axis1=1, axis2=2)
    for (first, last), shift, off in zip(
        over.frames[seen], over.shift[seen] @ axes.T, own, strict=True
    ):
        long, high = times[last] - times[first], max(height[first], 0.0)
        moved = high * shift
        doubt = high**2 * off + (OVER_M_S * long) ** 2 + OVER_SHARE**2 * (moved @ moved)
        said.velocity[first:last], said.weight[first:last] = moved / long, long / doubt
    return said


def _solved(
    seen: Sequence[tuple[Steps, Array]], planted: Sequence[Array], flown: _Flown, floor: float,
    before: tuple[Array, Array],
) -> Array:  # fmt: skip
    """The way (F, 3), in up, along, across, that suits these weights; before: it, and times."""
    way, times = before
    step, dt = np.diff(times), np.gradient(times)
    weight = flown.weight + 1 / TRAVEL_M_S**2
    velocity = flown.weight * flown.velocity
    level, height = np.zeros(len(times)), np.zeros(len(times))
    for (of, points), carries in zip(seen, planted, strict=True):
        first = of.frames[:-1]
        both = np.minimum(carries[1:], carries[:-1])
        moved = np.diff(points, axis=0) / step[first, None, None]
        weight[first] += both.sum(1)[:, None] / STANDING_M_S**2
        velocity[first] -= (both[..., None] * moved).sum(1) / STANDING_M_S**2
        over = points[..., 0] + way[of.frames, :1] - floor
        sure = carries / (1 + (over / (2 * FLOOR_M)) ** 2) * dt[of.frames, None] / FLOOR_M**2
        level[of.frames] += sure.sum(1)
        height[of.frames] += (sure * (floor - points[..., 0])).sum(1)
    rate = np.stack([-1 / step, 1 / step], -1)
    pull = np.zeros((len(times), 3))
    pull[:-1] -= velocity
    pull[1:] += velocity
    pull[:, 0] += height
    out = np.zeros_like(pull)
    for axis in range(3):
        bands = np.zeros((3, len(times)))
        add_squares(bands, rate, step * weight[:, axis])
        add_bends(bands, times, TRAVEL_M_S2)
        bands[-1, 0] += _HOLD
        bands[-1] += level if axis == 0 else 0
        out[:, axis] = solveh_banded(bands, pull[:, axis])
    return out


def weighted_median(values: Array, weights: Array) -> float:
    """The middle of values (N,) by weight (N,), which is above 0 somewhere."""
    order = np.argsort(values)
    mass = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(mass, mass[-1] / 2)])
