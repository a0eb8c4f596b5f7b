"""Take the people who were seen already out of a crop, so that the network sees who is left.

The landmark network knows one person a crop and answers with the plainest. A person half hidden by
another, or embraced, is seen once the other is painted over.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from hpsvid.backbone.crop import SIDE, Crop
from hpsvid.body.skeleton import LANDMARK
from hpsvid.types import Array

LIMB_WIDTH = 0.35  # of the trunk's length, painted along limbs
HEAD_SIZE = 0.3  # radius about the middle of the ears
_LIMBS = [
    (f"{side}_{start}", f"{side}_{end}")
    for side in ("left", "right")
    for start, end in (
        ("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"),
        ("ankle", "foot_index"),
    )
]  # fmt: skip
_TRUNK = [LANDMARK[name] for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]
_EARS = [LANDMARK["left_ear"], LANDMARK["right_ear"]]


def painted_over(crop: Crop, people: Sequence[Array]) -> Array:
    """Which pixels of a crop (256, 256) bool people cover, roughly.

    people: landmarks (33, 2) px of the picture.
    """
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for landmarks in people:
        points = crop.from_image(landmarks).clip(-SIDE, 2 * SIDE)
        trunk = points[_TRUNK]
        length = float(np.linalg.norm(trunk[:2].mean(0) - trunk[2:].mean(0)))
        width = int(np.clip(LIMB_WIDTH * length, 1, SIDE / 4))
        corners = trunk.astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(corners), 1)
        cv2.polylines(mask, [corners], True, 1, width)
        for limb in _LIMBS:
            start, end = (points[LANDMARK[name]].astype(int).tolist() for name in limb)
            cv2.line(mask, start, end, 1, width)
        head = points[_EARS].mean(0).astype(int).tolist()
        cv2.circle(mask, head, int(max(HEAD_SIZE * length, 1)), 1, -1)
    return mask > 0


def cut_without(rgb: Array, crop: Crop, people: Sequence[Array]) -> Array:
    """The crop's pixels (256, 256, 3) uint8 of a picture; people get the crop's mean colour."""
    pixels = crop.cut(rgb)
    if people:
        pixels[painted_over(crop, people)] = pixels.reshape(-1, 3).mean(0)
    return pixels


def guesses(points: Array, crop: Crop, people: Sequence[Array]) -> Array:
    """Which points (N, 2) px of the picture lie where `cut_without` painted, (N,) bool."""
    columns, rows = crop.from_image(points).clip(0, SIDE - 1).astype(int).T
    return painted_over(crop, people)[rows, columns]
