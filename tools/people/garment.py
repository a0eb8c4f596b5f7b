"""Read MakeHuman's clothes and hair: each vertex is placed by three vertices of the base mesh."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpsvid.errors import InputError
from hpsvid.types import Array
from tools.build_body.makehuman import METRES

_NUMBERS = re.compile(r"^-?[0-9.]")
_QUAD, _MATERIAL, _FACE_UV, _CORNER_UV = 1, 2, 4, 8  # bits of a face's kind, three.js JSON 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Garment:
    """An item as its files have it. V vertices, F triangles."""

    refs: Array  # (V, 3) base-mesh vertices
    weights: Array  # (V, 3) their shares
    offsets: Array  # (V, 3) added, in MakeHuman's decimetres before scaling
    # axis 0..2 -> two base vertices and their distance along it (dm) when the item was made
    scale: dict[int, tuple[int, int, float]]
    hidden: Array  # base vertices that the item covers
    faces: Array  # (F, 3)
    corners: Array  # (F, 3, 2) texture coordinates, origin at the lower left

    def placed(self, base: Array) -> Array:
        """Vertices (V, 3) m of the item on a base mesh in the A-pose, `base` (N, 3) m."""
        factor = np.ones(3)
        for axis, (one, other, distance) in self.scale.items():
            factor[axis] = abs(base[one, axis] - base[other, axis]) / METRES / distance
        middle = (base[self.refs] * self.weights[..., None]).sum(1)
        return middle + self.offsets * factor * METRES


def read_mhclo(path: Path) -> Garment:
    """A .mhclo file and the .obj that it names, beside it."""
    refs: list[list[int]] = []
    weights: list[list[float]] = []
    offsets: list[list[float]] = []
    scale, hidden, section, mesh = {}, [], "", path
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "obj_file":
            mesh = path.parent / words[1]
        elif words[0] in ("x_scale", "y_scale", "z_scale"):
            scale["xyz".index(words[0][0])] = (int(words[1]), int(words[2]), float(words[3]))
        elif words[0] in ("verts", "delete_verts"):
            section = words[0]
        elif not _NUMBERS.match(words[0]):
            continue
        elif section == "verts":
            single = len(words) == 1  # sits on one vertex
            refs.append([int(words[0])] * 3 if single else [int(w) for w in words[:3]])
            weights.append([1.0, 0, 0] if single else [float(w) for w in words[3:6]])
            offsets.append([float(w) for w in words[6:9]] if len(words) > 6 else [0.0, 0, 0])
        elif section == "delete_verts":
            hidden += _runs(words)
    count, faces, corners = _read_obj(mesh)
    if count != len(refs):
        raise InputError(f"{mesh}: has {count} vertices, {path.name} places {len(refs)}")
    return Garment(
        refs=np.array(refs),
        weights=np.array(weights, float),
        offsets=np.array(offsets, float),
        scale=scale,
        hidden=np.array(hidden, np.int64),
        faces=faces,
        corners=corners,
    )


def _runs(words: list[str]) -> list[int]:
    """The ids of a line such as `3 7 - 9`: single vertices and first - last runs."""
    ids, k = [], 0
    while k < len(words):
        if k + 2 < len(words) and words[k + 1] == "-":
            ids += range(int(words[k]), int(words[k + 2]) + 1)
            k += 3
        else:
            ids.append(int(words[k]))
            k += 1
    return ids


def _read_obj(path: Path) -> tuple[int, Array, Array]:
    """Vertex count, triangles (F, 3) and their texture coordinates (F, 3, 2)."""
    count, points = 0, [[0.0, 0.0]]
    faces, textures = [], []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        kind, *rest = line.split() or [""]
        if kind == "v":
            count += 1
        elif kind == "vt":
            points.append([float(x) for x in rest[:2]])
        elif kind == "f":
            ends = [corner.split("/") for corner in rest]
            vertex = [int(e[0]) - 1 for e in ends]
            point = [int(e[1]) if len(e) > 1 and e[1] else 0 for e in ends]
            for k in range(1, len(ends) - 1):
                faces.append([vertex[0], vertex[k], vertex[k + 1]])
                textures.append([point[0], point[k], point[k + 1]])
    return count, np.array(faces), np.array(points)[np.array(textures)]


def read_proxy_json(path: Path) -> Garment:
    """An item of the npm package: three.js JSON (version 3) with MakeHuman's fitting data."""
    data = json.loads(path.read_text())
    points = np.array(data["uvs"][0], float).reshape(-1, 2)
    faces, textures = _three_faces(data["faces"])
    refs = np.array(data["ref_vIdxs"])
    return Garment(
        refs=refs,
        weights=np.array(data["weights"], float),
        offsets=np.array(data["offsets"], float),
        scale={},
        hidden=np.zeros(0, np.int64),
        faces=np.array(faces),
        corners=points[np.array(textures)],
    )


def _three_faces(stream: list[int]) -> tuple[list[list[int]], list[list[int]]]:
    """Triangles and their texture points from three.js's packed faces."""
    faces, textures, k = [], [], 0
    while k < len(stream):
        kind = stream[k]
        if kind & _FACE_UV or not kind & _CORNER_UV or kind > 15:
            raise InputError(f"three.js face of kind {kind}: only textured corners are read")
        corners = 4 if kind & _QUAD else 3
        k += 1
        vertex = stream[k : k + corners]
        k += corners + bool(kind & _MATERIAL)
        point = stream[k : k + corners]
        k += corners
        for j in range(1, corners - 1):
            faces.append([vertex[0], vertex[j], vertex[j + 1]])
            textures.append([point[0], point[j], point[j + 1]])
    return faces, textures
