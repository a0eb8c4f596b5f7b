"""How much of a body runs into itself: the share of its triangles that cross others.

The collision ratio of NIKI (Li et al., CVPR 2023, supplement E), after COAP (Mihajlovic et al.,
CVPR 2022). Skin also folds where a limb bends, in every true pose: here a pair counts only when
its triangles lie on parts of the body that are more than `NEAR_PARTS` joints apart.
"""

import numpy as np

from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL
from hpsvid.common.raster import compiled
from hpsvid.types import Array

NEAR_PARTS = 2  # steps in the tree of joints, over which skin folds and touches in every pose


def collision_ratio(vertices: Array, body: Body) -> Array:
    """Share (T,) of the body's triangles that cross a triangle of a part not near their own.

    vertices: (T, V, 3) m. A triangle's part is the joint with the greatest skinning weight at
    its corners. Exact up to rounding; triangles that only touch in one plane do not count.
    """
    near, part = near_parts(), triangle_parts(body)
    return np.array(
        [crossing(np.float64(v), body.faces, part, near).mean() for v in vertices], np.float64
    )


def triangle_parts(body: Body) -> Array:
    """The joint (F,) that each triangle follows most."""
    weights = body.skin_weights.numpy()
    return weights[body.faces].sum(1).argmax(1)


def near_parts() -> Array:
    """Which of 24 parts (24, 24) are at most `NEAR_PARTS` joints apart."""
    adjacent = np.eye(SMPL.n_rotations, dtype=bool)
    for child in range(1, SMPL.n_rotations):
        adjacent[child, SMPL.parents[child]] = adjacent[SMPL.parents[child], child] = True
    return np.linalg.matrix_power(adjacent.astype(int), NEAR_PARTS) > 0


@compiled
def crossing(vertices: Array, faces: Array, part: Array, near: Array) -> Array:
    """Which triangles (F,) cross another whose part is not near theirs.

    vertices: (V, 3) float64; faces: (F, 3); part: (F,); near: (P, P) bool. Pairs are found by
    sweeping along the second axis, a standing body's longest.
    """
    low, high = np.empty((len(faces), 3)), np.empty((len(faces), 3))
    for f in range(len(faces)):
        a, b, c = faces[f]
        for axis in range(3):
            x, y, z = vertices[a, axis], vertices[b, axis], vertices[c, axis]
            low[f, axis], high[f, axis] = min(x, y, z), max(x, y, z)
    order = np.argsort(low[:, 1])
    hit = np.zeros(len(faces), np.bool_)
    for i in range(len(order)):
        f = order[i]
        for j in range(i + 1, len(order)):
            g = order[j]
            if low[g, 1] > high[f, 1]:
                break
            if (
                low[g, 0] > high[f, 0]
                or low[f, 0] > high[g, 0]
                or low[g, 2] > high[f, 2]
                or low[f, 2] > high[g, 2]
                or near[part[f], part[g]]
                or (hit[f] and hit[g])
            ):
                continue
            if _cross(vertices, faces[f], faces[g]):
                hit[f] = hit[g] = True
    return hit


@compiled
def _cross(vertices: Array, one: Array, other: Array) -> bool:
    """Whether an edge of either triangle passes through the other."""
    for k in range(3):
        if _pierces(vertices, one[k], one[(k + 1) % 3], other):
            return True
        if _pierces(vertices, other[k], other[(k + 1) % 3], one):
            return True
    return False


@compiled
def _pierces(vertices: Array, start: int, end: int, triangle: Array) -> bool:
    """Whether the segment between two vertices passes through a triangle.

    Its ends lie on different sides of the triangle's plane, and its line passes all three edges
    on the same side; both are signs of tetrahedra's volumes.
    """
    a, b, c = triangle
    before, after = _volume(vertices, a, b, c, start), _volume(vertices, a, b, c, end)
    if before * after >= 0:
        return False
    first = _volume(vertices, start, end, a, b)
    second = _volume(vertices, start, end, b, c)
    third = _volume(vertices, start, end, c, a)
    return (first > 0) == (second > 0) == (third > 0)


@compiled
def _volume(vertices: Array, a: int, b: int, c: int, d: int) -> float:
    """Six times the signed volume of the tetrahedron of four vertices."""
    ux, uy, uz = vertices[b] - vertices[a]
    vx, vy, vz = vertices[c] - vertices[a]
    wx, wy, wz = vertices[d] - vertices[a]
    return ux * (vy * wz - vz * wy) - uy * (vx * wz - vz * wx) + uz * (vx * wy - vy * wx)
