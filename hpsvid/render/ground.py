"""The ground's grid: a line each metre, those through the origin in colour (x red, z blue)."""

import cv2
import numpy as np

from hpsvid.common.geometry import image_of
from hpsvid.render.lenses import Lens, pelvis_ways
from hpsvid.types import Array, Motion

ROOM_M = 2.0  # of grid around the ways of the people
MOST_M = 60  # of it each way: people may go far, or be far off
NEAR_M = 0.1  # of the camera, where lines are cut
LINE, DARK = (235, 235, 235), (20, 20, 20)
AXES = ((225, 60, 50), (60, 110, 235))  # along x, along z
OPACITY, EDGE_OPACITY = 0.8, 0.35
_SHIFT = 4  # cv2 draws in sixteenths of a pixel
_LARGEST_PX = 1e7


def ground_lines(motion: Motion) -> tuple[Array, Array]:
    """Lines (N, 2, 3) m of the world, y up, about where people are, and their colours (N, 3)."""
    ways = pelvis_ways(motion)[:, [0, 2]]
    low, high = np.floor(ways.min(0) - ROOM_M), np.ceil(ways.max(0) + ROOM_M)
    middle = np.round((low + high) / 2)
    low, high = np.maximum(low, middle - MOST_M / 2), np.minimum(high, middle + MOST_M / 2)
    lines, colours = [], []
    for along in (0, 1):  # x, z
        across = 1 - along
        for at in np.arange(low[across], high[across] + 1):
            ends = np.zeros((2, 3))
            ends[:, 2 * along], ends[:, 2 * across] = (low[along], high[along]), at
            lines.append(ends)
            colours.append(AXES[along] if at == 0 else LINE)
    order = np.argsort([colour != LINE for colour in colours], kind="stable")  # axes last: on top
    return np.stack(lines)[order], np.array(colours, np.float32)[order]


def gridded(rgb: Array, grid: tuple[Array, Array], lens: Lens, cover: Array) -> Array:
    """A new picture (H, W, 3) uint8: `rgb` with the grid, where nothing covers it.

    grid: of `ground_lines`; cover: (H, W) in [0, 1].
    """
    ends, kept = _before(lens.sees(grid[0].reshape(-1, 3)).reshape(-1, 2, 3))
    places = image_of(ends.reshape(-1, 3), lens.K).reshape(-1, 2, 2) - 0.5  # cv2: of middles
    whole = np.round(places.clip(-_LARGEST_PX, _LARGEST_PX) * (1 << _SHIFT)).astype(int).tolist()
    width, open_to = max(1, round(len(rgb) / 540)), 1 - cover[..., None]
    below = (np.broadcast_to(DARK, (len(whole), 3)), 3 * width, EDGE_OPACITY)
    for colours, thick, opacity in (below, (grid[1][kept], width, OPACITY)):
        drawn = rgb.copy()
        for (start, end), colour in zip(whole, colours.tolist(), strict=True):
            cv2.line(drawn, start, end, colour, thick, cv2.LINE_AA, _SHIFT)
        share = opacity * open_to
        rgb = np.round(rgb * (1 - share) + drawn * share).astype(np.uint8)
    return rgb


def _before(ends: Array) -> tuple[Array, Array]:
    """Lines (N, 2, 3) cut where they come too near to the camera, and which are left (M,)."""
    depth = ends[..., 2]
    kept = np.flatnonzero((depth > NEAR_M).any(1))
    ends, depth = ends[kept].astype(np.float64), depth[kept].astype(np.float64)
    for one, other in ((0, 1), (1, 0)):
        behind = depth[:, one] <= NEAR_M
        share = (NEAR_M - depth[behind, one]) / (depth[behind, other] - depth[behind, one])
        ends[behind, one] += share[:, None] * (ends[behind, other] - ends[behind, one])
    return ends, kept
