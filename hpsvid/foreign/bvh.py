"""Biovision hierarchy files (.bvh) of any humanoid skeleton whose bones can be told by name.

The file's rest pose (all angles 0) is brought to SMPL's T-pose (`hpsvid.character.alignment`); the
way is scaled by the legs' lengths, as BVH has no unit. Where its bones are those of the loaded
body, as in hpsvid's own exports, the shape is found from them.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL
from hpsvid.character.alignment import alignments, by_joint, leg_length
from hpsvid.character.names import find_bones
from hpsvid.common.files import regular_file
from hpsvid.errors import InputError
from hpsvid.foreign.people import MOST_FRAMES, ForeignPerson, ForeignResult, Placed
from hpsvid.options import MAX_FPS
from hpsvid.types import N_BETAS, Array

TOOL = "a .bvh"
_MAX_BYTES = 512 << 20
_MAX_JOINTS = 1000
_MAX_VALUES = 50_000_000  # joints times frames
_UNITS_M = (1.0, 0.01, 0.001, 0.0254, 0.0254 / 0.45)  # m, cm, mm, inches, and CMU's
_LEG_M = 0.8  # about a leg from hip to ankle, for the unit
_RIDGE = 1e-9  # m^2: betas where a body's bones leave them free
_SAME_BODY_M = 0.002  # bones that differ by less are the loaded body's
_Z_TO_Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


@dataclass(slots=True)
class _Bone:
    name: str
    parent: int
    offset: list[float] = field(default_factory=lambda: [0.0] * 3)
    channels: list[str] = field(default_factory=list)


def read(path: Path, body: Body) -> ForeignResult:
    """The motion. Raises InputError when it is no BVH, or a bone that is needed is not found."""
    if regular_file(path).stat().st_size > _MAX_BYTES:
        raise InputError(f"{path}: over {_MAX_BYTES >> 20} MiB")
    text = path.read_text(encoding="utf-8", errors="replace")
    head, found, motion = text.partition("MOTION")
    if not head.lstrip().startswith("HIERARCHY") or not found:
        raise InputError(f"{path}: has no HIERARCHY and MOTION; expected a .bvh")
    try:
        bones = _hierarchy(head)
        fps, values = _values(motion, sum(len(bone.channels) for bone in bones))
        return _result(bones, values, fps, body)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except ValueError as error:
        raise InputError(f"{path}: not a whole .bvh ({error})") from error


def _hierarchy(text: str) -> list[_Bone]:
    """The bones, parents first; End Sites are bones without channels."""
    words = iter(text.split()[1:])
    bones: list[_Bone] = []
    open_bones: list[int] = []
    for word in words:
        if word in ("ROOT", "JOINT", "End"):
            name = next(words, "")
            parent = open_bones[-1] if open_bones else -1
            if word == "End":
                name = f"{bones[parent].name}_end"
            bones.append(_Bone(name, parent))
            if len(bones) > _MAX_JOINTS:
                raise ValueError(f"over {_MAX_JOINTS} joints")
        elif word == "{":
            open_bones.append(len(bones) - 1)
        elif word == "}":
            open_bones.pop() if open_bones else None
        elif word == "OFFSET" and bones:
            bones[-1].offset = [float(next(words, "nan")) for _ in range(3)]
        elif word == "CHANNELS" and bones:
            count = int(next(words, "0"))
            bones[-1].channels = [next(words, "") for _ in range(min(count, 6))]
    if not bones or not np.isfinite([bone.offset for bone in bones]).all():
        raise ValueError("a HIERARCHY without joints, or without their offsets")
    return bones


def _values(text: str, width: int) -> tuple[float, Array]:
    """The rate in Hz, and the channels' values (T, width)."""
    match = re.search(r"Frames:\s*(\d{1,9})\s+Frame Time:\s*([\d.eE+-]{1,30})\s", text)
    if match is None:
        raise ValueError("no `Frames:` and `Frame Time:`")
    count, step = int(match[1]), float(match[2])
    if not 1 / MAX_FPS <= step <= 1000 or not 0 < count <= MOST_FRAMES:
        raise ValueError(f"{count} frames of {step:g} s")
    values = np.array(text[match.end() :].split(), np.float64)
    if len(values) == (count + 1) * width:  # some programs leave the rest frame uncounted
        count += 1
    if len(values) != count * width or not np.isfinite(values).all():
        raise ValueError(f"{len(values)} values, expected {count} frames of {width} channels")
    return round(1 / step, 3), values.reshape(count, width)


def _result(bones: list[_Bone], values: Array, fps: float, body: Body) -> ForeignResult:
    if len(bones) * len(values) > _MAX_VALUES:
        raise ValueError(f"{len(bones)} joints in {len(values)} frames")
    found = find_bones([bone.name for bone in bones], [bone.parent for bone in bones])
    still = np.zeros((1, values.shape[1]))
    rest_places = _posed(bones, still, resting=True)[0][0]
    places, turns = _posed(bones, values)
    up = _z_up(rest_places, found)
    unit = _unit({joint: rest_places[bone] for joint, bone in found.items()})
    rest = {joint: up @ rest_places[bone] * unit for joint, bone in found.items()}
    betas = _shape(rest, body)
    own = body.rest_joints(torch.from_numpy(betas)).double().numpy()
    if not _same(rest, own):
        betas = np.zeros(N_BETAS, np.float32)
        own = body.rest_joints(torch.from_numpy(betas)).double().numpy()
    scale = leg_length(by_joint(own)) / leg_length(rest)
    aligned = {j: np.eye(3) for j in rest} if betas.any() else alignments(rest, own)
    turned = np.zeros((len(values), SMPL.n_rotations, 3, 3))
    for joint in range(SMPL.n_rotations):  # parents first
        if joint in found:
            turned[:, joint] = up @ turns[:, found[joint]] @ up.T @ aligned[joint].T
        else:
            turned[:, joint] = turned[:, SMPL.parents[joint]]
    rotmats = turned.copy()
    for joint in range(1, SMPL.n_rotations):
        rotmats[:, joint] = turned[:, SMPL.parents[joint]].mT @ turned[:, joint]
    pelvis = places[:, found[0]] @ up.T * unit * scale
    person = ForeignPerson(
        id=0, frame_index=np.arange(len(values)), rotmats=rotmats, betas=betas, camera=None,
        world=Placed(root=rotmats[:, 0], pelvis=pelvis),
    )  # fmt: skip
    return ForeignResult(tool=TOOL, people=[person], fps=fps)


def _posed(bones: list[_Bone], values: Array, *, resting: bool = False) -> tuple[Array, Array]:
    """Places (T, N, 3) and global rotations (T, N, 3, 3); resting: at their offsets."""
    count = len(values)
    places, turns = np.zeros((count, len(bones), 3)), np.zeros((count, len(bones), 3, 3))
    first = 0
    for i, bone in enumerate(bones):
        own = values[:, first : first + len(bone.channels)]
        first += len(bone.channels)
        local = np.tile(bone.offset, (count, 1))
        axes, angles = "", []
        for channel, column in zip(bone.channels, own.T, strict=True):
            axis = channel[:1].upper()
            if axis not in "XYZ" or channel[1:].lower() not in ("position", "rotation"):
                raise ValueError(f"the channel {channel[:20]!r}")
            if channel[1:].lower() == "rotation":
                axes, angles = axes + axis, [*angles, column]
            elif not resting and (bone.parent < 0 or own.any()):
                local[:, "XYZ".index(axis)] = column
        turn = np.tile(np.eye(3), (count, 1, 1))
        if axes:
            turn = Rotation.from_euler(axes, np.stack(angles, -1), degrees=True).as_matrix()
        if bone.parent < 0:
            places[:, i], turns[:, i] = local, turn
        else:
            above = turns[:, bone.parent]
            places[:, i] = places[:, bone.parent] + (above @ local[..., None])[..., 0]
            turns[:, i] = above @ turn
    return places, turns


def _z_up(places: Array, found: dict[int, int]) -> Array:
    """Rotation (3, 3) to y up: a skeleton that rests on its back stands along z."""
    up = places[found[16]] + places[found[17]] - places[found[7]] - places[found[8]]
    return _Z_TO_Y_UP if abs(up[2]) > abs(up[1]) else np.eye(3)


def _unit(rest: dict[int, Array]) -> float:
    """Metres a unit, for legs of about human length."""
    length = leg_length(rest)
    return min(_UNITS_M, key=lambda unit: abs(np.log(length * unit / _LEG_M)))


def _bone_vectors(rest: dict[int, Array]) -> Array:
    pairs = [(j, SMPL.parents[j]) for j in range(1, SMPL.n_rotations)]
    return np.concatenate([rest[j] - rest[p] for j, p in pairs if j in rest and p in rest])


def _shape(rest: dict[int, Array], body: Body) -> Array:
    """Betas (B,) whose bones are nearest to a rest pose."""
    mean = {j: body.rest_mean[j].double().numpy() for j in rest}
    dirs = {j: body.rest_dirs[j].double().numpy() for j in rest}
    matrix, wanted = _bone_vectors(dirs), _bone_vectors(rest) - _bone_vectors(mean)
    normal = matrix.T @ matrix + _RIDGE * np.eye(matrix.shape[1])
    return np.linalg.solve(normal, matrix.T @ wanted).astype(np.float32)


def _same(rest: dict[int, Array], own: Array) -> bool:
    """Whether a rest pose's bones are those of the loaded body."""
    if len(rest) < SMPL.n_rotations:
        return False
    return bool(np.abs(_bone_vectors(rest) - _bone_vectors(by_joint(own))).max() < _SAME_BODY_M)
