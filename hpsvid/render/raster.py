"""A z-buffer on the CPU: exact, deterministic, without system libraries.

Triangles are rasterised in homogeneous coordinates (Olano and Greer, "Triangle scan conversion
using 2D homogeneous coordinates", 1997): edge functions come from the camera-space triangle
itself, so that triangles which cross the camera's plane need no clipping and attributes are
perspective-correct. Pictures are drawn in two steps: which face each sample sees, then colour.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hpsvid.common.raster import (
    NEAR_M,
    compiled,
    corner_weights,
    edge_functions,
    homogeneous_px,
    pixel_window,
    sample_offset,
    vertex_normals,
    visible_faces,
)
from hpsvid.options import ALPHA
from hpsvid.render.mesh import Mesh
from hpsvid.types import Array

# Light in camera axes. The key light comes over the camera's left shoulder, the headlight from
# the camera itself, which darkens outlines a little and sets a body off from its background.
AMBIENT = 0.34
KEY = 0.42
HEADLIGHT = 0.32
KEY_DIRECTION = (-0.424264, -0.565685, -0.707107)  # from the surface to the light, length 1


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


class _Surface(NamedTuple):
    """Triangles ready to be painted."""

    faces: Array  # (F, 3)
    edges: Array  # (F, 3, 3), see `edge_functions`
    normals: Array  # (V, 3)
    paints: Array  # (V, 4) red, green, blue in 0..255 and opacity in 0..1


@compiled
def _paint(
    seen: Array, surface: _Surface, corner: tuple[int, int], alpha: float, out: Array
) -> None:
    """Light what the samples see and blend it into `out` (H, W, 3) uint8.

    corner: x0 y0 px of `seen` in the picture.
    """
    x0, y0 = corner
    normals, paints = surface.normals, surface.paints
    height, width, samples = seen.shape
    for row in range(height):
        for column in range(width):
            red = green = blue = cover = 0.0
            for sample in range(samples):
                face = seen[row, column, sample]
                if face < 0:
                    continue
                dx, dy = sample_offset(sample, samples)
                p, q, r = surface.faces[face]
                a, b, c = corner_weights(surface.edges[face], x0 + column + dx, y0 + row + dy)
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
        edges, scale, boxes = edge_functions(
            homogeneous_px(vertices, K), faces, width, height, NEAR_M, True
        )
        window = pixel_window(boxes)
        if window is not None:
            seen, _ = visible_faces(edges, scale, boxes, window, 4, NEAR_M)
            surface = _Surface(faces, edges, vertex_normals(vertices, faces), paints)
            _paint(seen, surface, window[:2], alpha, out)
        return out
