"""Which way is up, from lines of the scene: upright edges lie along it, level ones across it.

What people say is the prior; over a grid of directions about it each segment adds the odds that it
is upright or along one of two level directions at a right angle (Coughlan and Yuille, "Manhattan
World", ICCV 1999), whichever way these lie. So upright edges and the horizon of the level ones have
to agree, and lines that agree on nothing, or on several directions, say little.
"""

from dataclasses import dataclass

import numpy as np

from hpsvid.motion.upright import tangents
from hpsvid.types import Array
from hpsvid.video.lines import SceneLines

# Chosen on rendered takes (tools.tables.world, seeds 0-26), so that the deviation says the error.
UPRIGHT, LEVEL = 0.15, 0.18  # of the segments are upright edges, are along each level direction
EDGE_DEG = 0.7  # by which such an edge is off, and
END_PX = 0.7  # an end of it
LONGEST = 150  # segments that are looked at
WHOLE_PX = 40.0  # a segment of this length has all its weight
WEIGHT = 0.3  # of a segment: edges of one thing repeat each other, and
PICTURES = 4  # more pictures than these do no more than show the same again
REACH = 4.0  # standard deviations of the prior within which up is looked for, but
MOST_DEG = 40.0  # no further off
FREEDOM = 4.0  # of Student's t that the prior is: people lean, and all the same way
COARSE_DEG, STEPS = 2.5, 16  # of the first grid, and how many the finer one has
YAW_DEG = 3.0  # between the level directions that are tried


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Edges:
    """The segments in use; see `SceneLines`."""

    normals: Array  # (S, 3)
    middles: Array  # (S, 3)
    sigma_deg: Array  # (S,)
    weight: Array  # (S,)

    def density(self, directions: Array, blur_deg: float) -> Array:
        """Of each segment (N, S) per degree that it is an edge along these directions (N, 3)."""
        sine = np.abs(directions @ self.normals.T)
        across = np.sqrt(np.clip(1 - (directions @ self.middles.T) ** 2, 2.5e-3, None))
        angle = np.rad2deg(np.arcsin(np.clip(sine / across, 0, 1)))  # in the picture
        sigma = np.hypot(self.sigma_deg, blur_deg)
        return 2 * np.exp(-((angle / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi))


def with_lines(up: Array, information: Array, lines: SceneLines) -> tuple[Array, Array]:
    """Up (3,) and its information (2, 2), 1/rad^2, along `tangents(up)`, told by the lines, too."""
    if not len(lines.frame):
        return up, information
    edges = _edges(lines)
    step = np.deg2rad(COARSE_DEG)
    half = min(REACH / float(np.sqrt(np.linalg.eigvalsh(information)[0])), np.deg2rad(MOST_DEG))
    mean, cov = _posterior(up, information, edges, (np.zeros(2), half, step))
    size = float(np.sqrt(np.trace(cov)))
    if size < 4 * step:  # the grid is too coarse for it
        half = max(REACH * size, 2 * step)
        mean, cov = _posterior(up, information, edges, (mean, half, 2 * half / STEPS))
    found = up + mean @ tangents(up)
    found /= np.linalg.norm(found)
    across = tangents(found) @ tangents(up).T  # about the unit matrix
    return found, np.linalg.inv(across @ cov @ across.T + 1e-8 * np.eye(2))


def _edges(lines: SceneLines) -> _Edges:
    """The longest segments, and how much each says."""
    kept = np.argsort(-lines.length_px, kind="stable")[:LONGEST]
    length = lines.length_px[kept]
    weight = np.minimum(1, length / WHOLE_PX) * WEIGHT
    weight *= min(1, PICTURES / len(np.unique(lines.frame)))
    return _Edges(
        normals=lines.normals[kept], middles=lines.middles[kept], weight=weight,
        sigma_deg=np.hypot(EDGE_DEG, np.rad2deg(END_PX / length)),
    )  # fmt: skip


def _posterior(
    up: Array, information: Array, edges: _Edges, grid: tuple[Array, float, float]
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
    log = _agreement(directions, edges, float(np.rad2deg(step)))
    log -= (FREEDOM + 2) / 2 * np.log1p(far / FREEDOM)
    chance = np.exp(log - log.max())
    chance /= chance.sum()
    mean = chance @ off
    return mean, (off - mean).T @ ((off - mean) * chance[:, None]) + np.eye(2) * step**2 / 12


def _agreement(directions: Array, edges: _Edges, step_deg: float) -> Array:
    """Log-likelihood (N,) of the segments where up is one of these directions (N, 3).

    Level directions are as likely one way as another; step_deg: of the grid, which blurs edges.
    """
    blur = step_deg / 3
    turns = round(90 / np.clip(step_deg, 1.0, YAW_DEG))
    base = (1 - UPRIGHT - 2 * LEVEL) / 90 + UPRIGHT * edges.density(directions, blur)
    first = np.cross(directions, [0.0, 0, 1])
    along_view = np.linalg.norm(first, axis=1) < 0.1
    first[along_view] = np.cross(directions[along_view], [1.0, 0, 0])
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(directions, first)
    logs = []
    for yaw in np.arange(turns) * np.pi / 2 / turns:
        ways = (
            np.cos(yaw) * first + np.sin(yaw) * second,
            np.cos(yaw) * second - np.sin(yaw) * first,
        )
        level = sum(edges.density(way, blur) for way in ways)
        logs.append(np.log(base + LEVEL * level) @ edges.weight)
    return np.logaddexp.reduce(logs, 0) - np.log(turns)
