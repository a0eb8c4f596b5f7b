"""Which triangle each pixel sees: a z-buffer that lets light through holes in textures.

Triangles are rasterised in homogeneous coordinates (Olano and Greer, 1997), as in
`hpsvid.render.raster`, so that an arm that reaches past the camera needs no clipping.
"""

import numpy as np

from hpsvid.common.raster import compiled
from hpsvid.types import Array
from tools.people.surface import Surface

OPAQUE = 110  # opacity (0..255) from which a texel of a cut-out picture hides what is behind it
NEAR_M = 0.05


@compiled
def _span(p: Array, near: float) -> tuple[float, float, float, float]:
    """Box x0 y0 x1 y1 (px) of the part of a triangle beyond the near plane.

    p: (3, 3) homogeneous px, third column the depth in m.
    """
    low_x = low_y = np.inf
    high_x = high_y = -np.inf
    for corner in range(3):
        other = (corner + 1) % 3
        if p[corner, 2] >= near:
            x, y = p[corner, 0] / p[corner, 2], p[corner, 1] / p[corner, 2]
            low_x, high_x = min(low_x, x), max(high_x, x)
            low_y, high_y = min(low_y, y), max(high_y, y)
        if (p[corner, 2] >= near) != (p[other, 2] >= near):
            part = (near - p[corner, 2]) / (p[other, 2] - p[corner, 2])
            x = (p[corner, 0] + part * (p[other, 0] - p[corner, 0])) / near
            y = (p[corner, 1] + part * (p[other, 1] - p[corner, 1])) / near
            low_x, high_x = min(low_x, x), max(high_x, x)
            low_y, high_y = min(low_y, y), max(high_y, y)
    return low_x, low_y, high_x, high_y


@compiled
def edges_of(p: Array, edges: Array) -> float:
    """Edge functions of a triangle into `edges` (3, 3), signed to be positive inside.

    p: (3, 3) homogeneous px. edges[corner] @ (x, y, 1) is the corner's weight in space, not
    normalised. Returns what turns the weights' sum into 1 / depth; 0 for an edge-on triangle.
    """
    for corner in range(3):
        a, b = p[(corner + 1) % 3], p[(corner + 2) % 3]
        edges[corner, 0] = a[1] * b[2] - a[2] * b[1]
        edges[corner, 1] = a[2] * b[0] - a[0] * b[2]
        edges[corner, 2] = a[0] * b[1] - a[1] * b[0]
    volume = p[0, 0] * edges[0, 0] + p[0, 1] * edges[0, 1] + p[0, 2] * edges[0, 2]
    if volume == 0:
        return 0.0
    if volume < 0:
        edges[:] = -edges
    return 1 / abs(volume)


@compiled
def image_points(camera: Array, K: Array) -> Array:
    """Homogeneous px (V, 3) of camera points (V, 3) m; K: (3, 3) px without skew."""
    out = np.empty((len(camera), 3), np.float64)
    for i in range(len(camera)):
        x, y, z = camera[i, 0], camera[i, 1], camera[i, 2]
        out[i, 0] = K[0, 0] * x + K[0, 2] * z
        out[i, 1] = K[1, 1] * y + K[1, 2] * z
        out[i, 2] = z
    return out


@compiled
def visible_faces(image: Array, surface: Surface, width: int, height: int) -> tuple[Array, Array]:
    """The face that each pixel's middle sees (H, W) int32, -1 = none, and 1 / depth (H, W).

    image: (V, 3) homogeneous px. Both sides of a face are drawn.
    """
    faces, corners, maps = surface.faces, surface.corners, surface.maps
    seen = np.full((height, width), -1, np.int32)
    nearness = np.zeros((height, width), np.float32)
    p, edges = np.empty((3, 3)), np.empty((3, 3))
    for face in range(len(faces)):
        for corner in range(3):
            p[corner] = image[faces[face, corner]]
        x0, y0, x1, y1 = _span(p, NEAR_M)
        if not (x0 < width and x1 > 0 and y0 < height and y1 > 0):
            continue
        # pixels whose middles the box holds
        left, right = max(0, int(np.ceil(x0 - 0.5))), min(width - 1, int(np.floor(x1 - 0.5)))
        top, bottom = max(0, int(np.ceil(y0 - 0.5))), min(height - 1, int(np.floor(y1 - 0.5)))
        if left > right or top > bottom:
            continue
        scale = edges_of(p, edges)
        if scale == 0:
            continue
        m = surface.material[face]
        cut = surface.traits[m, 0] > 0
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                a = edges[0, 0] * x + edges[0, 1] * y + edges[0, 2]
                b = edges[1, 0] * x + edges[1, 1] * y + edges[1, 2]
                c = edges[2, 0] * x + edges[2, 1] * y + edges[2, 2]
                if a < 0 or b < 0 or c < 0:
                    continue
                total = a + b + c
                near = np.float32(total * scale)
                if near <= nearness[row, column] or near > 1 / NEAR_M:
                    continue
                if cut:
                    uv = corners[face]
                    u = (a * uv[0, 0] + b * uv[1, 0] + c * uv[2, 0]) / total
                    v = (a * uv[0, 1] + b * uv[1, 1] + c * uv[2, 1]) / total
                    tx = min(max(int(u * maps[m, 1]), 0), maps[m, 1] - 1)
                    ty = min(max(int((1 - v) * maps[m, 2]), 0), maps[m, 2] - 1)
                    if surface.texels[maps[m, 0] + ty * maps[m, 1] + tx, 3] < OPAQUE:
                        continue
                nearness[row, column] = near
                seen[row, column] = face
    return seen, nearness


@compiled
def openness(nearness: Array, normal: Array, K: Array, stride: int, reach: float) -> Array:
    """Share of the half-sphere over each seen point that nothing near blocks (H', W').

    Screen-space ambient occlusion (Mittring, "Finding next gen: CryEngine 2", 2007) with a fixed
    set of directions turned from pixel to pixel. nearness: (H, W) 1 / m; normal: (H', W', 3) unit,
    camera axes, of every `stride`-th pixel; reach: m.
    """
    height, width = normal.shape[:2]
    out = np.ones((height, width), np.float32)
    state, way = np.uint32(1), np.empty(4)
    for row in range(height):
        for column in range(width):
            near = nearness[row * stride, column * stride]
            if near <= 0:
                continue
            z = 1 / near
            x = (column * stride + 0.5 - K[0, 2]) / K[0, 0] * z
            y = (row * stride + 0.5 - K[1, 2]) / K[1, 1] * z
            blocked, tried = 0, 0
            for _ in range(9):
                for k in range(4):
                    state = np.uint32(state * np.uint32(1664525) + np.uint32(1013904223))
                    way[k] = (state >> np.uint32(8)) / 16777216.0
                dx, dy, dz = 2 * way[0] - 1, 2 * way[1] - 1, 2 * way[2] - 1
                length = np.sqrt(dx * dx + dy * dy + dz * dz) + 1e-6
                dx = 0.95 * dx / length + normal[row, column, 0]
                dy = 0.95 * dy / length + normal[row, column, 1]
                dz = 0.95 * dz / length + normal[row, column, 2]
                far = reach * (0.08 + 0.92 * way[3] * way[3])
                far /= np.sqrt(dx * dx + dy * dy + dz * dz) + 1e-6
                depth = z + dz * far
                if depth < NEAR_M:
                    continue
                c = int((x + dx * far) / depth * K[0, 0] + K[0, 2])
                r = int((y + dy * far) / depth * K[1, 1] + K[1, 2])
                tried += 1
                if not (0 <= r < nearness.shape[0] and 0 <= c < nearness.shape[1]):
                    continue
                # m; what is farther in front is another thing and blocks nothing
                if nearness[r, c] > 0 and 0.008 < depth - 1 / nearness[r, c] < 0.45:
                    blocked += 1
            out[row, column] = 1 - blocked / max(tried, 1)
    return out
