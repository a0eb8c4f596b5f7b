"""glTF 2.0 in one binary file (.glb): skinned, animated bodies, y up, metres.

The bind pose is the T-pose of the person's own shape, so bones carry rotations alone and the pelvis
a translation as well. The skin is linear: SMPL's pose-dependent bulges are left out, joints are
exact. Unless people are in place the file holds the clip's camera, and people stand where it saw
them. `extras` of the scene and of each person's node hold the rate, the person's id and the
clip's time at which the file starts.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hpsvid.body.atlas import atlas_of, texture_of
from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL
from hpsvid.common.files import written_whole
from hpsvid.formats.camera import camera_path, fields_of_view
from hpsvid.formats.figure import Figure, figures, refuse_overlap
from hpsvid.formats.rig import bone_names
from hpsvid.formats.skin import check_mesh, continuous_quaternions, linear_colours, skin_of
from hpsvid.options import ExportOptions, RigName
from hpsvid.types import Array, Motion

MAGIC = b"glTF"
GENERATOR = "hpsvid"
_VERSION = 2
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
_FLOAT, _UNSIGNED_INT, _UNSIGNED_SHORT, _UNSIGNED_BYTE = 5126, 5125, 5123, 5121
_VERTICES, _INDICES = 34962, 34963  # what a buffer view is for
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
_COMPONENTS = {"f4": _FLOAT, "u4": _UNSIGNED_INT, "u2": _UNSIGNED_SHORT, "u1": _UNSIGNED_BYTE}
_NEAR_M = 0.05  # of the camera; the nearest that a body is drawn
_QUALITY = 92  # of a texture's JPEG
_ABSENT, _PRESENT = 0.0, 1.0  # scale of a person's node


def write_glb(
    motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM_personNN.glb` for each person, or `STEM.glb` with all of them together.

    Raises InputError when the body is licensed and `options.licensed_mesh` does not allow to
    write it, or people in place would stand inside each other.
    """
    check_mesh(body, options)
    refuse_overlap(motion, options)
    everyone = figures(motion, body, options)
    if options.together:
        files = {out_dir / f"{stem}.glb": everyone}
    else:
        files = {out_dir / f"{stem}_person{figure.id:02d}.glb": [figure] for figure in everyone}
    for path, people in files.items():
        with written_whole(path) as stream:
            stream.write(glb_of(people, motion, body, options))
    return list(files)


def glb_of(people: Sequence[Figure], motion: Motion, body: Body, options: ExportOptions) -> bytes:
    """The bytes of a file that holds these people; its time starts with the first of them."""
    scene = _Scene(body=body, rig=options.rig, textured=options.look == "textured")
    start_s = min((figure.start_s for figure in people), default=0.0)
    end_s = max((figure.times_s[-1] for figure in people), default=0.0)
    for figure in people:
        scene.add(figure, start_s, end_s)
    if options.frame != "in-place":
        scene.add_camera(motion, options, start_s, end_s)
    fps = people[0].fps if people else float(motion.clip.fps)
    return scene.file({
        "fps": fps, "start_s": start_s, "frame": options.frame or "camera",
        "clip": motion.clip.path.name, "hpsvid_version": motion.provenance.hpsvid_version,
    })  # fmt: skip


@dataclass
class _Scene:
    """The parts of a glTF file as they are added."""

    body: Body
    rig: RigName
    textured: bool
    binary: bytearray = field(default_factory=bytearray)
    views: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    meshes: list[dict[str, Any]] = field(default_factory=list)
    materials: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    skins: list[dict[str, Any]] = field(default_factory=list)
    cameras: list[dict[str, Any]] = field(default_factory=list)
    channels: list[dict[str, Any]] = field(default_factory=list)
    samplers: list[dict[str, Any]] = field(default_factory=list)

    def add(self, figure: Figure, start_s: float, end_s: float) -> None:
        """A person: a node, the skeleton below it, the skinned mesh beside it, the motion."""
        name = f"person{figure.id:02d}"
        node = self._node({
            "name": name,
            "extras": {"person": figure.id, "fps": figure.fps, "start_s": figure.start_s},
        })  # fmt: skip
        joints = self._skeleton(figure)
        self.nodes[node]["children"] = [joints[0]]
        skin = self._skin(figure, joints, node)
        mesh = self._node({"name": f"{name}_body", "mesh": self._mesh(figure, name), "skin": skin})
        self.roots += [node, mesh]
        self._animate(figure, joints, figure.times_s - start_s)
        if (
            not figure.present.all()
            or len({figure.start_s, start_s}) == 2
            or (end_s - figure.times_s[-1] > 0.5 / figure.fps)
        ):
            self._hide_while_away(figure, node, start_s, end_s)

    def add_camera(
        self, motion: Motion, options: ExportOptions, start_s: float, end_s: float
    ) -> None:
        """The clip's camera; its principal point is taken as the picture's middle.

        It is at the origin in its own frame; in the world it moves as the clip's did.
        """
        across, upright = fields_of_view(motion)
        lens = {"yfov": upright, "aspectRatio": float(np.tan(across / 2) / np.tan(upright / 2))}
        self.cameras.append({"type": "perspective", "perspective": lens | {"znear": _NEAR_M}})
        node = self._node({"name": "camera", "camera": 0})
        self.roots.append(node)
        if options.frame != "world":
            return
        path = camera_path(motion, options, (start_s, end_s))
        turns = continuous_quaternions(path.turns[:, None])[:, 0]
        self.nodes[node] |= {"translation": path.places[0].tolist(), "rotation": turns[0].tolist()}
        if len(turns) > 1:
            times = self._bounded(path.times_s - start_s)
            self._channel(node, "translation", times, path.places)
            self._channel(node, "rotation", times, turns)

    def file(self, extras: dict[str, Any]) -> bytes:
        """The whole file."""
        content: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": GENERATOR},
            "scene": 0,
            "scenes": [{"name": "scene", "nodes": self.roots, "extras": extras}],
            "nodes": self.nodes,
            "cameras": self.cameras,
            "meshes": self.meshes,
            "materials": self.materials,
            "textures": [{"source": n, "sampler": 0} for n in range(len(self.images))],
            "images": self.images,
            "samplers": [_SAMPLER] if self.images else [],
            "skins": self.skins,
            "animations": [
                {"name": "motion", "channels": self.channels, "samplers": self.samplers}
            ] if self.channels else [],
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.binary)}] if self.binary else [],
        }  # fmt: skip
        text = json.dumps(
            {key: value for key, value in content.items() if value != []}, separators=(",", ":")
        ).encode()
        chunks = b"".join(
            struct.pack("<II", len(data), kind) + data
            for kind, data in (
                (_JSON_CHUNK, text + b" " * (-len(text) % 4)),
                (_BINARY_CHUNK, bytes(self.binary)),
            )
            if data
        )
        return MAGIC + struct.pack("<II", _VERSION, 12 + len(chunks)) + chunks

    def _node(self, node: dict[str, Any]) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _store(self, values: Array, kind: str, *, use: int | None = None, **more: Any) -> int:
        """An accessor of values (N,) or (N, C) in dtype `kind`, such as f4."""
        data = np.ascontiguousarray(values, f"<{kind}")
        view: dict[str, Any] = {
            "buffer": 0, "byteOffset": len(self.binary), "byteLength": data.nbytes
        }  # fmt: skip
        if use is not None:
            view["target"] = use
        self.views.append(view)
        self.binary += data.tobytes() + bytes(-data.nbytes % 4)
        self.accessors.append({
            "bufferView": len(self.views) - 1,
            "componentType": _COMPONENTS[kind],
            "count": len(data),
            "type": _TYPES[data[0].size],
            **more,
        })  # fmt: skip
        return len(self.accessors) - 1

    def _bounded(self, values: Array, *, use: int | None = None) -> int:
        """An accessor of floats that states their least and greatest values, as some must."""
        data = np.asarray(values, np.float32).reshape(len(values), -1)
        bounds = {"min": data.min(0).tolist(), "max": data.max(0).tolist()}
        return self._store(np.asarray(values, np.float32), "f4", use=use, **bounds)

    def _skeleton(self, figure: Figure) -> list[int]:
        """A node for each of the 29 joints, in the T-pose; their numbers in SMPL's order."""
        names, first = bone_names(self.rig), len(self.nodes)
        for joint, (name, parent) in enumerate(zip(names, SMPL.parents, strict=True)):
            place = figure.rest[joint] - figure.rest[parent] if parent >= 0 else figure.rest[0]
            node: dict[str, Any] = {"name": name, "translation": place.tolist()}
            if children := [first + child for child in SMPL.children[joint]]:
                node["children"] = children
            self._node(node)
        return list(range(first, first + len(names)))

    def _skin(self, figure: Figure, joints: list[int], root: int) -> int:
        """The skin: inverse bind matrices (29, 4, 4), column-major, undo the rest pose's places."""
        matrices = np.tile(np.eye(4), (len(joints), 1, 1))
        matrices[:, 3, :3] = -figure.rest
        self.skins.append({
            "joints": joints,
            "skeleton": root,
            "inverseBindMatrices": self._store(matrices.reshape(-1, 16), "f4"),
        })  # fmt: skip
        return len(self.skins) - 1

    def _mesh(self, figure: Figure, name: str) -> int:
        """The body in its own shape, in the T-pose, in its suit or with the person's texture."""
        skin, faces = skin_of(figure, self.body), self.body.faces
        owners, look = np.arange(len(skin.vertices)), {}
        if self.textured:
            atlas = atlas_of(self.body)
            owners, faces = atlas.owners(faces), atlas.uv_faces  # split along the layout's seams
            points = np.c_[atlas.uv[:, 0], 1 - atlas.uv[:, 1]]  # from the upper left
            look["TEXCOORD_0"] = self._store(points, "f4", use=_VERTICES)
        else:
            colours = np.round(np.c_[linear_colours(self.body), np.ones(len(owners))] * 65535)
            look["COLOR_0"] = self._store(colours, "u2", use=_VERTICES, normalized=True)
        indices = "u2" if len(owners) < 1 << 16 else "u4"
        self.meshes.append({
            "name": name,
            "primitives": [{
                "attributes": {
                    "POSITION": self._bounded(skin.vertices[owners], use=_VERTICES),
                    "NORMAL": self._store(skin.normals[owners], "f4", use=_VERTICES),
                    **look,
                    "JOINTS_0": self._store(skin.joints[owners], "u1", use=_VERTICES),
                    "WEIGHTS_0": self._store(skin.weights[owners], "f4", use=_VERTICES),
                },
                "indices": self._store(faces.reshape(-1), indices, use=_INDICES),
                "material": self._material(figure, name),
            }],
        })  # fmt: skip
        return len(self.meshes) - 1

    def _material(self, figure: Figure, name: str) -> int:
        """The suit's, which all share, or one that shows the person's texture."""
        if not self.textured:
            self.materials = self.materials or [_MATERIAL]
            return 0
        texture = texture_of(figure.person).rgb
        _, encoded = cv2.imencode(".jpg", texture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        data = encoded.tobytes()
        self.views.append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)})
        self.binary += data + bytes(-len(data) % 4)
        self.images.append(
            {"name": name, "mimeType": "image/jpeg", "bufferView": len(self.views) - 1}
        )
        shading = {**_MATERIAL["pbrMetallicRoughness"], "roughnessFactor": 1,
                   "baseColorTexture": {"index": len(self.images) - 1}}  # fmt: skip
        self.materials.append({"name": name, "pbrMetallicRoughness": shading})
        return len(self.materials) - 1

    def _animate(self, figure: Figure, joints: list[int], times_s: Array) -> None:
        """The pelvis's way and the 24 rotations at these times (T,) of the file."""
        times = self._bounded(times_s)
        self._channel(joints[0], "translation", times, figure.pelvis)
        quaternions = continuous_quaternions(figure.rotmats)
        for joint in range(SMPL.n_rotations):
            self._channel(joints[joint], "rotation", times, quaternions[:, joint])

    def _hide_while_away(self, figure: Figure, node: int, start_s: float, end_s: float) -> None:
        """Shrink a person to nothing while the others move and they are not in the clip."""
        times, present = figure.times_s - start_s, figure.present
        if times[0] > 0:
            times, present = np.append(0, times), np.append(False, present)
        if end_s - start_s - times[-1] > 0.5 / figure.fps:
            times = np.append(times, times[-1] + 1 / figure.fps)
            present = np.append(present, False)
        kept = np.append(True, present[1:] != present[:-1])  # the moments of change
        sizes = np.where(present[kept, None], _PRESENT, _ABSENT) * np.ones(3)
        self._channel(node, "scale", self._bounded(times[kept]), sizes, "STEP")

    def _channel(
        self, node: int, path: str, times: int, values: Array, interpolation: str = "LINEAR"
    ) -> None:
        self.channels.append(
            {"sampler": len(self.samplers), "target": {"node": node, "path": path}}
        )
        sampler = {"input": times, "output": self._store(values, "f4")}
        self.samplers.append(
            sampler if interpolation == "LINEAR" else {**sampler, "interpolation": interpolation}
        )


_SAMPLER = {"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}  # linear, clamped
_MATERIAL: dict[str, Any] = {
    "name": "suit",
    "pbrMetallicRoughness": {
        "baseColorFactor": [1, 1, 1, 1], "metallicFactor": 0, "roughnessFactor": 0.75,
    },
}  # fmt: skip
