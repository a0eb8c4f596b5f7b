"""What is drawn: triangles with texture coordinates, and the pictures that they show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hpsvid.types import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """A picture and how it takes the light."""

    picture: Array  # (H, W, 4) uint8 sRGB and opacity
    normals: Array | None = None  # (H, W, 3 or 4) uint8 tangent-space normal map
    cut_out: bool = False  # texels of opacity below half are holes
    shine: float = 0.03  # specular share (0..1)
    gloss: float = 20.0  # Blinn-Phong exponent


class Surface(NamedTuple):
    """F textured triangles over vertices kept elsewhere; M materials packed in one array.

    A named tuple, as compiled loops take it.
    """

    faces: Array  # (F, 3) int64
    corners: Array  # (F, 3, 2) float32 texture coordinates, origin at the lower left
    material: Array  # (F,) int64
    texels: Array  # (N, 4) uint8, every material's pictures one after the other
    # (M, 4) int64: first texel of the colours, width, height, first texel of the normals or -1
    maps: Array
    traits: Array  # (M, 3) float64: cut out (0 or 1), shine, gloss


def pack(faces: Array, corners: Array, material: Array, materials: Sequence[Material]) -> Surface:
    """A surface of the `materials` that `material` (F,) numbers."""
    texels, maps, traits, place = [], [], [], 0
    for one in materials:
        height, width = one.picture.shape[:2]
        row = [place, width, height, -1]
        texels.append(one.picture.reshape(-1, 4))
        place += width * height
        if one.normals is not None:
            if one.normals.shape[:2] != (height, width):
                raise ValueError("a normal map must have its picture's size")
            row[3] = place
            flat = np.full((height * width, 4), 255, np.uint8)
            flat[:, :3] = one.normals[..., :3].reshape(-1, 3)
            texels.append(flat)
            place += width * height
        maps.append(row)
        traits.append([float(one.cut_out), one.shine, one.gloss])
    return Surface(
        faces=np.ascontiguousarray(faces, np.int64),
        corners=np.ascontiguousarray(corners, np.float32),
        material=np.ascontiguousarray(material, np.int64),
        texels=np.concatenate(texels),
        maps=np.array(maps, np.int64),
        traits=np.array(traits, np.float64),
    )


def join(surfaces: Sequence[Surface], vertex_counts: Sequence[int]) -> tuple[Surface, Array]:
    """Several surfaces as one over their vertices one after the other; and whose each face is.

    vertex_counts: of each surface's vertices. Returns the surface and (F,) int64.
    """
    vertex = np.cumsum([0, *vertex_counts])
    material = np.cumsum([0, *(len(s.maps) for s in surfaces)])
    texel = np.cumsum([0, *(len(s.texels) for s in surfaces)])
    moved = []
    for k, surface in enumerate(surfaces):
        maps = surface.maps.copy()
        maps[:, 0] += texel[k]
        maps[maps[:, 3] >= 0, 3] += texel[k]
        moved.append(
            surface._replace(
                faces=surface.faces + vertex[k],
                material=surface.material + material[k],
                maps=maps,
            )
        )
    whole = Surface(*(np.concatenate(arrays) for arrays in zip(*moved, strict=True)))
    return whole, np.repeat(np.arange(len(moved)), [len(s.faces) for s in moved])
