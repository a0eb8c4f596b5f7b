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
# Logit of contact: 1, log of the speed across the view (m/s, + SLOWEST_M_S; along it there is more
# noise), height above the lowest of the four points (m), smoothed over SMOOTH_S. Logistic
# regression on 19 rendered takes whose poses are found well (tools.tables.world, seeds 0-32), with
# up as found; then half a unit higher, which maximises F1: 0.64 there, 0.58 on all.
CONTACT_WEIGHTS = np.array([-0.25, -0.72, -16.0])
SLOWEST_M_S = 0.05
SMOOTH_S = 0.05
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


def contacts(points: Array, camera: Array, pts_s: Array) -> Array:
    """Probabilities (T, 4) float32 that the contact points touch the ground.

    points: (T, 4, 3) m in the world's axes, y up, less `standing_heights`; camera: (T, 3) or (3,)
    m, where it is; pts_s: (T,) s.
    """
    velocity, times = np.zeros_like(points), spaced_times(pts_s)
    if len(points) > 1:
        velocity = np.gradient(points, times, axis=0)
    view = points - np.broadcast_to(camera, (len(points), 3))[:, None]
    view = view / np.linalg.norm(view, axis=-1, keepdims=True).clip(1e-9)
    across = velocity - (velocity * view).sum(-1, keepdims=True) * view
    height = points[..., 1]
    parts = [
        np.ones_like(height),
        np.log(np.linalg.norm(across, axis=-1) + SLOWEST_M_S),
        (height - height.min(1, keepdims=True)).clip(0, HIGHEST_M),
    ]
    logit = np.stack(parts, -1) @ CONTACT_WEIGHTS
    if len(points) > 1:
        reach = SMOOTH_S / float(np.median(np.diff(times)))
        logit = gaussian_filter1d(logit, reach, axis=0, mode="nearest")
    return (1 / (1 + np.exp(-logit))).astype(np.float32)
