"""Rotations as three angles that go on smoothly from frame to frame."""

import numpy as np

from hpsvid.types import Array

# below this cosine of the middle angle the outer two cannot be told apart in float32 matrices
_GIMBAL_COSINE = 1e-5


def euler_zxy(rotmats: Array) -> Array:
    """Angles (T, ..., 3) z, x, y in radians with R = Rz Rx Ry, continuous over time.

    rotmats: (T, ..., 3, 3). Of the two sets of angles that give one rotation, and of all their
    full turns, each frame takes the nearest to the frame before. Where x is a right angle only
    a sum of z and y is determined: z is held there, and y takes up the rest.
    """
    r = rotmats
    sin_z, cos_z = -r[..., 0, 1], r[..., 1, 1]  # times cos x
    known = np.hypot(sin_z, cos_z) > _GIMBAL_COSINE
    z = np.arctan2(sin_z, cos_z)
    frame = np.arange(len(r)).reshape(-1, *[1] * (z.ndim - 1))
    last_known = np.maximum.accumulate(np.where(known, frame, -1), axis=0)
    held = np.take_along_axis(z, last_known.clip(0), axis=0)
    z = np.where(last_known >= 0, held, 0.0)
    # x and y from Rz^-1 R = Rx Ry, so that they make up for whatever z is
    sin_z, cos_z = np.sin(z), np.cos(z)
    x = np.arctan2(r[..., 2, 1], cos_z * r[..., 1, 1] - sin_z * r[..., 0, 1])
    y = np.arctan2(
        cos_z * r[..., 0, 2] + sin_z * r[..., 1, 2], cos_z * r[..., 0, 0] + sin_z * r[..., 1, 0]
    )
    angles = np.stack([z, x, y], -1)
    other = np.stack([z + np.pi, np.pi - x, y + np.pi], -1)  # the same rotation

    # going on is as far between two frames of the one set as between two of the other, and so
    # is changing over: whether a frame changes over does not depend on the set we are in
    going_on = _turn(angles[1:] - angles[:-1])
    changing = _turn(other[1:] - angles[:-1])
    switches = np.cumsum(changing < going_on, axis=0) % 2 == 1
    angles[1:] = np.where(switches[..., None], other[1:], angles[1:])
    return np.unwrap(angles, axis=0)


def _turn(difference: Array) -> Array:
    """How far (...) three angles' differences (..., 3) go, full turns left out."""
    return np.abs(np.remainder(difference + np.pi, 2 * np.pi) - np.pi).sum(-1)
