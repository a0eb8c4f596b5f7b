"""A person's motion on a character: turned by the difference of rest poses, on its own feet.

The way is scaled by the legs' lengths, and each moment the character's lower sole is as high as the
person's, scaled as much: feet neither sink in nor float, and planted ones do not slide. The mesh's
own vertices say where its soles are; without a skin that can be read, its ankles and toes do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpsvid.body.hinges import HINGES
from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT, SMPL
from hpsvid.character.alignment import alignments, by_joint, facing, leg_length
from hpsvid.character.gltf import Character, Curves, read_character, rotation_of
from hpsvid.character.names import find_bones, mapped_bones
from hpsvid.common.files import read_json, regular_file
from hpsvid.errors import InputError, one_line
from hpsvid.formats.figure import Figure
from hpsvid.formats.rig import RIGS
from hpsvid.formats.skin import continuous_quaternions
from hpsvid.motion.feet import CONTACT_POINTS, standing_heights
from hpsvid.motion.lock import PLANTED, bent_leg, held_moves
from hpsvid.types import Array

_SOLE_SHARE = 0.02  # of the leg's length: vertices this near to the lowest are of the sole
_MAX_MAPPING_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Rig:
    """A character's bones, found."""

    name: str  # of its file
    character: Character
    bones: dict[int, int]  # SMPL's joint -> node
    soles: tuple[tuple[int, Array], ...]  # joint that carries it, and its place (3,) at rest

    @property
    def places(self) -> dict[int, Array]:
        """Where the bones start at rest, (3,) by joint."""
        return {joint: self.character.rest[node][:3, 3] for joint, node in self.bones.items()}


def read_rig(path: Path, mapping: Path | None) -> Rig:
    """A character's file with its bones found, by its own table (VRM), names or `mapping`.

    mapping: a .toml or .json of SMPL's joints and the character's bones, left_hip = "thigh.L".
    Raises InputError.
    """
    character = read_character(path)
    try:
        bones = _hanging(character, _bones(character, mapping))
        places = {joint: character.rest[node][:3, 3] for joint, node in bones.items()}
        facing(places)
        soles = _soles(character, bones, places)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Rig(name=path.name, character=character, bones=bones, soles=soles)


def _bones(character: Character, mapping: Path | None) -> dict[int, int]:
    if mapping is not None:
        try:
            return mapped_bones(_read_mapping(mapping), character.names)
        except InputError as error:
            raise InputError(f"{mapping}: {error}") from error
    if humanoid := _humanoid(character.content):
        table = RIGS["vrm"]
        found = {joint: humanoid[name] for joint, name in enumerate(table) if name in humanoid}
        if JOINT["spine3"] not in found and JOINT["spine2"] in found:  # no upper chest
            found[JOINT["spine3"]] = found.pop(JOINT["spine2"])
        return found
    skins = character.content.get("skins", [])
    inside = sorted({joint for skin in skins for joint in skin.get("joints", ())})
    inside = inside or list(range(len(character.nodes)))
    at = {node: i for i, node in enumerate(inside)}
    parents = [at.get(character.parents[node], -1) for node in inside]
    found = find_bones([character.names[node] for node in inside], parents)
    return {joint: inside[bone] for joint, bone in found.items()}


def _hanging(character: Character, bones: dict[int, int]) -> dict[int, int]:
    """The bones with a pelvis from which all others hang.

    Where a skeleton's trunk does not hang from what it calls its pelvis, what carries both does.
    """
    above: dict[int, list[int]] = {}
    for joint, node in bones.items():
        above[joint] = [node]
        while (parent := character.parents[above[joint][-1]]) >= 0:
            above[joint].append(parent)
    pelvis = bones[JOINT["pelvis"]]
    if all(pelvis in nodes for nodes in above.values()):
        return bones
    shared = set(above[JOINT["pelvis"]]).intersection(*above.values())
    carrier = next((node for node in above[JOINT["pelvis"]] if node in shared), None)
    if carrier is None:
        raise InputError("its legs and arms do not hang from one bone")
    return {**bones, JOINT["pelvis"]: carrier}


def _humanoid(content: Mapping[str, Any]) -> dict[str, int]:
    """Nodes by bone name as VRM 1.0 or 0.x name them; none in other files."""
    extensions = content.get("extensions", {})
    bones = extensions.get("VRMC_vrm", {}).get("humanoid", {}).get("humanBones", {})
    if bones:
        return {name: int(bone["node"]) for name, bone in bones.items()}
    listed = extensions.get("VRM", {}).get("humanoid", {}).get("humanBones", [])
    return {str(bone["bone"]): int(bone["node"]) for bone in listed}


def _read_mapping(path: Path) -> Mapping[str, object]:
    if regular_file(path).stat().st_size > _MAX_MAPPING_BYTES:
        raise InputError(f"over {_MAX_MAPPING_BYTES} bytes")
    try:
        if path.suffix.lower() == ".json":
            content = read_json(path)
        else:
            import tomllib

            content = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"neither TOML nor .json ({one_line(error)[:120]})") from error
    if not isinstance(content, dict):
        raise InputError('expected names of joints and bones, such as left_hip = "thigh.L"')
    return content


def _carriers(character: Character, bones: Mapping[int, int]) -> dict[int, int]:
    """The mapped joint that carries each node: its own, or that of the nearest node above."""
    of_node = {node: joint for joint, node in bones.items()}
    carriers: dict[int, int] = {}
    for node in character.order:
        parent = character.parents[node]
        carriers[node] = of_node.get(node, carriers.get(parent, -1))
    return carriers


def _soles(
    character: Character, bones: Mapping[int, int], places: Mapping[int, Array]
) -> tuple[tuple[int, Array], ...]:
    """The lowest point of each foot's sole and its ends to all sides, at rest."""
    carriers = _carriers(character, bones)
    feet = {
        side: [JOINT[f"{side}_{part}"] for part in ("ankle", "foot")] for side in ("left", "right")
    }
    found: list[tuple[int, Array]] = []
    try:
        meshes = list(character.skinned())
    except Exception:  # packed, or damaged: the mesh is not needed for anything else
        meshes = []
    if meshes:
        vertices = np.concatenate([mesh[0] for mesh in meshes])
        joints = np.array([carriers.get(int(n), -1) for _, nodes in meshes for n in nodes])
        near = _SOLE_SHARE * leg_length(places)
        for joint_pair in feet.values():
            own = np.isin(joints, joint_pair) & np.isfinite(vertices).all(1)
            own &= vertices[:, 1] < vertices[own, 1].min(initial=np.inf) + near
            rows = np.flatnonzero(own)
            ends = [(extreme, axis) for axis in (0, 2) for extreme in (np.argmin, np.argmax)]
            for extreme, axis in [(np.argmin, 1), *ends] if len(rows) else []:
                row = rows[extreme(vertices[rows, axis])]
                found.append((int(joints[row]), vertices[row]))
    if found:
        return tuple(found)
    low = min(places[joint][1] for pair in feet.values() for joint in pair if joint in places)
    return tuple(
        (joint, places[joint] * [1, 0, 1] + [0, low, 0])
        for pair in feet.values()
        for joint in pair
        if joint in places
    )


def retarget(figure: Figure, rig: Rig, body: Body, *, held: bool = False) -> Curves:
    """The figure's motion as curves of the character's nodes; the figure has y up.

    held: the figure is on the ground, and a planted foot of the character stays where it is: legs
    of other proportions than the person's would make it slide.
    """
    places, rest = rig.places, figure.rest
    turned = figure.posed[1]
    aligned = alignments(places, rest)
    moved = {joint: turned[:, joint] @ aligned[joint] for joint in rig.bones}
    scale = leg_length(places) / leg_length(by_joint(rest))
    pelvis = figure.pelvis * scale
    height = scale * _sole_height(figure, body)
    pelvis[:, 1] = height - _lowest(rig, moved)
    if held and figure.person.contacts is not None:
        _hold_feet(figure, rig, moved, pelvis, scale * figure.scale)
        pelvis[:, 1] = height - _lowest(rig, moved)
    return _curves(figure, rig, moved, pelvis)


def _lowest(rig: Rig, moved: Mapping[int, Array]) -> Array:
    """Height (T,) of the lowest point of both soles above the pelvis."""
    offsets, places = _offsets(rig, moved), rig.places
    soles = [
        offsets[joint] + (moved[joint] @ (place - places[joint])) for joint, place in rig.soles
    ]
    return np.stack(soles)[..., 1].min(0)


def _hold_feet(
    figure: Figure, rig: Rig, moved: dict[int, Array], pelvis: Array, unit: float
) -> None:
    """Bend the legs in `moved` so that feet that touch the ground with heel and ball do not slide.

    As `hpsvid.motion.lock` holds the person's own; unit: the character's, of a metre of the person.
    """
    assert figure.person.contacts is not None
    touch = figure.person.contacts[figure.rows]
    turned = np.zeros((len(pelvis), SMPL.n_rotations, 3, 3))
    for joint, rotations in moved.items():
        turned[:, joint] = rotations
    offsets = _offsets(rig, moved)
    for side, leg in enumerate(HINGES[:2]):
        planted = (touch[:, 2 * side : 2 * side + 2].min(1) > PLANTED) & figure.present
        places = np.stack([pelvis + offsets[joint] for joint in leg], 1) / unit
        move = held_moves(places[:, 2], planted, figure.times_s)
        move[:, 1] = 0  # heights are the soles' affair
        moved[leg[0]], moved[leg[1]] = bent_leg(places, turned, move, (leg[0], leg[1]))


def _offsets(rig: Rig, moved: Mapping[int, Array]) -> dict[int, Array]:
    """Places (T, 3) of the bones from the pelvis; moved: (T, 3, 3), what turns each from rest."""
    character, places = rig.character, rig.places
    carriers = _carriers(character, rig.bones)
    pelvis = JOINT["pelvis"]
    offsets = {pelvis: np.zeros((len(moved[pelvis]), 3))}
    depth = {node: n for n, node in enumerate(character.order)}
    for joint in sorted(rig.bones, key=lambda joint: depth[rig.bones[joint]]):
        if joint == pelvis:
            continue
        above = carriers[character.parents[rig.bones[joint]]]
        offsets[joint] = offsets[above] + moved[above] @ (places[joint] - places[above])
    return offsets


def _sole_height(figure: Figure, body: Body) -> Array:
    """Height (T,) of the person's lower sole in the file's axes and unit."""
    points = figure.landmarks(body)[:, CONTACT_POINTS, 1]
    return (points - standing_heights(body) * figure.scale).min(1)


def _curves(figure: Figure, rig: Rig, moved: Mapping[int, Array], pelvis: Array) -> Curves:
    """Rotations and the pelvis's place in the nodes' own parents' axes."""
    character = rig.character
    carriers, turns = _carriers(character, rig.bones), rotation_of(character.rest)
    rotations = {}
    for joint, node in rig.bones.items():
        parent = character.parents[node]
        above = np.eye(3) if parent < 0 else turns[parent]
        carrier = carriers.get(parent, -1)
        if carrier >= 0:
            above = moved[carrier] @ above
        local = np.swapaxes(above, -1, -2) @ moved[joint] @ turns[node]
        rotations[node] = continuous_quaternions(local[:, None])[:, 0]
    root = rig.bones[JOINT["pelvis"]]
    parent = character.parents[root]
    above = np.eye(4) if parent < 0 else character.rest[parent]
    place = (np.linalg.inv(above) @ np.c_[pelvis, np.ones(len(pelvis))][..., None])[:, :3, 0]
    return Curves(
        times_s=figure.times_s - figure.start_s,
        rotations=rotations,
        translations={root: place},
    )
