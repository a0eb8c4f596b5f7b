"""Which way is up, from the lines of the scene: upright edges all hold it.

What people say is the prior; over a grid of directions about it each segment adds the odds that it
is upright, so that lines which agree on nothing, or on two directions, say little.
"""

import numpy as np

from hpsvid.motion.upright import tangents
from hpsvid.types import Array
from hpsvid.video.lines import SceneLines

# Chosen on rendered takes (tools.tables.world, seeds 0-12), so that the deviation says the error.
UPRIGHT = 0.25  # of the segments are upright edges
EDGE_DEG = 1.0  # by which an upright edge is off, and
END_PX = 0.7  # an end of it
WHOLE_PX = 40.0  # a segment of this length has all its weight
WEIGHT = 0.3  # of a segment: edges of one thing repeat each other, and
PICTURES = 4  # more pictures than these do no more than show the same again
REACH = 4.0  # standard deviations of the prior within which up is looked for, but
MOST_DEG = 40.0  # no further off
FREEDOM = 4.0  # of Student's t that the prior is: people lean, and all the same way
COARSE_DEG = 1.25
STEPS = 24  # of the finer grid


def with_lines(up: Array, information: Array, lines: SceneLines) -> tuple[Array, Array]:
    """Up (3,) and its information (2, 2), 1/rad^2, along `tangents(up)`, told by the lines, too."""
    if not len(lines.frame):
        return up, information
    step = np.deg2rad(COARSE_DEG)
    half = min(REACH / float(np.sqrt(np.linalg.eigvalsh(information)[0])), np.deg2rad(MOST_DEG))
    mean, cov = _posterior(up, information, lines, (np.zeros(2), half, step))
    size = float(np.sqrt(np.trace(cov)))
    if size < 4 * step:  # the grid is too coarse for it
        half = max(REACH * size, 2 * step)
        mean, cov = _posterior(up, information, lines, (mean, half, 2 * half / STEPS))
    found = up + mean @ tangents(up)
    found /= np.linalg.norm(found)
    across = tangents(found) @ tangents(up).T  # about the unit matrix
    return found, np.linalg.inv(across @ cov @ across.T + 1e-8 * np.eye(2))


def _posterior(
    up: Array, information: Array, lines: SceneLines, grid: tuple[Array, float, float]
) -> tuple[Array, Array]:
    """Mean (2,) and covariance (2, 2) rad of how far up is off, along `tangents(up)`.

    grid: its middle (2,), half its side and its step, rad.
    """
    middle, half, step = grid
    count = max(3, round(2 * half / step) + 1)
    line = np.linspace(-half, half, count)
    off = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2) + middle
    far = np.einsum("ni,ij,nj->n", off, information, off)
    near = far <= max(REACH**2, far.min())
    off, far = off[near], far[near]
    directions = up + off @ tangents(up)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    log = _agreement(directions, lines) - (FREEDOM + 2) / 2 * np.log1p(far / FREEDOM)
    chance = np.exp(log - log.max())
    chance /= chance.sum()
    mean = chance @ off
    return mean, (off - mean).T @ ((off - mean) * chance[:, None]) + np.eye(2) * step**2 / 12


def _agreement(directions: Array, lines: SceneLines) -> Array:
    """Log-likelihood (N,) of the segments where up is one of these directions (N, 3)."""
    sine = np.abs(directions @ lines.normals.T)
    across = np.sqrt(np.clip(1 - (directions @ lines.middles.T) ** 2, 2.5e-3, None))
    angle = np.rad2deg(np.arcsin(np.clip(sine / across, 0, 1)))  # in the picture
    sigma = np.hypot(EDGE_DEG, np.rad2deg(END_PX / lines.length_px))
    inlier = 2 * np.exp(-((angle / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi))
    weight = np.minimum(1, lines.length_px / WHOLE_PX) * WEIGHT
    weight *= min(1, PICTURES / len(np.unique(lines.frame)))
    return np.log((1 - UPRIGHT) / 90 + UPRIGHT * inlier) @ weight
