"""Feet: where heels and balls are, and when they touch the ground."""

import numpy as np

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
