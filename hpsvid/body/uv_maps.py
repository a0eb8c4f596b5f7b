"""Maps over the body's surface instead of the picture: what the crop shows, laid out in UV space.

Best of Both Worlds (Wang et al., 2022), Sec. 3.2-3.3: maps of the picture (`dense_network`) are
unwrapped through the place of the surface that each cell names; a posed body gives the same maps
whole. UV space is the free body's texture layout.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from scipy.spatial import KDTree
from torch import Tensor

from hpsvid.body.atlas import Atlas, atlas_of
from hpsvid.body.model import Body
from hpsvid.body.parts import PART_JOINTS, part_of_vertices
from hpsvid.body.texels import mirrored, texels_of
from hpsvid.types import Array

COARSE, FINE = 64, 128  # texels a side that are read and that are told; the paper's
NEAREST = 4  # cells that a texel takes its values from
REACH_M = 0.06  # on the T-pose, from a texel to the cells that may show it
SPREAD_M = 0.02  # of the weight that a cell has there
SHOWN = 0.5  # chance to show the person, above which a cell counts


@dataclass(frozen=True, kw_only=True, eq=False)
class UvGrid:
    """The N texels of a square of UV space that lie on the surface, row by row."""

    size: int  # texels a side
    places: Tensor  # (N,) int64, row * size + column
    corners: Tensor  # (N, 3) int64, vertices of the face that a texel lies on
    share: Tensor  # (N, 3) of these
    rest: Tensor  # (N, 3) m, place on the T-pose
    part: Tensor  # (N,) int64 of the 14: A_uv
    twin: Tensor  # (N,) int64, the texel on the body's other side

    def of_vertices(self, vertices: Tensor) -> Tensor:
        """Places (B, N, 3) m of the texels on surfaces (B, V, 3) m."""
        return (vertices[:, self.corners] * self.share[..., None]).sum(2)

    def spread(self, values: Tensor) -> Tensor:
        """Values (B, N, C) as maps (B, C, size, size), 0 elsewhere."""
        whole = values.new_zeros(len(values), values.shape[2], self.size**2)
        whole[..., self.places] = values.transpose(1, 2)
        return whole.unflatten(2, (self.size, self.size))

    def gather(self, maps: Tensor) -> Tensor:
        """The inverse of `spread`."""
        return maps.flatten(2)[..., self.places].transpose(1, 2)

    @cached_property
    def of_parts(self) -> Tensor:
        """Weights (14, N) with which values of texels become means of their parts."""
        parts = torch.nn.functional.one_hot(self.part, len(PART_JOINTS[14])).float().T
        return parts / parts.sum(1, keepdim=True)


def grid_of(body: Body, atlas: Atlas, size: int) -> UvGrid:
    """The grid of `size` texels a side."""
    texels = texels_of(atlas, size)
    corners = body.faces[texels.face]
    number = np.full(size * size, -1, np.int64)
    number[texels.places] = np.arange(len(texels.places))
    rest = (body.template.numpy()[corners] * texels.share[..., None]).sum(1)
    # where the layout's mirror image of a texel is none, the nearest of the other side
    twin = number[mirrored(texels, atlas, body.faces)]
    lost = twin < 0
    twin[lost] = KDTree(rest).query(rest[lost] * [-1, 1, 1])[1]
    most = corners[np.arange(len(corners)), texels.share.argmax(1)]
    return UvGrid(
        size=size,
        places=torch.from_numpy(texels.places),
        corners=torch.from_numpy(corners),
        share=torch.from_numpy(texels.share),
        rest=torch.from_numpy(rest.astype(np.float32)),
        part=torch.from_numpy(part_of_vertices(body, 14)[most]),
        twin=torch.from_numpy(twin),
    )


class UvSpace:
    """The free body's UV space at the two sizes. Raises InputError for another body."""

    def __init__(self, body: Body) -> None:
        atlas = atlas_of(body)
        self.coarse, self.fine = grid_of(body, atlas, COARSE), grid_of(body, atlas, FINE)
        self.mirror = torch.from_numpy(atlas.mirror)  # (V,) vertices on the other side
        self._to_vertices = _vertex_weights(body, atlas, self.fine)

    def at_vertices(self, values: Tensor) -> Tensor:
        """Values (B, N, C) of the fine texels at the body's vertices (B, V, C)."""
        flat = values.transpose(0, 1).flatten(1).numpy()
        told = torch.from_numpy((self._to_vertices @ flat).astype(np.float32))
        return told.unflatten(1, (len(values), -1)).transpose(0, 1)


def _vertex_weights(body: Body, atlas: Atlas, grid: UvGrid) -> csr_array:
    """Weights (V, N) of the texels about each vertex's points in the layout."""
    number = np.full(grid.size**2, -1, np.int64)
    number[grid.places.numpy()] = np.arange(len(grid.places))
    at = atlas.uv.astype(np.float64) * [grid.size, -grid.size] + [0, grid.size] - 0.5
    low = np.floor(at).astype(int)
    part = at - low
    owners, rest, template = atlas.owners(body.faces), grid.rest.numpy(), body.template.numpy()
    rows, columns, weights = [], [], []
    for x in (0, 1):
        for y in (0, 1):
            column, row = (low + np.array([x, y])).clip(0, grid.size - 1).T
            texel = number[row * grid.size + column]
            weight = np.abs(1 - x - part[:, 0]) * np.abs(1 - y - part[:, 1])
            away = np.linalg.norm(rest[texel] - template[owners], axis=1)
            known = (texel >= 0) & (away < REACH_M)  # others lie beyond a seam of the layout
            rows.append(owners[known])
            columns.append(texel[known])
            weights.append(weight[known] + 1e-6)
    row, column = np.concatenate(rows), np.concatenate(columns)
    shape = (len(body.template), len(grid.places))
    whole = coo_array((np.concatenate(weights), (row, column)), shape).tocsr()
    total = np.asarray(whole.sum(1)).ravel()
    bare = np.flatnonzero(total == 0)
    near = KDTree(rest).query(template[bare])[1]
    whole = whole + coo_array((np.ones(len(bare)), (bare, near)), shape).tocsr()
    total[bare] = 1
    return csr_array(whole.multiply(1 / total[:, None]))


def unwrapped(values: Tensor, surface: Tensor, chance: Tensor, grid: UvGrid) -> Tensor:
    """Maps of the picture (B, C, H, W) in UV space (B, N, C + 1), and how surely a texel is seen.

    surface: (B, 3, H, W) m, the place of the T-pose that a cell shows; chance: (B, H, W) to show
    the person. Unseen texels are 0.
    """
    rest = grid.rest.numpy()
    told = np.zeros((len(values), len(rest), values.shape[1] + 1), np.float32)
    for row in range(len(values)):
        shown = (chance[row] > SHOWN).numpy()
        if shown.any():
            cells = surface[row].numpy()[:, shown].T
            weight, said = chance[row].numpy()[shown], values[row].numpy()[:, shown].T
            told[row] = _laid_out(cells, weight, said, rest)
    return torch.from_numpy(told)


def _laid_out(cells: Array, chance: Array, values: Array, rest: Array) -> Array:
    """Values (M, C) of cells at places (M, 3) m, at places `rest` (N, 3), with their weight."""
    count = min(NEAREST, len(cells))
    away, near = KDTree(cells).query(rest, k=count, distance_upper_bound=REACH_M)
    away, near = away.reshape(-1, count), near.reshape(-1, count)
    reached = np.isfinite(away)
    near = np.where(reached, near, 0)
    weight = np.where(reached, np.exp(-((away / SPREAD_M) ** 2) / 2), 0) * chance[near]
    total = weight.sum(1, keepdims=True)
    mean = (weight[..., None] * values[near]).sum(1) / np.maximum(total, 1e-9)
    return np.concatenate([mean * (total > 1e-3), total.clip(0, 1)], 1)
