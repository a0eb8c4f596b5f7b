"""A character in a .glb or .vrm: its nodes at rest, its skin, and the file with a motion added.

Nothing of the file is changed but its buffer's length and what names its maker: the motion's
numbers are put behind its own, its accessors and its animation beside the others.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from hpsvid.common.files import parse_json, regular_file
from hpsvid.errors import InputError, one_line
from hpsvid.types import Array

_MAX_BYTES = 512 << 20
_MAX_NODES = 20_000
_JSON, _BINARY = 0x4E4F534A, 0x004E4942
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


@dataclass(frozen=True, kw_only=True, eq=False)
class Character:
    """A file's JSON and its binary part; matrices (4, 4) act on columns, places in scene units."""

    content: dict[str, Any]
    binary: bytes

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """The nodes as the file has them."""
        return self.content.get("nodes", [])

    @property
    def names(self) -> list[str]:
        """The nodes' names, "" for none."""
        return [str(node.get("name", "")) for node in self.nodes]

    @cached_property
    def parents(self) -> list[int]:
        """Each node's parent, -1 for none. Raises ValueError when they are no trees."""
        parents = [-1] * len(self.nodes)
        for node, values in enumerate(self.nodes):
            for child in values.get("children", ()):
                if parents[child] != -1 or child == node:
                    raise ValueError("a node has two parents")
                parents[child] = node
        return parents

    @cached_property
    def order(self) -> list[int]:
        """The nodes, parents first."""
        order = [node for node, parent in enumerate(self.parents) if parent < 0]
        for node in order:
            order.extend(self.nodes[node].get("children", ()))
        if len(order) != len(self.nodes):
            raise ValueError("its nodes hang in a circle")
        return order

    @cached_property
    def rest(self) -> Array:
        """Each node's matrix (N, 4, 4) in the scene, as the file stands without an animation."""
        matrices = np.tile(np.eye(4), (len(self.nodes), 1, 1))
        for node in self.order:
            parent = self.parents[node]
            above = matrices[parent] if parent >= 0 else np.eye(4)
            matrices[node] = above @ local_matrix(self.nodes[node])
        if not np.isfinite(matrices).all():
            raise ValueError("places that are no numbers")
        return matrices

    def array(self, index: int) -> Array:
        """The values (N, width) of an accessor. Raises for what lies elsewhere or is packed."""
        accessor = self.content["accessors"][index]
        if "sparse" in accessor:
            raise ValueError("sparse")
        view = self.content["bufferViews"][accessor["bufferView"]]
        dtype = np.dtype(_COMPONENTS[accessor["componentType"]])
        width, count = _WIDTHS[accessor["type"]], int(accessor["count"])
        stride = int(view.get("byteStride", 0)) or width * dtype.itemsize
        start = int(view.get("byteOffset", 0)) + int(accessor.get("byteOffset", 0))
        if start + (count - 1) * stride + width * dtype.itemsize > len(self.binary):
            raise ValueError("an accessor beyond the file")
        values = np.ndarray((count, width), dtype, self.binary, start, (stride, dtype.itemsize))
        if accessor.get("normalized") and dtype.kind == "u":
            return values / np.float64(np.iinfo(dtype).max)
        return values

    def skinned(self) -> Iterator[tuple[Array, Array]]:
        """Of each skinned mesh the vertices (V, 3) at rest, and each one's heaviest node (V,)."""
        for node in self.nodes:
            if "mesh" not in node or "skin" not in node:
                continue
            skin = self.content["skins"][node["skin"]]
            joints = np.array(skin["joints"], np.int64)
            binds = np.tile(np.eye(4), (len(joints), 1, 1))
            if "inverseBindMatrices" in skin:
                flat = self.array(skin["inverseBindMatrices"]).astype(np.float64)
                binds = flat.reshape(-1, 4, 4).mT
            moved = self.rest[joints] @ binds
            for primitive in self.content["meshes"][node["mesh"]]["primitives"]:
                if "extensions" in primitive and "KHR_draco_mesh_compression" in str(
                    primitive["extensions"]
                ):
                    raise ValueError("packed by Draco")
                attributes = primitive["attributes"]
                place, which, weight = (
                    self.array(attributes[name]) for name in ("POSITION", "JOINTS_0", "WEIGHTS_0")
                )
                blended = np.einsum("vi,vijk->vjk", weight.astype(np.float64), moved[which])
                point = np.c_[place.astype(np.float64), np.ones(len(place))]
                vertices = (blended @ point[..., None])[:, :3, 0]
                heaviest = np.take_along_axis(which, weight.argmax(1)[:, None], 1)[:, 0]
                yield vertices, joints[heaviest]


def read_character(path: Path) -> Character:
    """Read a .glb or .vrm. Raises InputError when it is none, or damaged."""
    if path.suffix.lower() not in (".glb", ".vrm"):
        raise InputError(f"{path}: suffix {path.suffix!r}; expected a character as .glb or .vrm")
    if regular_file(path).stat().st_size > _MAX_BYTES:
        raise InputError(f"{path}: over {_MAX_BYTES >> 20} MiB")
    try:
        character = _parsed(path.read_bytes())
        if not 0 < len(character.rest) <= _MAX_NODES:
            raise ValueError(f"{len(character.nodes)} nodes")
    except InputError:
        raise
    except Exception as error:  # any value may stand where another should
        raise InputError(
            f"{path}: not a readable .glb ({type(error).__name__}: {one_line(error)[:120]})"
        ) from error
    return character


def _parsed(data: bytes) -> Character:
    if data[:4] != b"glTF" or struct.unpack("<I", data[4:8])[0] != 2:
        raise ValueError("no glTF 2.0")
    parts, at = {}, 12
    while at + 8 <= len(data):
        size, kind = struct.unpack("<II", data[at : at + 8])
        parts.setdefault(kind, data[at + 8 : at + 8 + size])
        if len(data) < at + 8 + size:
            raise ValueError("it ends too soon")
        at += 8 + size
    content = parse_json(parts[_JSON].decode("utf-8"))
    buffers = content.get("buffers", [])
    if any("uri" in buffer for buffer in buffers):
        raise ValueError("it keeps its geometry in other files; export it as one .glb")
    return Character(content=dict(content), binary=parts.get(_BINARY, b""))


def local_matrix(node: dict[str, Any]) -> Array:
    """A node's own matrix (4, 4)."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    turn = Rotation.from_quat(node.get("rotation", [0, 0, 0, 1])).as_matrix()
    matrix[:3, :3] = turn * np.array(node.get("scale", [1, 1, 1]), np.float64)
    matrix[:3, 3] = node.get("translation", [0, 0, 0])
    return matrix


def rotation_of(matrices: Array) -> Array:
    """The rotation in matrices (..., 4, 4) that scale as well; mirrored ones are not."""
    turns = matrices[..., :3, :3]
    return turns / np.linalg.norm(turns, axis=-2, keepdims=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curves:
    """A motion of some nodes, in their parents' axes."""

    times_s: Array  # (T,) from 0
    rotations: dict[int, Array]  # node -> quaternions (T, 4) x, y, z, w
    translations: dict[int, Array]  # node -> places (T, 3)


def with_motion(character: Character, curves: Curves, maker: str, extras: dict[str, Any]) -> bytes:
    """The file's bytes with an animation `maker`, the first of its animations."""
    content = {**character.content}
    binary = bytearray(character.binary)
    views, accessors = list(content.get("bufferViews", [])), list(content.get("accessors", []))
    nodes = [dict(node) for node in character.nodes]
    channels: list[dict[str, Any]] = []
    samplers: list[dict[str, Any]] = []

    def store(values: Array, kind: str, **more: Any) -> int:
        binary.extend(bytes(-len(binary) % 4))
        data = np.ascontiguousarray(values, "<f4")
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": data.nbytes})
        binary.extend(data.tobytes())
        accessors.append({
            "bufferView": len(views) - 1, "componentType": 5126, "count": len(data), "type": kind,
            **more,
        })  # fmt: skip
        return len(accessors) - 1

    times = np.asarray(curves.times_s, np.float32)
    clock = store(times, "SCALAR", min=[float(times[0])], max=[float(times[-1])])
    for path, kind, curve in (
        ("translation", "VEC3", curves.translations),
        ("rotation", "VEC4", curves.rotations),
    ):
        for node, values in curve.items():
            nodes[node] = _in_parts(nodes[node])
            channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
            samplers.append({"input": clock, "output": store(values, kind)})
    motion = {"name": maker, "channels": channels, "samplers": samplers, "extras": extras}
    asset = {key: value for key, value in content.get("asset", {}).items() if key != "version"}
    made_by = {"character": asset.pop("generator", None)}
    content.update(
        nodes=nodes,
        bufferViews=views,
        accessors=accessors,
        animations=[motion, *content.get("animations", [])],
        buffers=[{**(content.get("buffers") or [{}])[0], "byteLength": len(binary)}],
    )
    head = {"version": "2.0", "generator": maker, **asset}
    if made_by["character"] is not None:
        head["extras"] = {**asset.get("extras", {}), **made_by}
    content = {"asset": head, **{key: v for key, v in content.items() if key != "asset"}}
    return _packed(content, bytes(binary))


def _in_parts(node: dict[str, Any]) -> dict[str, Any]:
    """A node whose matrix, which may not be animated, is translation, rotation and scale."""
    if "matrix" not in node:
        return node
    matrix = local_matrix(node)
    parts = {key: value for key, value in node.items() if key != "matrix"}
    parts["translation"] = matrix[:3, 3].tolist()
    parts["rotation"] = Rotation.from_matrix(rotation_of(matrix)).as_quat().tolist()
    parts["scale"] = np.linalg.norm(matrix[:3, :3], axis=0).tolist()
    return parts


def _packed(content: dict[str, Any], binary: bytes) -> bytes:
    import json

    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    chunks = b"".join(
        struct.pack("<II", len(data), kind) + data
        for kind, data in (
            (_JSON, text + b" " * (-len(text) % 4)),
            (_BINARY, binary + bytes(-len(binary) % 4)),
        )
    )
    return b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks
