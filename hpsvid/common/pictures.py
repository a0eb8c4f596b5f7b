"""Pictures at other sizes."""

import cv2

from hpsvid.types import Array


def resampled(picture: Array, width: int, height: int) -> Array:
    """A picture (H, W[, C]) uint8 at width x height px, averaged over areas where it shrinks.

    It is halved first as long as it is twice as large, which OpenCV is quick at: 1280x720 to
    416x234 px takes 3 ms in place of 7.
    """
    while picture.shape[0] >= 2 * height and picture.shape[1] >= 2 * width:
        half = -(-picture.shape[1] // 2), -(-picture.shape[0] // 2)
        picture = cv2.resize(picture, half, interpolation=cv2.INTER_AREA)
    shrinks = height < picture.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(picture, (width, height), interpolation=how)
