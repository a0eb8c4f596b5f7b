"""The shade that bodies cast on the ground right below them, as under an overcast sky."""

from collections.abc import Sequence

import cv2
import numpy as np

from hpsvid.render.lenses import Lens
from hpsvid.types import Array

CELL_M = 0.02
REACH_M = 1.6  # of the ground about a body, each way: a body that lies and stretches
LOW_M = 0.5  # what is higher casts none
FADE_M = 0.12  # height at which the shade is a third of that at the ground
BLUR_M = 0.05
DARK = 0.6  # share of the light that a body at the ground takes


def shaded(rgb: Array, bodies: Sequence[Array], lens: Lens) -> Array:
    """A new picture (H, W, 3) uint8: `rgb` with the shade of bodies (V, 3) m of the world.

    The ground is at y = 0. The map of a body's shade moves in whole cells, so that a still body's
    shade is still.
    """
    height, width = rgb.shape[:2]
    dark = np.zeros((height, width), np.float32)
    for body in bodies:
        shade, corner = _map(body)
        cells = np.array([[CELL_M, 0, CELL_M / 2], [0, 0, 0], [0, CELL_M, CELL_M / 2]])
        cells[:, 2] += corner
        onto = lens.R @ cells
        onto[:, 2] += lens.t
        half_px = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])  # OpenCV counts from middles
        seen = cv2.warpPerspective(shade, half_px @ lens.K @ onto, (width, height))
        dark = np.maximum(dark, seen)
    return np.round(rgb * (1 - DARK * dark[..., None])).astype(np.uint8)


def _map(body: Array) -> tuple[Array, Array]:
    """Shade (N, N) float32 in [0, 1] of the cells about a body, z by x, and their corner (3,) m."""
    cells = round(2 * REACH_M / CELL_M)
    middle = np.round(body.mean(0) / CELL_M) * CELL_M
    corner = np.array([middle[0] - REACH_M, 0.0, middle[2] - REACH_M])
    low = body[body[:, 1] < LOW_M]
    at = np.floor((low[:, [2, 0]] - corner[[2, 0]]) / CELL_M).astype(int)
    inside = ((at >= 0) & (at < cells)).all(1)
    shade = np.zeros((cells, cells), np.float32)
    weight = np.exp(-np.maximum(low[inside, 1], 0) / FADE_M).astype(np.float32)
    np.maximum.at(shade, (at[inside, 0], at[inside, 1]), weight)
    whole = cv2.dilate(shade, np.ones((5, 5), np.uint8))  # vertices lie up to 5 cells apart
    return cv2.GaussianBlur(whole, (0, 0), BLUR_M / CELL_M), corner
