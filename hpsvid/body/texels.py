"""The texels of an atlas: which place of the surface each one shows."""

from dataclasses import dataclass

import numpy as np

from hpsvid.body.atlas import Atlas
from hpsvid.common.raster import compiled
from hpsvid.types import Array

_BESIDE = 1.5  # texels: so near to a triangle one shows the nearest place of its edge


@dataclass(frozen=True, kw_only=True, eq=False)
class Texels:
    """The N texels of a square picture that show a place of the surface, row by row."""

    size: int  # of the picture, texels a side
    places: Array  # (N,) int64, row * size + column
    face: Array  # (N,) int64
    share: Array  # (N, 3) float32 of the face's corners

    def spread(self, values: Array) -> Array:
        """Values (N, C) as a picture (size, size, C), 0 elsewhere."""
        whole = np.zeros((self.size * self.size, values.shape[1]), values.dtype)
        whole[self.places] = values
        return whole.reshape(self.size, self.size, -1)


def texels_of(atlas: Atlas, size: int) -> Texels:
    """Every texel whose middle lies in a triangle of the atlas, or just beside one."""
    points = atlas.uv.astype(np.float64) * [size, -size] + [0, size]
    face, share = _nearest(points[atlas.uv_faces], size)
    places = np.flatnonzero(face.ravel() >= 0)
    face, share = face.ravel()[places], share.reshape(-1, 3)[places]
    return Texels(size=size, places=places, face=face, share=share)


def mirrored(texels: Texels, atlas: Atlas, faces: Array) -> Array:
    """The place (N,) int64 in the picture, row * size + column, of each texel's mirror image.

    faces: (F, 3), the body's.
    """
    of_corners = {tuple(sorted(face)): n for n, face in enumerate(faces.tolist())}
    other = atlas.mirror[faces]
    twin = np.array([of_corners[tuple(sorted(face))] for face in other.tolist()])
    order = (faces[twin][:, None] == other[:, :, None]).argmax(2)  # (F, 3) corner of the twin
    points = np.take_along_axis(atlas.corners[twin], order[..., None], 1)
    at = (texels.share[..., None] * points[texels.face]).sum(1) * texels.size
    column, row = np.floor(at[:, 0]), np.floor(texels.size - at[:, 1])
    last = texels.size - 1
    return (row.clip(0, last) * texels.size + column.clip(0, last)).astype(np.int64)


@compiled
def _nearest(triangles: Array, size: int) -> tuple[Array, Array]:
    """The triangle in or beside which each texel lies (size, size), -1 = none, and shares of it.

    triangles: (F, 3, 2) texels. Of several the nearest, then the first.
    """
    face = np.full((size, size), -1, np.int64)
    share = np.zeros((size, size, 3), np.float32)
    away = np.full((size, size), _BESIDE, np.float64)
    at = np.empty(3)
    for n in range(len(triangles)):
        (ax, ay), (bx, by), (cx, cy) = triangles[n]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        left, right = int(min(ax, bx, cx) - _BESIDE), int(max(ax, bx, cx) + _BESIDE) + 1
        top, bottom = int(min(ay, by, cy) - _BESIDE), int(max(ay, by, cy) + _BESIDE) + 1
        for row in range(max(top, 0), min(bottom, size)):
            for column in range(max(left, 0), min(right, size)):
                x, y = column + 0.5, row + 0.5
                distance = np.inf
                if area != 0:
                    at[1] = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                    at[2] = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                    at[0] = 1 - at[1] - at[2]
                    if at[0] >= 0 and at[1] >= 0 and at[2] >= 0:
                        distance = -1.0
                if distance > 0:
                    for k in range(3):
                        px, py = triangles[n, k]
                        qx, qy = triangles[n, (k + 1) % 3]
                        long = (qx - px) ** 2 + (qy - py) ** 2
                        part = 0.0
                        if long > 0:
                            part = ((x - px) * (qx - px) + (y - py) * (qy - py)) / long
                            part = min(max(part, 0.0), 1.0)
                        off = np.hypot(px + part * (qx - px) - x, py + part * (qy - py) - y)
                        if off < distance:
                            distance = off
                            at[k], at[(k + 1) % 3], at[(k + 2) % 3] = 1 - part, part, 0.0
                if distance < away[row, column]:
                    away[row, column] = distance
                    face[row, column] = n
                    for k in range(3):
                        share[row, column, k] = at[k]
    return face, share
