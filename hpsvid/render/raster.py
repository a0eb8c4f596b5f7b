"""A z-buffer on the CPU: exact, deterministic, without system libraries.

Triangles are rasterised in homogeneous coordinates (Olano and Greer, "Triangle scan conversion
using 2D homogeneous coordinates", 1997): edge functions come from the camera-space triangle
itself, so that triangles which cross the camera's plane need no clipping and attributes are
perspective-correct. Pictures are drawn in two steps: which face each sample sees, then colour.
"""

from collections.abc import Sequence

import numpy as np

from hpsvid.compiled import compiled
from hpsvid.render import ALPHA, NEAR_M, Mesh
from hpsvid.types import Array

# Light in camera axes. The key light comes over the camera's left shoulder, the headlight from
# the camera itself, which darkens outlines a little and sets a body off from its background.
AMBIENT = 0.34
KEY = 0.42
HEADLIGHT = 0.32
KEY_DIRECTION = (-0.424264, -0.565685, -0.707107)  # from the surface to the light, length 1


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
def brightness(nx: float, ny: float, nz: float) -> float:
    """Light that a surface of normal (nx, ny, nz), any length > 0, sends to the camera: 0..1.08."""
    length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
    key = KEY_DIRECTION[0] * nx + KEY_DIRECTION[1] * ny + KEY_DIRECTION[2] * nz
    return AMBIENT + (KEY * max(0.0, key) + HEADLIGHT * max(0.0, -nz)) / length


@compiled
def lit(normals: Array) -> Array:
    """`brightness` (V,) float32 of normals (V, 3)."""
    out = np.empty(len(normals), np.float32)
    for i in range(len(normals)):
        out[i] = brightness(normals[i, 0], normals[i, 1], normals[i, 2])
    return out


@compiled
def _planes(
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
def _offset(sample: int, count: int) -> tuple[float, float]:
    """Place of a sample inside its pixel: the middle, or one of four on a rotated grid."""
    if count == 1:
        return 0.5, 0.5
    return ((0.375, 0.125), (0.875, 0.375), (0.125, 0.625), (0.625, 0.875))[sample]


@compiled
def _visible(
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
                    dx, dy = _offset(sample, samples)
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
def _weights(edges: Array, x: float, y: float) -> tuple[float, float, float]:
    """Barycentric coordinates in space of the point of a triangle seen at pixel (x, y)."""
    a = edges[0, 0] * x + edges[0, 1] * y + edges[0, 2]
    b = edges[1, 0] * x + edges[1, 1] * y + edges[1, 2]
    c = edges[2, 0] * x + edges[2, 1] * y + edges[2, 2]
    total = a + b + c
    return a / total, b / total, c / total


@compiled
def _interpolate(
    seen: Array, edges: Array, faces: Array, attributes: Array, x0: int, y0: int, out: Array
) -> None:
    """Write the attributes of what each pixel's middle sees into `out` (H, W, C)."""
    height, width, _ = seen.shape
    for row in range(height):
        for column in range(width):
            face = seen[row, column, 0]
            if face >= 0:
                p, q, r = faces[face]
                x, y = x0 + column + 0.5, y0 + row + 0.5
                a, b, c = _weights(edges[face], x, y)
                for channel in range(attributes.shape[1]):
                    out[y0 + row, x0 + column, channel] = (
                        a * attributes[p, channel]
                        + b * attributes[q, channel]
                        + c * attributes[r, channel]
                    )


@compiled
def _paint(
    seen: Array, edges: Array, faces: Array, normals: Array, paints: Array, x0: int, y0: int,
    alpha: float, out: Array,
) -> None:  # fmt: skip
    """Light what the samples see and blend it into `out` (H, W, 3) uint8.

    paints: (V, 4) red, green, blue in 0..255 and opacity in 0..1.
    """
    height, width, samples = seen.shape
    for row in range(height):
        for column in range(width):
            red = green = blue = cover = 0.0
            for sample in range(samples):
                face = seen[row, column, sample]
                if face < 0:
                    continue
                dx, dy = _offset(sample, samples)
                p, q, r = faces[face]
                a, b, c = _weights(edges[face], x0 + column + dx, y0 + row + dy)
                light = brightness(
                    a * normals[p, 0] + b * normals[q, 0] + c * normals[r, 0],
                    a * normals[p, 1] + b * normals[q, 1] + c * normals[r, 1],
                    a * normals[p, 2] + b * normals[q, 2] + c * normals[r, 2],
                )
                opacity = paints[p, 3]
                red += opacity * min(
                    255.0, light * (a * paints[p, 0] + b * paints[q, 0] + c * paints[r, 0])
                )
                green += opacity * min(
                    255.0, light * (a * paints[p, 1] + b * paints[q, 1] + c * paints[r, 1])
                )
                blue += opacity * min(
                    255.0, light * (a * paints[p, 2] + b * paints[q, 2] + c * paints[r, 2])
                )
                cover += opacity
            if cover > 0:
                keep, share = 1 - alpha * cover / samples, alpha / samples
                pixel = out[y0 + row, x0 + column]
                pixel[0] = np.uint8(keep * pixel[0] + share * red + 0.5)
                pixel[1] = np.uint8(keep * pixel[1] + share * green + 0.5)
                pixel[2] = np.uint8(keep * pixel[2] + share * blue + 0.5)


def _window(boxes: Array) -> tuple[int, int, int, int] | None:
    """Smallest box x0 y0 x1 y1 px around all triangles' boxes (F, 4); None when all are empty."""
    boxes = boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
    if len(boxes) == 0:
        return None
    (x0, y0), (x1, y1) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    return int(x0), int(y0), int(x1), int(y1)


def _image_points(vertices: Array, K: Array) -> Array:
    """Homogeneous pixels (V, 3) float64 of camera points (V, 3) m."""
    return np.asarray(vertices, np.float64) @ np.asarray(K, np.float64).T


def rasterise(
    vertices: Array, faces: Array, attributes: Array, K: Array, size: tuple[int, int],
    *, near: float = NEAR_M, cull: bool = True,
) -> tuple[Array, Array]:  # fmt: skip
    """Depth and interpolated attributes of the surface seen at each pixel's middle.

    vertices: (V, 3) m, camera coordinates; faces: (F, 3) int, counter-clockwise from outside;
    attributes: (V, C) any numbers (colours, normals, texture coordinates, ...); K: (3, 3) px;
    size: (width, height) px. With `cull`, faces seen from inside are left out. Returns depth
    (H, W) float32 m, inf where nothing is seen, and attributes (H, W, C) float32,
    perspective-correct, 0 where nothing is seen.
    """
    width, height = size
    faces = np.ascontiguousarray(faces, np.int64)
    attributes = np.ascontiguousarray(attributes, np.float32)
    depth = np.full((height, width), np.inf, np.float32)
    picture = np.zeros((height, width, attributes.shape[1]), np.float32)
    edges, scale, boxes = _planes(_image_points(vertices, K), faces, width, height, near, cull)
    window = _window(boxes)
    if window is not None:
        x0, y0, x1, y1 = window
        seen, inverse = _visible(edges, scale, boxes, window, 1, near)
        hit = inverse[..., 0] > 0
        depth[y0:y1, x0:x1][hit] = 1 / inverse[..., 0][hit]
        _interpolate(seen, edges, faces, attributes, x0, y0, picture)
    return depth, picture


class RasterRenderer:
    """Draws meshes with the z-buffer, four samples a pixel."""

    name = "raster"

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads  # the compiled loops hold no lock

    def draw(self, rgb: Array, meshes: Sequence[Mesh], K: Array, *, alpha: float = ALPHA) -> Array:
        """`meshes` over `rgb`; see `hpsvid.render.Renderer.draw`."""
        out = rgb.copy()
        if not meshes:
            return out
        height, width = rgb.shape[:2]
        starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
        vertices = np.concatenate([mesh.vertices for mesh in meshes]).astype(np.float32)
        faces = np.concatenate(
            [mesh.faces + start for mesh, start in zip(meshes, starts[:-1], strict=True)]
        ).astype(np.int64)
        paints = np.empty((len(vertices), 4), np.float32)
        for mesh, start in zip(meshes, starts[:-1], strict=True):
            part = paints[start : start + len(mesh.vertices)]
            part[:, :3], part[:, 3] = mesh.colours, mesh.opacity
        edges, scale, boxes = _planes(
            _image_points(vertices, K), faces, width, height, NEAR_M, True
        )
        window = _window(boxes)
        if window is not None:
            seen, _ = _visible(edges, scale, boxes, window, 4, NEAR_M)
            normals = vertex_normals(vertices, faces)
            _paint(seen, edges, faces, normals, paints, window[0], window[1], alpha, out)
        return out
