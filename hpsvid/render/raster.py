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
    bilinear,
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
PICTURED = 0.4  # what the light counts on a texture, whose clip's light is in it already
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
    corners: Array  # (F, 3, 2) texture points, of faces that have a texture
    pictures: Array  # (F, 3) int64 of a face's texture: first texel, height, width; 0 = none
    texels: Array  # (N, 3) uint8, all textures one after the other


@compiled
def _texel(surface: _Surface, face: int, shares: tuple[float, float, float], out: Array) -> None:
    """The texture's colour, bilinear, at a place of a face, into `out` (3,)."""
    _, height, width = surface.pictures[face]
    x = y = 0.0
    for k in range(3):
        x += shares[k] * surface.corners[face, k, 0]
        y += shares[k] * (1 - surface.corners[face, k, 1])
    x = min(max(x * width - 0.5, 0.0), width - 1.0)
    y = min(max(y * height - 0.5, 0.0), height - 1.0)
    bilinear(surface.texels, surface.pictures[face], x, y, out)


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
    colour, total = np.empty(3), np.empty(3)
    for row in range(height):
        for column in range(width):
            cover = 0.0
            total[:] = 0
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
                if surface.pictures[face, 1] > 0:
                    _texel(surface, face, (a, b, c), colour)
                    light = 1 + PICTURED * (light - 1)
                else:
                    for k in range(3):
                        colour[k] = a * paints[p, k] + b * paints[q, k] + c * paints[r, k]
                opacity = paints[p, 3]
                for k in range(3):
                    total[k] += opacity * min(255.0, light * colour[k])
                cover += opacity
            if cover > 0:
                keep, share = 1 - alpha * cover / samples, alpha / samples
                pixel = out[y0 + row, x0 + column]
                for k in range(3):
                    pixel[k] = np.uint8(keep * pixel[k] + share * total[k] + 0.5)


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
            normals = vertex_normals(vertices, faces)
            surface = _Surface(faces, edges, normals, paints, *_textures(meshes))
            _paint(seen, surface, window[:2], alpha, out)
        return out


def _textures(meshes: Sequence[Mesh]) -> tuple[Array, Array, Array]:
    """The fields `corners`, `pictures` and `texels` of the meshes' `_Surface`."""
    corners, pictures, texels, start = [], [], [np.zeros((0, 3), np.uint8)], 0
    for mesh in meshes:
        count = len(mesh.faces)
        if mesh.texture is None or mesh.corners is None:
            corners.append(np.zeros((count, 3, 2), np.float32))
            pictures.append(np.zeros((count, 3), np.int64))
            continue
        corners.append(mesh.corners.astype(np.float32))
        pictures.append(np.tile(np.array([start, *mesh.texture.shape[:2]], np.int64), (count, 1)))
        texels.append(mesh.texture.reshape(-1, 3))
        start += len(texels[-1])
    return np.concatenate(corners), np.concatenate(pictures), np.concatenate(texels)
