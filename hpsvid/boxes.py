"""Areas of boxes x0 y0 x1 y1 in px, and what they share."""

import numpy as np

from hpsvid.types import Array


def areas(boxes: Array) -> Array:
    """Areas (B,) of boxes (B, 4)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def shared_areas(one: Array, other: Array) -> Array:
    """Areas (A, B) that boxes (A, 4) share with boxes (B, 4)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    return (high - low).clip(0).prod(axis=-1)
