"""A character as artists make them: other limbs, other rest pose, bones that lie anyhow."""

import json
import struct
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT, SMPL, forward_kinematics
from hpsvid.formats.skin import INFLUENCES, linear_colours
from hpsvid.types import Array

A_POSE_DEG = 42.0  # by which the arms hang
UNIT = 0.01  # of the armature: its bones are in centimetres
_LEGS, _ARMS = (0.82, 0.82), 1.08  # of thigh and shank, of arms
_KNEES, _ANKLES = ([JOINT[f"{s}_{p}"] for s in ("left", "right")] for p in ("knee", "ankle"))
_ARM_JOINTS = [JOINT[f"{s}_{p}"] for s in ("left", "right") for p in ("elbow", "wrist")]


def rest_pose(body: Body, legs: tuple[float, float] = _LEGS) -> tuple[Array, Array]:
    """Joints (24, 3) m and global rotations (24, 3, 3) of the character's A-pose."""
    mean = body.rest_mean.double().numpy()
    rest = mean.copy()
    for joint in range(1, SMPL.n_rotations):
        share = _ARMS if joint in _ARM_JOINTS else 1.0
        share = legs[0] if joint in _KNEES else legs[1] if joint in _ANKLES else share
        parent = SMPL.parents[joint]
        rest[joint] = rest[parent] + share * (mean[joint] - mean[parent])
    rotmats = np.tile(np.eye(3), (SMPL.n_rotations, 1, 1))
    for name, sign in (("left_shoulder", -1), ("right_shoulder", 1)):
        rotmats[JOINT[name]] = Rotation.from_euler("z", sign * A_POSE_DEG, degrees=True).as_matrix()
    joints, turned = forward_kinematics(torch.from_numpy(rotmats), torch.from_numpy(rest))
    return joints.numpy()[: SMPL.n_rotations], turned.numpy()


def write_character(
    path: Path,
    body: Body,
    names: Sequence[str],
    *,
    facing_deg: float = 0.0,
    extensions: Mapping[str, Any] | None = None,
    skinned: bool = True,
    legs: tuple[float, float] = _LEGS,
) -> Path:
    """Write a .glb of the body with other proportions, its bones called `names` (24)."""
    joints, turned = rest_pose(body, legs)
    mean = body.rest_mean.double().numpy()[: SMPL.n_rotations]
    template, weights = body.template.double().numpy(), body.skin_weights.double().numpy()
    offset = joints - (turned @ mean[..., None])[..., 0]
    vertices = np.einsum("vj,jik,vk->vi", weights, turned, template) + weights @ offset
    low = vertices[:, 1].min()
    spin = Rotation.from_euler("y", facing_deg, degrees=True).as_matrix()
    vertices, joints = (vertices - [0, low, 0]) @ spin.T, (joints - [0, low, 0]) @ spin.T
    binary, views, accessors = bytearray(), [], []

    def store(values: Array, kind: int, shape: str, **more: Any) -> int:
        binary.extend(bytes(-len(binary) % 4))
        target = more.pop("target", None)
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": values.nbytes})
        if target:
            views[-1]["target"] = target
        binary.extend(values.tobytes())
        accessors.append({"bufferView": len(views) - 1, "componentType": kind,
                          "count": len(values), "type": shape, **more})  # fmt: skip
        return len(accessors) - 1

    # the armature lies on its back in centimetres, as Mixamo's and 3ds Max's do
    armature = np.eye(4)
    armature[:3, :3] = UNIT * Rotation.from_euler("x", -90, degrees=True).as_matrix()
    rng = np.random.default_rng(7)
    worlds = np.tile(np.eye(4), (SMPL.n_rotations, 1, 1))
    worlds[:, :3, :3] = (
        UNIT * Rotation.from_quat(rng.normal(size=(SMPL.n_rotations, 4))).as_matrix()
    )
    worlds[:, :3, 3] = joints
    nodes: list[dict[str, Any]] = [
        {"name": "Armature", "children": [1], "scale": [UNIT] * 3,
         "rotation": Rotation.from_euler("x", -90, degrees=True).as_quat().tolist()}
    ]  # fmt: skip
    for joint in range(SMPL.n_rotations):
        parent = SMPL.parents[joint]
        above = armature if parent < 0 else worlds[parent]
        local = np.linalg.inv(above) @ worlds[joint]
        children = [1 + c for c in SMPL.children[joint] if c < SMPL.n_rotations]
        nodes.append({"name": names[joint], "translation": local[:3, 3].tolist(),
                      "rotation": Rotation.from_matrix(local[:3, :3]).as_quat().tolist(),
                      **({"children": children} if children else {})})  # fmt: skip
    content: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "an artist", "copyright": "theirs"},
        "scene": 0, "scenes": [{"nodes": [0]}], "nodes": nodes,
    }  # fmt: skip
    if skinned:
        nodes.append({"name": "Body", "mesh": 0, "skin": 0})
        content["scenes"][0]["nodes"].append(len(nodes) - 1)
        most = np.argsort(-weights, 1, kind="stable")[:, :INFLUENCES]
        share = np.take_along_axis(weights, most, 1)
        share = (share / share.sum(1, keepdims=True)).astype("<f4")
        place = vertices.astype("<f4")
        attributes = {
            "POSITION": store(place, 5126, "VEC3", min=place.min(0).tolist(),
                              max=place.max(0).tolist(), target=34962),
            "COLOR_0": store(np.ascontiguousarray(linear_colours(body)[:, ::-1], "<f4"), 5126,
                             "VEC3", target=34962),
            "TEXCOORD_0": store(np.zeros((len(place), 2), "<f4"), 5126, "VEC2", target=34962),
            "JOINTS_0": store(np.where(share > 0, most, 0).astype("u1"), 5121, "VEC4",
                              target=34962),
            "WEIGHTS_0": store(share, 5126, "VEC4", target=34962),
        }  # fmt: skip
        indices = store(body.faces.reshape(-1).astype("<u2"), 5123, "SCALAR", target=34963)
        binds = np.linalg.inv(worlds).mT.reshape(-1, 16).astype("<f4")
        content["skins"] = [{"joints": list(range(1, 25)),
                             "inverseBindMatrices": store(binds, 5126, "MAT4")}]  # fmt: skip
        content["meshes"] = [{"primitives": [
            {"attributes": attributes, "indices": indices, "material": 0}]}]  # fmt: skip
        picture = BytesIO()
        Image.new("RGB", (2, 2), (255, 250, 240)).save(picture, "PNG")
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": picture.tell()})
        binary.extend(picture.getvalue())
        content |= {
            "images": [{"bufferView": len(views) - 1, "mimeType": "image/png"}],
            "textures": [{"source": 0}],
            "materials": [{"name": "cloth", "pbrMetallicRoughness": {
                "baseColorTexture": {"index": 0}, "metallicFactor": 0}}],
        }  # fmt: skip
        content |= {"accessors": accessors, "bufferViews": views,
                    "buffers": [{"byteLength": len(binary)}]}  # fmt: skip
    if extensions:
        content |= {"extensions": dict(extensions), "extensionsUsed": list(extensions)}
    text = json.dumps(content).encode()
    chunks = struct.pack("<II", len(text) + -len(text) % 4, 0x4E4F534A) + text
    chunks += b" " * (-len(text) % 4)
    if binary:
        chunks += struct.pack("<II", len(binary) + -len(binary) % 4, 0x004E4942) + bytes(binary)
        chunks += bytes(-len(binary) % 4)
    path.write_bytes(b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks)
    return path
