"""Boxes x0 y0 x1 y1 in px: areas, overlap, and which of several overlapping ones to keep."""

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


def box_overlap(one: Array, many: Array) -> Array:
    """Intersection over union of a box (4,) with boxes (B, 4) -> (B,)."""
    (shared,) = shared_areas(one[None], many)
    return shared / np.maximum(areas(many) + areas(one[None]) - shared, 1e-6)


MAX_OVERLAP = 0.6  # IoU from which the weaker of two boxes is a duplicate; NanoDet's own setting


def suppress(boxes: Array, scores: Array) -> Array:
    """Indices of the boxes that are no duplicate of a stronger one, strongest first.

    boxes: (D, 4) px; scores: (D,).
    """
    order = np.argsort(-scores, kind="stable")
    area, shared = areas(boxes[order]), shared_areas(boxes[order], boxes[order])
    duplicate = shared > MAX_OVERLAP * (area[:, None] + area - shared)
    alive = np.ones(len(order), bool)
    for k in range(len(order)):
        if alive[k]:
            alive[k + 1 :] &= ~duplicate[k, k + 1 :]
    return order[alive]
