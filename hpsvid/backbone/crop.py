"""Square, turned pieces of a picture, and the way from their pixels to the picture's and back.

Coordinates count from the top-left corner of the top-left pixel, in the picture and in the crop.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from hpsvid.types import Array

SIDE = 256  # px, what the landmark network reads
EDGE = 0.03  # of a box's longer side, within which it touches the picture's edge
BEYOND = (1.0, 1.6, 2.5, 4.0)  # a body's size over that of its part inside the picture
MARGIN = 1.25  # crop side over the person's size; MediaPipe's pose_landmarks_to_roi


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A square of the picture; its up direction leans `angle` to the right of the picture's."""

    x: float  # px, centre
    y: float
    side: float  # px of the picture
    angle: float  # rad, clockwise as seen

    def matrix(self) -> Array:
        """The affine map (2, 3) from crop pixels to picture pixels."""
        scale = self.side / SIDE
        cos, sin = math.cos(self.angle) * scale, math.sin(self.angle) * scale
        half = SIDE / 2
        return np.array(
            [
                [cos, -sin, self.x - half * (cos - sin)],
                [sin, cos, self.y - half * (sin + cos)],
            ]
        )

    def to_image(self, points: Array) -> Array:
        """Crop pixels (..., 2) -> picture pixels (..., 2)."""
        matrix = self.matrix()
        return points @ matrix[:, :2].T + matrix[:, 2]

    def from_image(self, points: Array) -> Array:
        """Picture pixels (..., 2) -> crop pixels (..., 2)."""
        matrix = self.matrix()
        return (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T

    def turn_back(self, points: Array) -> Array:
        """Turn points (..., 3) from the crop's upright axes into the picture's."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return points @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]).T

    def cut(self, rgb: Array) -> Array:
        """The crop's pixels (256, 256, 3) uint8; black outside the picture.

        A piece much larger than the crop is averaged over whole blocks of pixels first: sampled
        without that, fine texture makes the landmarks jitter.
        """
        matrix = self.matrix()
        block = int(self.side // SIDE)
        if block > 1:
            reach = self.side / math.sqrt(2)
            height, width = rgb.shape[:2]
            x0, y0 = max(0, int(self.x - reach)), max(0, int(self.y - reach))
            cols = (min(width, math.ceil(self.x + reach)) - x0) // block
            rows = (min(height, math.ceil(self.y + reach)) - y0) // block
            if min(rows, cols) > 0:
                part = rgb[y0 : y0 + rows * block, x0 : x0 + cols * block]
                rgb = cv2.resize(part, (cols, rows), interpolation=cv2.INTER_AREA)
                matrix[:, 2] -= (x0, y0)
                matrix /= block
        matrix[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5  # cv2 counts from pixel centres
        return cv2.warpAffine(
            rgb,
            matrix,
            (SIDE, SIDE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
        )


def crop_around_box(box: Array, turns: int = 0) -> Crop:
    """A crop that holds a box (4,) x0 y0 x1 y1 px with a margin.

    turns: quarter turns clockwise of the body in the box; 0 for an upright crop.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    side = max(x1 - x0, y1 - y0, 2.0) * MARGIN
    return Crop(x=(x0 + x1) / 2, y=(y0 + y1) / 2, side=side, angle=turns * math.pi / 2)


def crops_of_box(box: Array, turns: int, width: int, height: int) -> list[Crop]:
    """The crops in which the person of a box (4,) px may be whole.

    A box at an edge of the picture (width, height px) holds part of a body, nobody knows how
    much; the further crops reach beyond that edge.
    """
    slack = EDGE * max(box[2] - box[0], box[3] - box[1])
    at_edge = np.concatenate([box[:2] <= slack, box[2:] >= np.array([width, height]) - slack])
    if not at_edge.any():
        return [crop_around_box(box, turns)]
    outwards = at_edge * np.concatenate([box[:2] - box[2:], box[2:] - box[:2]])
    return [crop_around_box(box + (factor - 1) * outwards, turns) for factor in BEYOND]


def crop_along_axis(hips: Array, rim: Array) -> Crop:
    """The crop about the middle of the hips (2,) px that turns the body upright.

    rim: (2,) px, a point straight up the body on the circle that encloses it; both are the
    network's own auxiliary landmarks (BlazePose, Bazarevsky et al., 2020, Sec. 2.2).
    """
    along = np.asarray(rim, np.float64) - hips
    angle = math.atan2(along[0], -along[1])
    side = max(2 * MARGIN * float(np.hypot(along[0], along[1])), 2.0)
    return Crop(x=float(hips[0]), y=float(hips[1]), side=side, angle=angle)
