"""Feet: keep standing ones from sliding along the view, and say when they touch the ground."""

import numpy as np
from scipy.linalg import solveh_banded

from hpsvid.body.model import Body
from hpsvid.body.skeleton import BLAZEPOSE, JOINT
from hpsvid.body.world import to_world
from hpsvid.common.series import spaced_times
from hpsvid.motion.smoothing import add_squares
from hpsvid.types import N_BETAS, N_ROTATIONS, Array, BodyParams, World

# A foot that does not move across the view stands: it is to keep its distance, too. Against the
# samples' truth and the balance clips' feet skate 0.65 to 0.75 times as fast, and the pelvis's
# velocity errs less, too (docs/measurements.md); results change little with these numbers.
STANDING_M_S = 0.6  # across the view: a foot that is faster does not stand, a slower one may
WANDERING_M_S = 1.4  # the same along it, where the evidence's error adds to its speed
FOOT_M_S = 0.17  # how fast each of a standing foot's points may come nearer or go away
DEPTH_SHARE = 0.02  # of its distance: how far the pelvis may be moved along the view
MOST_DEPTH_M = 1.0  # at most: an absurd --focal may put a person 10 km away
DEPTH_M_S2 = 1.0  # how steadily
HOLDING_ROUNDS = 3  # of finding out which feet stand
FEET = [JOINT[f"{s}_{part}"] for s in ("left", "right") for part in ("ankle", "foot", "big_toe")]

# The points that touch the ground, on the body's surface, and their height when it stands on it
CONTACT_POINTS = [
    BLAZEPOSE.index[f"{side}_{part}"]
    for side in ("left", "right")
    for part in ("heel", "foot_index")
]
# Logit of contact: 1, log of the speed along the ground and off it (m/s, + SLOWEST_M_S), height
# above the lowest of the four points and above the floor (m). Logistic regression on 78 rendered
# takes as the engine sees them (tools.people, seed 2), up and floor known; F1 0.64 there.
CONTACT_WEIGHTS = np.array([-0.86, -0.91, -0.36, -11.9, -4.3])
SLOWEST_M_S = 0.05
HIGHEST_M = 0.4  # what is higher is as little in contact


def contact_points(body: Body, params: BodyParams) -> Array:
    """Heel and ball, left and right, (T, 4, 3) m, float64, in the parameters' axes."""
    return body.landmarks_of(params)[:, CONTACT_POINTS].astype(np.float64)


def standing_heights(body: Body) -> Array:
    """Height (4,) m of the contact points above the soles of the body in its rest pose."""
    rest = BodyParams(
        rotmats=np.tile(np.eye(3, dtype=np.float32), (1, N_ROTATIONS, 1, 1)),
        betas=np.zeros(N_BETAS, np.float32),
        transl=np.zeros((1, 3), np.float32),
    )
    sole = float(body.vertices_of(rest)[..., 1].min())
    return contact_points(body, rest)[0, :, 1] - sole


def feet_over_ground(params: BodyParams, world: World, frame_index: Array, body: Body) -> Array:
    """Heels and balls (T, 4, 3) m in the world, lowered by what they are above the soles.

    frame_index: (T,) frames of the clip.
    """
    points = to_world(contact_points(body, params), world, frame_index)
    points[..., 1] -= standing_heights(body)
    return points


def contacts(points: Array, floor: float, pts_s: Array) -> Array:
    """Probabilities (T, 4) float32 that the contact points touch the ground.

    points: (T, 4, 3) m in the world's axes, y up, less `standing_heights`; floor: its height, m;
    pts_s: (T,) s.
    """
    velocity = np.zeros_like(points)
    if len(points) > 1:
        velocity = np.gradient(points, spaced_times(pts_s), axis=0)
    height = points[..., 1]
    parts = [
        np.ones_like(height),
        np.log(np.linalg.norm(velocity[..., [0, 2]], axis=-1) + SLOWEST_M_S),
        np.log(np.abs(velocity[..., 1]) + SLOWEST_M_S),
        (height - height.min(1, keepdims=True)).clip(0, HIGHEST_M),
        (height - floor).clip(-HIGHEST_M / 4, HIGHEST_M),
    ]
    logit = np.stack(parts, -1) @ CONTACT_WEIGHTS
    return (1 / (1 + np.exp(-logit))).astype(np.float32)


def hold_feet(joints: Array, pts_s: Array) -> Array:
    """How far to move each frame's body so that standing feet stay where they are, (T, 3) m.

    joints: (T, 29, 3) m, camera coordinates; pts_s: (T,) s. Along the pelvis's ray, by the s that
    minimises the time integral of still ((v + s') / FOOT_M_S)^2 over the feet, v being a foot's
    speed along the view, + (s / (DEPTH_SHARE z))^2 + (s'' / DEPTH_M_S2)^2; DEPTH_SHARE z stops at
    MOST_DEPTH_M. Across the view a body is where it is seen; along it, pelvis and legs wander.
    Under a camera that moves, no foot stands still across the view, and nothing is held.
    """
    total = len(joints)
    if total < 4:
        return np.zeros((total, 3), np.float32)
    pts_s = spaced_times(pts_s)
    step = np.diff(pts_s)
    pelvis = joints[:, 0].astype(np.float64)
    ray = pelvis / pelvis[:, 2:]
    along, across = _foot_speeds(joints[:, FEET].astype(np.float64), step)
    rate = np.stack([-1 / step, 1 / step], -1) * np.linalg.norm(ray[1:], axis=-1, keepdims=True)
    calm = _calm(pelvis[:, 2], pts_s)
    moved = np.zeros(total)
    for _ in range(HOLDING_ROUNDS):
        left = along + (rate * np.stack([moved[:-1], moved[1:]], -1)).sum(-1, keepdims=True)
        still = _biweight(across / STANDING_M_S) * _biweight(left / WANDERING_M_S)
        weight = still * step[:, None] / FOOT_M_S**2
        bands, moment = calm.copy(), np.zeros(total)
        add_squares(bands, rate, weight.sum(1))
        pull = -(weight * along).sum(1)[:, None] * rate
        moment[:-1] += pull[:, 0]
        moment[1:] += pull[:, 1]
        moved = solveh_banded(bands, moment)
    return (moved[:, None] * ray).astype(np.float32)


def _foot_speeds(feet: Array, step: Array) -> tuple[Array, Array]:
    """Of feet (T, 6, 3) m, `step` (T - 1,) s apart: along the view and across it, (T - 1, 6) m/s.

    Along it, away is positive; across it, the speed has no sign.
    """
    view = (feet[1:] + feet[:-1]) / np.linalg.norm(feet[1:] + feet[:-1], axis=-1, keepdims=True)
    speed = np.diff(feet, axis=0) / step[:, None, None]
    along = (speed * view).sum(-1)
    return along, np.linalg.norm(speed - along[..., None] * view, axis=-1)


def _calm(depth: Array, pts_s: Array) -> Array:
    """The bands (3, T) of `hold_feet`'s cost of moving a pelvis at `depth` (T,) m at all."""
    bands = np.zeros((3, len(depth)))
    bands[-1] += np.gradient(pts_s) / np.minimum(DEPTH_SHARE * depth, MOST_DEPTH_M) ** 2
    add_bends(bands, pts_s, DEPTH_M_S2)
    return bands


def add_bends(bands: Array, pts_s: Array, size: float) -> None:
    """Add the time integral of (second derivative / size)^2 to bands (3, T); pts_s: (T,) s."""
    step = np.diff(pts_s)
    bend = 1 / (step[1:] * step[:-1] * (step[1:] + step[:-1]) / 2)
    bends = np.stack([step[1:], -step[1:] - step[:-1], step[:-1]], -1) * bend[:, None]
    add_squares(bands, bends, (step[1:] + step[:-1]) / 2 / size**2)


def _biweight(size: Array) -> Array:
    """Tukey's weight: 1 at 0, nothing from 1 on."""
    return np.clip(1 - size**2, 0, None) ** 2
