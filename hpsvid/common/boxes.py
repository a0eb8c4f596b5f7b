"""Boxes x0 y0 x1 y1 in px: areas, overlap, and which of several overlapping ones to keep."""

import numpy as np

from hpsvid.types import Array

MAX_OVERLAP = 0.6  # IoU from which the weaker of two boxes is a duplicate; NanoDet's own setting


def areas(boxes: Array) -> Array:
    """Areas (B,) of boxes (B, 4)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def shared_areas(boxes: Array, others: Array) -> Array:
    """Areas (A, B) that boxes (A, 4) share with boxes (B, 4)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (high - low).clip(0).prod(axis=-1)


def iou(boxes: Array, others: Array) -> Array:
    """Intersection over union (A, B) of boxes (A, 4) with boxes (B, 4); 0 for empty boxes."""
    shared = shared_areas(boxes, others)
    return shared / np.maximum(areas(boxes)[:, None] + areas(others) - shared, 1e-6)


def resized(boxes: Array, size: float) -> Array:
    """Boxes (D, 4) of `size` times the width and height about the same middles."""
    middle = np.tile((boxes[:, :2] + boxes[:, 2:]) / 2, 2)
    return middle + size * (boxes - middle)


def suppress(boxes: Array, scores: Array, max_iou: float = MAX_OVERLAP) -> Array:
    """Non-maximum suppression: indices of the boxes to keep, strongest first.

    boxes: (D, 4) px; scores: (D,). A box goes when a stronger kept one has an IoU with it above
    `max_iou`; of equal scores the earlier is the stronger.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        strongest, order = order[0], order[1:]
        kept.append(strongest)
        order = order[iou(boxes[strongest][None], boxes[order])[0] <= max_iou]
    return np.array(kept, np.int64)
