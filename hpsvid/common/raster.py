"""Triangles to pixels: a z-buffer rasteriser in numba that knows nothing of people."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from hpsvid.types import Array


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile for the CPU without the interpreter's lock, kept on disk where a folder allows."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba finds no writable folder for its cache, the user's own included
        return numba.njit(nogil=True)(function)


NEAR_M = 0.05  # surfaces nearer to the camera than this are cut away


@compiled
def vertex_normals(vertices: Array, faces: Array) -> Array:
    """Unit normals (V, 3) float32, outward: mean over a vertex's faces weighted by area.

    vertices: (V, 3) m; faces: (F, 3), counter-clockwise from outside.
    """
    normals = np.zeros(vertices.shape, np.float64)
    for face in range(len(faces)):
        a, b, c = faces[face]
        ux = vertices[b, 0] - vertices[a, 0]
        uy = vertices[b, 1] - vertices[a, 1]
        uz = vertices[b, 2] - vertices[a, 2]
        vx = vertices[c, 0] - vertices[a, 0]
        vy = vertices[c, 1] - vertices[a, 1]
        vz = vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (a, b, c):
            normals[corner, 0] += nx
            normals[corner, 1] += ny
            normals[corner, 2] += nz
    out = np.zeros(vertices.shape, np.float32)
    for i in range(len(vertices)):
        x, y, z = normals[i]
        length = np.sqrt(x * x + y * y + z * z)
        if length > 0:
            out[i, 0], out[i, 1], out[i, 2] = x / length, y / length, z / length
    return out


@compiled
def bilinear(pixels: Array, picture: Array, x: float, y: float, out: Array) -> None:
    """Write a picture's colour at a place, interpolated from four pixels, into `out` (3,).

    pixels: (P, 3) of all pictures, one after the other; picture: (3,) int, this one's first pixel,
    height and width; x, y: px from the middle of its first pixel, not beyond the last one's.
    """
    start, height, width = picture
    left, top = int(x), int(y)
    right, below = min(left + 1, width - 1), min(top + 1, height - 1)
    fx, fy = x - left, y - top
    for k in range(3):
        upper = (1 - fx) * pixels[start + top * width + left, k]
        upper += fx * pixels[start + top * width + right, k]
        lower = (1 - fx) * pixels[start + below * width + left, k]
        lower += fx * pixels[start + below * width + right, k]
        out[k] = (1 - fy) * upper + fy * lower


@compiled
def edge_functions(
    image: Array, faces: Array, width: int, height: int, near: float, cull: bool
) -> tuple[Array, Array, Array]:
    """Edge functions, their scale and the pixel box of each triangle.

    image: (V, 3) float64 homogeneous px, K @ camera point. Returns edges (F, 3, 3): a corner's
    weight at pixel (x, y) is edges[f, corner] @ (x, y, 1); scale (F,): weight * scale is
    barycentric coordinate / depth; boxes (F, 4) x0 y0 x1 y1 px, end excluded, empty if unseen.
    """
    edges = np.empty((len(faces), 3, 3), np.float64)
    scale = np.zeros(len(faces), np.float64)
    boxes = np.zeros((len(faces), 4), np.int32)
    for face in range(len(faces)):
        low_x = low_y = np.inf
        high_x = high_y = -np.inf
        for corner in range(3):
            p, q = image[faces[face, corner]], image[faces[face, (corner + 1) % 3]]
            if p[2] >= near:
                x, y = p[0] / p[2], p[1] / p[2]
                low_x, high_x = min(low_x, x), max(high_x, x)
                low_y, high_y = min(low_y, y), max(high_y, y)
            if (p[2] >= near) != (q[2] >= near):  # where this side passes the near plane
                part = (near - p[2]) / (q[2] - p[2])
                x = (p[0] + part * (q[0] - p[0])) / near
                y = (p[1] + part * (q[1] - p[1])) / near
                low_x, high_x = min(low_x, x), max(high_x, x)
                low_y, high_y = min(low_y, y), max(high_y, y)
        if not (low_x < width and high_x > 0 and low_y < height and high_y > 0):
            continue
        for corner in range(3):
            p = image[faces[face, (corner + 1) % 3]]
            q = image[faces[face, (corner + 2) % 3]]
            edges[face, corner, 0] = p[1] * q[2] - p[2] * q[1]
            edges[face, corner, 1] = p[2] * q[0] - p[0] * q[2]
            edges[face, corner, 2] = p[0] * q[1] - p[1] * q[0]
        a, e = image[faces[face, 0]], edges[face, 0]
        det = a[0] * e[0] + a[1] * e[1] + a[2] * e[2]
        if det == 0 or (cull and det > 0):  # seen edge-on, or from inside
            continue
        if det < 0:
            edges[face] = -edges[face]
        scale[face] = 1 / abs(det)
        boxes[face, 0] = int(max(0.0, np.floor(low_x)))
        boxes[face, 1] = int(max(0.0, np.floor(low_y)))
        boxes[face, 2] = int(min(float(width), np.ceil(high_x)))
        boxes[face, 3] = int(min(float(height), np.ceil(high_y)))
    return edges, scale, boxes


@compiled
def sample_offset(sample: int, count: int) -> tuple[float, float]:
    """Place of a sample inside its pixel: the middle, or one of four on a rotated grid."""
    if count == 1:
        return 0.5, 0.5
    return ((0.375, 0.125), (0.875, 0.375), (0.125, 0.625), (0.625, 0.875))[sample]


@compiled
def visible_faces(
    edges: Array, scale: Array, boxes: Array, window: tuple[int, int, int, int],
    samples: int, near: float,
) -> tuple[Array, Array]:  # fmt: skip
    """Which face each sample sees.

    window: x0 y0 x1 y1 px. Returns face (h, w, samples) int32, -1 = none, and 1 / depth
    (h, w, samples) float32, 0 = nothing.
    """
    x0, y0, x1, y1 = window
    inverse = np.zeros((y1 - y0, x1 - x0, samples), np.float32)
    seen = np.full((y1 - y0, x1 - x0, samples), -1, np.int32)
    for face in range(len(boxes)):
        (ax, ay, ac), (bx, by, bc), (cx, cy, cc) = edges[face]
        for row in range(boxes[face, 1], boxes[face, 3]):
            for column in range(boxes[face, 0], boxes[face, 2]):
                for sample in range(samples):
                    dx, dy = sample_offset(sample, samples)
                    x, y = column + dx, row + dy
                    a = ax * x + ay * y + ac
                    b = bx * x + by * y + bc
                    c = cx * x + cy * y + cc
                    if a >= 0 and b >= 0 and c >= 0:
                        nearness = np.float32((a + b + c) * scale[face])
                        if inverse[row - y0, column - x0, sample] < nearness <= 1 / near:
                            inverse[row - y0, column - x0, sample] = nearness
                            seen[row - y0, column - x0, sample] = face
    return seen, inverse


@compiled
def corner_weights(edges: Array, x: float, y: float) -> tuple[float, float, float]:
    """Barycentric coordinates in space of the point of a triangle seen at pixel (x, y)."""
    a = edges[0, 0] * x + edges[0, 1] * y + edges[0, 2]
    b = edges[1, 0] * x + edges[1, 1] * y + edges[1, 2]
    c = edges[2, 0] * x + edges[2, 1] * y + edges[2, 2]
    total = a + b + c
    return a / total, b / total, c / total


def pixel_window(boxes: Array) -> tuple[int, int, int, int] | None:
    """Smallest box x0 y0 x1 y1 px around all triangles' boxes (F, 4); None when all are empty."""
    boxes = boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
    if len(boxes) == 0:
        return None
    (x0, y0), (x1, y1) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    return int(x0), int(y0), int(x1), int(y1)


def homogeneous_px(vertices: Array, K: Array) -> Array:
    """Homogeneous pixels (V, 3) float64 of camera points (V, 3) m."""
    return np.asarray(vertices, np.float64) @ np.asarray(K, np.float64).T
