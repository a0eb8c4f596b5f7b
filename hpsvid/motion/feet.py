"""Feet: where heels and balls are, and when they touch the ground."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from hpsvid.body.model import Body
from hpsvid.body.skeleton import BLAZEPOSE
from hpsvid.body.world import to_world
from hpsvid.common.series import spaced_times
from hpsvid.types import N_BETAS, N_ROTATIONS, Array, BodyParams, World

# The points that touch the ground, on the body's surface, and their height when it stands on it
CONTACT_POINTS = [
    BLAZEPOSE.index[f"{side}_{part}"]
    for side in ("left", "right")
    for part in ("heel", "foot_index")
]
# Logit of contact by `contact_features`: a logistic regression on rendered training pairs
# (tools.people.contacts), moved to where an even chance, said to touch, makes F1 best.
CONTACT_WEIGHTS = np.array([-3.12, -0.14, -0.24, -0.52, -0.23, -11.27, -0.22, 1.91])
SLOWEST_M_S = 0.05  # a speed's logarithm is that of the speed and this
SMOOTH_S = (0.03, 0.1, 0.2)  # standard deviations of what speeds are smoothed with
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


def contact_features(points: Array, pelvis: Array, camera: Array, pts_s: Array) -> Array:
    """What tells contact, (T, 4, 8), of the points that `contacts` has.

    1, log of the speed across the view, smoothed over each of SMOOTH_S, and along it (smoothed
    most: there is more noise), height above the lowest point, log of the pelvis's speed, its height
    above the lowest point.
    """
    times = spaced_times(pts_s)
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    view = points - np.broadcast_to(camera, (len(points), 3))[:, None]
    view = view / np.linalg.norm(view, axis=-1, keepdims=True).clip(1e-9)
    across, along = [], np.zeros(points.shape[:2])
    for smooth_s in SMOOTH_S:
        velocity = _velocity(points, times, smooth_s / step)
        along = (velocity * view).sum(-1)
        across.append(np.linalg.norm(velocity - along[..., None] * view, axis=-1))
    lowest = points[..., 1].min(1, keepdims=True)
    speed = np.linalg.norm(_velocity(pelvis, times, SMOOTH_S[1] / step), axis=-1)[:, None]
    parts = [
        np.ones_like(along),
        *(np.log(size + SLOWEST_M_S) for size in (*across, np.abs(along))),
        (points[..., 1] - lowest).clip(0, HIGHEST_M),
        np.log(speed + SLOWEST_M_S) + np.zeros_like(along),
        pelvis[:, 1:2] - lowest + np.zeros_like(along),
    ]
    return np.stack(parts, -1)


def contacts(points: Array, pelvis: Array, camera: Array, pts_s: Array) -> Array:
    """Probabilities (T, 4) float32 that the contact points touch the ground.

    points: (T, 4, 3) m in the world's axes, y up, less `standing_heights`; pelvis: (T, 3) m;
    camera: (T, 3) or (3,) m, where it is; pts_s: (T,) s.
    """
    logit = contact_features(points, pelvis, camera, pts_s) @ CONTACT_WEIGHTS
    return (1 / (1 + np.exp(-logit))).astype(np.float32)


def _velocity(points: Array, times: Array, smooth: float) -> Array:
    """Velocities (T, ..., 3) m/s of points smoothed over `smooth` frames."""
    if len(points) < 2:
        return np.zeros_like(points)
    smoothed = gaussian_filter1d(points, smooth, axis=0, mode="nearest")
    return np.gradient(smoothed, times, axis=0)
