"""Depth and interpolated attributes of surfaces, pixel by pixel, on the product's rasteriser."""

import numpy as np

from hpsvid.common.raster import (
    NEAR_M,
    compiled,
    corner_weights,
    edge_functions,
    homogeneous_px,
    pixel_window,
    visible_faces,
)
from hpsvid.types import Array


@compiled
def _interpolate(
    seen: Array, edges: Array, faces: Array, attributes: Array, corner: tuple[int, int], out: Array
) -> None:
    """Write the attributes of what each pixel's middle sees into `out` (H, W, C).

    corner: x0 y0 px of `seen` in the picture.
    """
    x0, y0 = corner
    height, width, _ = seen.shape
    for row in range(height):
        for column in range(width):
            face = seen[row, column, 0]
            if face >= 0:
                p, q, r = faces[face]
                x, y = x0 + column + 0.5, y0 + row + 0.5
                a, b, c = corner_weights(edges[face], x, y)
                for channel in range(attributes.shape[1]):
                    out[y0 + row, x0 + column, channel] = (
                        a * attributes[p, channel]
                        + b * attributes[q, channel]
                        + c * attributes[r, channel]
                    )


def rasterise(
    vertices: Array,
    faces: Array,
    attributes: Array,
    K: Array,
    size: tuple[int, int],
    *,
    cull: bool = True,
) -> tuple[Array, Array]:
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
    edges, scale, boxes = edge_functions(
        homogeneous_px(vertices, K), faces, width, height, NEAR_M, cull
    )
    window = pixel_window(boxes)
    if window is not None:
        x0, y0, x1, y1 = window
        seen, inverse = visible_faces(edges, scale, boxes, window, 1, NEAR_M)
        hit = inverse[..., 0] > 0
        depth[y0:y1, x0:x1][hit] = 1 / inverse[..., 0][hit]
        _interpolate(seen, edges, faces, attributes, (x0, y0), picture)
    return depth, picture
