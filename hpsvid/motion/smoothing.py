"""Smoothing and filling of one track's evidence, rotations and path; zero-phase unless live.

Everything is batched over the frames of one track; a track never crosses a scene cut, so nothing
is smoothed across one.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import solveh_banded

from hpsvid.body.skeleton import SMPL
from hpsvid.common.series import MIN_STEP_S, fill_gaps, nearest_rotations, spaced_times
from hpsvid.types import Array, Observations

# Cut-offs of the smoothing, Hz: of motion at frequency f, 1 / (1 + (f / cut-off)^6) is kept. The
# evidence is smoothed first, the rotations once more after the solver. Through all of it a swing
# of 40 degrees at 2 Hz keeps 96 % and is not delayed; the network's acceleration error on the
# calibrated clip falls to a tenth (113 to 11 m/s^2). Most of voluntary motion lies below 3 Hz;
# impacts and juggling wrists are softened. No smoothing at all gains no accuracy either.
JOINTS_CUTOFF_HZ = 4.5
ROTATIONS_CUTOFF_HZ = 6.0
PATH_CUTOFF_HZ = 4.5
# Of what refinement by the picture changes, where all landmarks are seen. Chosen on bodypose3d and
# caliscope out of none, 4, 2 and 1 Hz: PA-MPJPE 43.3 and 44.6 mm for 43.6 and 45.0, acceleration
# error 1.24 m/s^2 for 1.50.
CORRECTIONS_CUTOFF_HZ = 2.0
# Depth from one camera is a ratio of sizes: its noise is tens of times the sideways noise, while
# a person's distance changes slowly. A lunge towards the camera within half a second is blunted,
# live and by `hpsvid smooth`; `run` has `hpsvid.motion.path` for it.
DEPTH_CUTOFF_HZ = 1.0
FILLED_WEIGHT = 0.05  # of a frame without evidence, whose pose is interpolated
WEIGHT_RANGE = (0.02, 4.0)  # how far sigma may lower or raise a frame's weight

# One-sided smoothing, where the future is not known: cut-off at rest, Hz, and by how much each
# m/s raises it. On the studio walk at 30 fps the evidence's acceleration error falls from 20 to
# 8 m/s^2 and its position error does not rise; the zero-phase curve's end would leave 16.
LIVE_REST_HZ = 2.0
LIVE_HZ_PER_SPEED = 3.0
LIVE_SPEED_HZ = 1.0  # of the speed itself; Casiez et al.'s own value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Smoothed:
    """One track's observations before and after smoothing."""

    raw: Observations
    obs: Observations
    pts_s: Array  # (T,) s
    carried: bool = False  # so is the camera: before it, no foot stands still


def smoothed(raw: Observations, pts_s: Array, *, carried: bool = False) -> Smoothed:
    """Observations with what `steady` makes of them; pts_s: (T,) s."""
    return Smoothed(raw=raw, obs=steady(raw, pts_s), pts_s=pts_s, carried=carried)


def steady(obs: Observations, pts_s: Array) -> Observations:
    """Joints, twists and landmarks smoothed in time, before a solver sees them.

    pts_s: (T,) s. Zero-phase; a joint that is uncertain in a frame (sigma) leans on its
    neighbours in time, frames that are not valid are interpolated. Inverse kinematics turns
    jitter of a short bone into wild rotations whose average means little, so smoothing the
    evidence first beats smoothing the rotations after (five times less acceleration error and
    half the position error at 50 mm of white noise).
    """
    total = len(obs)
    weight = certainty(obs.sigma.astype(np.float64) ** 2, obs.valid)
    if not obs.valid.any():
        return obs

    def smooth(values: Array, weight: Array) -> Array:
        filled = fill_gaps(values.astype(np.float64), obs.valid, pts_s)
        columns = filled.reshape(total, weight.shape[1], -1)
        smoothed = [
            smooth_series(columns[:, j], pts_s, weight[:, j], JOINTS_CUTOFF_HZ)
            for j in range(weight.shape[1])
        ]
        return np.stack(smoothed, 1).reshape(values.shape).astype(np.float32)

    landmarks2d = obs.landmarks2d.copy()
    visibility = np.where(obs.valid[:, None], obs.landmarks2d[..., 2].astype(np.float64), 0)
    visible = np.clip(visibility, FILLED_WEIGHT, 1)
    landmarks2d[..., :2] = smooth(obs.landmarks2d[..., :2], visible)
    return replace(
        obs,
        landmarks2d=landmarks2d,
        joints=smooth(obs.joints, weight),
        twist=smooth(obs.twist, of_bones(weight)[:, 1:]),
        sigma=_changing_sigma(obs),
    )


def _changing_sigma(obs: Observations) -> Array:
    """What of sigma (T, 29) m solvers take for noise."""
    return np.where(obs.valid[:, None], obs.changing * obs.sigma, obs.sigma).astype(np.float32)


def steady_so_far(obs: Observations, pts_s: Array) -> Observations:
    """As `steady`, but each frame from those up to it; all frames are taken to be valid."""
    weight = certainty(obs.sigma.astype(np.float64) ** 2, obs.valid)
    landmarks2d = obs.landmarks2d.copy()
    points, visible = landmarks2d[..., :2], landmarks2d[..., 2].clip(FILLED_WEIGHT, 1)
    # the body as a whole stays where it is seen: a mesh that trails behind its person is worse
    # than one that trembles a little
    middle = np.average(points, 1, np.repeat(visible[..., None], 2, 2))[:, None]
    spread = points.std(1).sum(-1) / obs.joints[..., :2].std(1).sum(-1)
    px_per_m = max(float(np.median(spread)), 1.0)
    points[:] = middle + px_per_m * one_euro((points - middle) / px_per_m, pts_s, visible)
    return replace(
        obs,
        landmarks2d=landmarks2d,
        joints=one_euro(obs.joints, pts_s, weight),
        twist=one_euro(obs.twist, pts_s, of_bones(weight)[:, 1:]),
        sigma=_changing_sigma(obs),
    )


def one_euro(values: Array, pts_s: Array, weight: Array) -> Array:
    """One-sided low-pass of points (T, J, C), as float32: each frame from those up to it.

    Exponential smoothing whose cut-off rises with a point's speed: at rest it holds still, in
    motion it hardly lags. pts_s: (T,) s in any spacing; weight: (T, J), as in `smooth_series`.
    The 1 euro filter (Casiez et al., CHI 2012, Algorithm 1).
    """
    smooth = np.array(values, np.float64)
    speed = np.zeros_like(smooth[0])
    steps = np.maximum(np.diff(pts_s), MIN_STEP_S)
    for now, step in enumerate(steps, start=1):
        speed += _gain(LIVE_SPEED_HZ, step) * ((values[now] - values[now - 1]) / step - speed)
        cutoff = LIVE_REST_HZ + LIVE_HZ_PER_SPEED * np.linalg.norm(speed, axis=-1)
        gain = _gain(cutoff * weight[now] ** (1 / 6), step)[:, None]
        smooth[now] = smooth[now - 1] + gain * (values[now] - smooth[now - 1])
    return smooth.astype(np.float32)


def _gain(cutoff_hz: Array | float, step_s: float) -> Any:
    """Gain of an exponential smoother with that cut-off: 0 holds the value, 1 follows the input."""
    turn = 2 * np.pi * cutoff_hz * step_s
    return turn / (turn + 1)


def certainty(variance: Array, valid: Array) -> Array:
    """Weights (T, J) in time: 1 where a joint is as certain as it usually is, low where filled.

    A joint that is usually four times (in variance) less certain than the track's median, such
    as an arm that is hidden all along, is smoothed more for it.
    """
    if not valid.any():
        return np.full(variance.shape, FILLED_WEIGHT)
    variance = np.maximum(variance, 1e-8)
    usual = np.minimum(np.median(variance[valid], axis=0), 4 * np.median(variance[valid]))
    weight = np.clip(usual / variance, *WEIGHT_RANGE)
    return np.where(valid[:, None], weight, FILLED_WEIGHT)


def of_bones(weight: Array) -> Array:
    """Weights (T, 24) of rotations from joints' (T, 29): a bone is as certain as its worse end."""
    bones = weight[:, : SMPL.n_rotations].copy()
    for child, parent in enumerate(SMPL.parents):
        if child > 0:
            bones[:, parent] = np.minimum(bones[:, parent], weight[:, child])
    return bones


def smooth_series(values: Array, pts_s: Array, weight: Array, cutoff_hz: float) -> Array:
    """Zero-phase low-pass of `values` (T, C) sampled at pts_s (T,) s, in any spacing.

    The curve x that minimises the integral of weight (x - value)^2 + (x''' / w^3)^2, with
    w = 2 pi cutoff_hz: where weight is 1 a frequency f keeps 1 / (1 + (f / cutoff)^6) of its
    amplitude, without delay, whatever the frame rate; where weight (T,) is lower, the curve leans
    on its neighbours in time and the cut-off falls with weight^(1/6). Quadratics pass unchanged,
    ends included. Tracks of fewer than four frames come back as they are.
    (Whittaker, 1923; Eilers, "A perfect smoother", Anal. Chem. 2003, for uneven sampling.)
    """
    total = len(values)
    if total < 4:
        return values
    pts_s = spaced_times(pts_s)
    spacing = np.gradient(pts_s)
    third = _third_derivative(pts_s)  # (T - 3, 4) coefficients of four neighbours
    length = (pts_s[3:] - pts_s[:-3]) / 3
    strength = length / (2 * np.pi * cutoff_hz) ** 6
    bands = np.zeros((4, total))
    add_squares(bands, third, strength)
    data = weight * spacing
    bands[-1] += data
    return solveh_banded(bands, data[:, None] * values)


def add_squares(bands: Array, coefficients: Array, weight: Array) -> None:
    """Add sums of squares to a cost's matrix.

    coefficients: (N, K), the n-th sum's of values n to n + K - 1; weight: (N,). bands: upper form
    of scipy's banded storage, diagonal last.
    """
    count, width = coefficients.shape
    for i in range(width):
        for j in range(i, width):
            product = weight * coefficients[:, i] * coefficients[:, j]
            bands[i - j - 1, j : count + j] += product


def add_bends(bands: Array, pts_s: Array, size: float) -> None:
    """Add the time integral of (second derivative / size)^2 to bands (3, T); pts_s: (T,) s."""
    step = np.diff(pts_s)
    bend = 1 / (step[1:] * step[:-1] * (step[1:] + step[:-1]) / 2)
    bends = np.stack([step[1:], -step[1:] - step[:-1], step[:-1]], -1) * bend[:, None]
    add_squares(bands, bends, (step[1:] + step[:-1]) / 2 / size**2)


def biweight(size: Array) -> Array:
    """Tukey's weight of how far off something is: 1 at 0, nothing from 1 on."""
    return np.clip(1 - size**2, 0, None) ** 2


def _third_derivative(pts_s: Array) -> Array:
    """Coefficients (T - 3, 4) that give the third derivative from four neighbours in time."""
    times = np.stack([pts_s[i : len(pts_s) - 3 + i] for i in range(4)], -1)
    gaps = times[:, :, None] - times[:, None, :]
    gaps[:, np.arange(4), np.arange(4)] = 1
    return 6 / gaps.prod(-1)


def smooth_rotations(rotmats: Array, weight: Array, pts_s: Array, strength: float = 1) -> Array:
    """Zero-phase smoothing of rotations (T, 24, 3, 3), each joint by its weight (T, 24).

    strength: what the cut-off is divided by.
    The matrices' entries are smoothed and projected back: no wrap-around, no reference frame.
    """
    entries = rotmats.reshape(len(rotmats), SMPL.n_rotations, 9).astype(np.float64)
    for j in range(SMPL.n_rotations):
        cutoff = ROTATIONS_CUTOFF_HZ / strength
        entries[:, j] = smooth_series(entries[:, j], pts_s, weight[:, j], cutoff)
    return nearest_rotations(entries.reshape(rotmats.shape))


def steady_corrections(before: Array, after: Array, seen: Array, pts_s: Array) -> Array:
    """Rotations `after` (T, 24, 3, 3), their differences from those `before` low-passed.

    seen: (T,) in [0, 1], how much of the landmarks was seen. The network's points in the picture
    tremble from look to look; what is wrong with a solved pose lasts.
    """
    change = after.astype(np.float64) @ before.swapaxes(-1, -2)
    weight = np.clip(seen, FILLED_WEIGHT, 1) ** 2
    entries = change.reshape(len(change), -1)
    smoothed = smooth_series(entries, pts_s, weight, CORRECTIONS_CUTOFF_HZ)
    return (nearest_rotations(smoothed.reshape(change.shape)) @ before).astype(np.float32)


def smooth_path(pelvis: Array, weight: Array, pts_s: Array, strength: float = 1) -> Array:
    """Zero-phase smoothing of a path (T, 3) m in front of the camera, by its weight (T,).

    strength: what the cut-offs are divided by.
    Direction (x/z, y/z) and log depth are smoothed apart, depth more: so the person stays on
    the picture while its distance, which is the noisy part, calms down; z stays positive.
    """
    z = pelvis[:, 2:].astype(np.float64)
    ray = smooth_series(pelvis[:, :2] / z, pts_s, weight, PATH_CUTOFF_HZ / strength)
    depth = np.exp(smooth_series(np.log(z), pts_s, weight, DEPTH_CUTOFF_HZ / strength))
    return (np.concatenate([ray, np.ones_like(depth)], 1) * depth).astype(np.float32)
