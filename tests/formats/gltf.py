"""A reader of .glb files by the specification alone: nodes, animation, skin."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from hpsvid.types import Array

_DTYPES = {5126: "<f4", 5125: "<u4", 5123: "<u2", 5121: "u1"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    """The file's JSON as `content`; arrays, joints and vertices at a time."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        magic, version, length = struct.unpack("<4sII", data[:12])
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack("<I4s", data[12:20])
        assert kind == b"JSON"
        self.content: dict[str, Any] = json.loads(data[20 : 20 + size])
        self.binary = data[28 + size :]

    def array(self, index: int) -> Array:
        """An accessor's values."""
        accessor = self.content["accessors"][index]
        view = self.content["bufferViews"][accessor["bufferView"]]
        width = _WIDTHS[accessor["type"]]
        values = np.frombuffer(
            self.binary, _DTYPES[accessor["componentType"]], accessor["count"] * width,
            view["byteOffset"],
        )  # fmt: skip
        return values.reshape(-1, width)

    def globals_at(self, time_s: float) -> Array:
        """World matrices (N, 4, 4) of all nodes at a time of the animation."""
        nodes = self.content["nodes"]
        local = [
            {"translation": [0, 0, 0], "rotation": [0, 0, 0, 1], "scale": [1, 1, 1], **node}
            for node in nodes
        ]  # fmt: skip
        (animation,) = self.content["animations"]
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            times, values = self.array(sampler["input"])[:, 0], self.array(sampler["output"])
            path = channel["target"]["path"]
            at = np.clip(time_s, times[0], times[-1])
            if sampler.get("interpolation") == "STEP":
                value = values[np.searchsorted(times, at, side="right") - 1]
            elif path == "rotation" and len(times) > 1:
                value = Slerp(times, Rotation.from_quat(values))([at]).as_quat()[0]
            else:
                value = [np.interp(at, times, column) for column in values.T]
            local[channel["target"]["node"]][path] = value
        worlds = np.tile(np.eye(4), (len(nodes), 1, 1))

        def place(node: int, parent: Array) -> None:
            own = np.eye(4)
            own[:3, :3] = Rotation.from_quat(local[node]["rotation"]).as_matrix()
            own[:3, :3] *= local[node]["scale"]
            own[:3, 3] = local[node]["translation"]
            worlds[node] = parent @ own
            for child in nodes[node].get("children", ()):
                place(child, worlds[node])

        for root in self.content["scenes"][0]["nodes"]:
            place(root, np.eye(4))
        return worlds

    def joints_at(self, skin: int, time_s: float) -> Array:
        """Places (J, 3) of a skin's joints."""
        return self.globals_at(time_s)[self.content["skins"][skin]["joints"], :3, 3]

    def vertices_at(self, skin: int, time_s: float) -> Array:
        """Skinned vertices (V, 3) of the mesh that has this skin."""
        mesh = next(node["mesh"] for node in self.content["nodes"] if node.get("skin") == skin)
        attributes = self.content["meshes"][mesh]["primitives"][0]["attributes"]
        position, joints, weights = (
            self.array(attributes[name]) for name in ("POSITION", "JOINTS_0", "WEIGHTS_0")
        )
        row = self.content["skins"][skin]
        binds = self.array(row["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        moved = self.globals_at(time_s)[row["joints"]] @ binds
        blended = (weights[..., None, None] * moved[joints]).sum(1)
        return (blended @ np.c_[position, np.ones(len(position))][..., None])[:, :3, 0]
