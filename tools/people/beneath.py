"""Which point of the body lies beneath what a crop's pixels show, clothes and hair included.

Every vertex of a character has an anchor on the bare body in the T-pose: itself, or for cloth the
skin that it is bound to. A pixel's anchor lies between those of the face that it shows; the nearest
place of the body's surface, a face and where on it, is what the pixel shows of the body.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from hpsvid.backbone.crop import SIDE, Crop
from hpsvid.common.raster import compiled
from hpsvid.types import Array
from tools.people.staging import Scene
from tools.people.surface import Surface, join
from tools.people.zbuffer import edges_of, image_points, visible_faces

NEAREST = 6  # faces, by their middles, among which the place is looked for


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Places:
    """Places on the body's surface, any leading dimensions."""

    face: Array  # (...) int64
    weights: Array  # (..., 3) of its corners, >= 0, sum 1


class BodySurface:
    """Finds the places of a body's T-pose surface that are nearest to points."""

    def __init__(self, template: Array, faces: Array) -> None:
        """template: (V, 3) m; faces: (F, 3)."""
        self._corners = template.astype(np.float64)[faces]
        self._tree = KDTree(self._corners.mean(1))

    def nearest(self, points: Array) -> Places:
        """The places nearest to points (N, 3) m, each on one of the NEAREST faces."""
        near = np.asarray(self._tree.query(points, k=NEAREST)[1])
        a, b, c = np.moveaxis(self._corners[near], 2, 0)  # (N, NEAREST, 3) each
        weights = _clamped_weights(points[:, None], a, b, c)
        place = weights[..., :1] * a + weights[..., 1:2] * b + weights[..., 2:] * c
        best = np.linalg.norm(place - points[:, None], axis=-1).argmin(1)
        row = np.arange(len(points))
        return Places(face=near[row, best], weights=weights[row, best])


def _clamped_weights(points: Array, a: Array, b: Array, c: Array) -> Array:
    """Barycentric weights (..., 3) of points dropped onto triangles; outside, of a place inside."""
    u, v, w = b - a, c - a, points - a
    uu, uv, vv = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    wu, wv = (w * u).sum(-1), (w * v).sum(-1)
    size = np.maximum(uu * vv - uv * uv, 1e-18)
    second, third = (vv * wu - uv * wv) / size, (uu * wv - uv * wu) / size
    weights = np.stack([1 - second - third, second, third], -1).clip(0, None)
    return weights / weights.sum(-1, keepdims=True)


@compiled
def _corner_weights(seen: Array, image: Array, faces: Array) -> Array:
    """Weights (H, W, 3) in space of the corners of the face that each pixel's middle sees.

    seen: (H, W), -1 = none; image: (V, 3) homogeneous px; faces: (F, 3).
    """
    height, width = seen.shape
    out = np.zeros((height, width, 3))
    p, edges = np.empty((3, 3)), np.empty((3, 3))
    for row in range(height):
        for column in range(width):
            if seen[row, column] < 0:
                continue
            for corner in range(3):
                p[corner] = image[faces[seen[row, column], corner]]
            edges_of(p, edges)
            total = 0.0
            for k in range(3):
                share = edges[k, 0] * (column + 0.5) + edges[k, 1] * (row + 0.5) + edges[k, 2]
                out[row, column, k] = share
                total += share
            for k in range(3):
                out[row, column, k] /= total
    return out


def crop_camera(K: Array, crop: Crop, cells: int) -> tuple[Array, Array]:
    """Rotation (3, 3) about the optical axis and K (3, 3) with which a picture is the crop.

    cells: px of the new picture's side. K has square pixels and no skew, as a crop is turned.
    """
    matrix = crop.matrix()
    scale = crop.side / SIDE
    turn = np.eye(3)
    turn[:2, :2] = matrix[:, :2].T / scale  # picture -> crop
    centre = turn[:2, :2] @ (K[:2, 2] - matrix[:, 2]) / scale
    cell = cells / SIDE
    focal = K[0, 0] / scale * cell
    return turn, np.array([[focal, 0, centre[0] * cell], [0, focal, centre[1] * cell], [0, 0, 1]])


class Staged:
    """A scene's surfaces as one, asked at any of its frames what a crop shows of a person."""

    def __init__(self, scene: Scene, body: BodySurface) -> None:
        self._scene, self._body = scene, body
        actors, props = scene.actors, scene.props
        surfaces = [*(a.character.surface for a in actors), *(p.surface for p in props)]
        counts = [*(a.vertices.shape[1] for a in actors), *(len(p.vertices) for p in props)]
        self._surface: Surface
        self._surface, self._owner = join(surfaces, counts)
        loose = np.zeros((sum(counts[len(actors) :]), 3))
        self._anchors = np.concatenate([*(a.character.anchors for a in actors), loose])

    def shown(self, t: int, crop: Crop, person: int, cells: int) -> tuple[Array, Places]:
        """Where a crop shows a person (cells, cells) bool, and what of the body, place by place.

        The places (M,) follow the cells' order, row by row. A cell shows what its middle sees;
        outside the picture that is nothing.
        """
        scene = self._scene
        shot, middle = scene.shot, len(scene.actors[0].vertices) // 2
        things = [prop.at(t, middle) for prop in scene.props]
        world = np.concatenate([*(a.vertices[t] for a in scene.actors), *things]).astype(float)
        turn, K = crop_camera(shot.K, crop, cells)
        camera = (world @ shot.rotation[t].T + shot.translation[t]) @ turn.T
        image = image_points(camera, K)
        seen, _ = visible_faces(image, self._surface, cells, cells)
        mask = (seen >= 0) & (self._owner[np.maximum(seen, 0)] == person)
        middles = (np.moveaxis(np.indices(seen.shape), 0, -1)[..., ::-1] + 0.5) * (SIDE / cells)
        place = crop.to_image(middles)
        mask &= ((place >= 0) & (place < [shot.width, shot.height])).all(-1)
        weights = _corner_weights(np.where(mask, seen, -1), image, self._surface.faces)[mask]
        corners = self._anchors[self._surface.faces[seen[mask]]]
        return mask, self._body.nearest((weights[..., None] * corners).sum(1))
