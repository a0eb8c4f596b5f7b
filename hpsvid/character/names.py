"""Which bone of a skeleton is which joint of SMPL: known rigs by their names, others by words."""

import re
from collections.abc import Mapping, Sequence

from hpsvid.body.skeleton import JOINT, LIMB_NAMES, SMPL
from hpsvid.errors import InputError
from hpsvid.formats.rig import RIGS

NEEDED = ("pelvis", *LIMB_NAMES)
# what rigs put before every name: Mixamo, Blender's deform bones, 3ds Max's Biped, Reallusion,
# VRoid, HumanIK characters
_PREFIX = re.compile(
    r"^(mixamorig\d*|def-|org-|valvebiped\.|bip0*1[ _]|cc_base_|j_bip_[clr]_|character\d*_)", re.I
)
_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
_WORDS = {  # of a part of the body, without its side, best first
    "hip": ("upleg", "upperleg", "thigh", "thighbend", "legupper", "femur", "hip"),
    "knee": ("lowerleg", "calf", "shin", "shinbend", "leglower", "tibia", "knee", "leg"),
    "ankle": ("foot", "ankle"),
    "foot": ("toebase", "toes", "toe", "ball", "toe0"),
    "collar": ("collar", "clavicle", "collarbone", "shoulder"),
    "shoulder": ("upperarm", "uparm", "armupper", "shldrbend", "shldr", "humerus", "arm",
                 "shoulder"),
    "elbow": ("forearm", "lowerarm", "armlower", "forearmbend", "radius", "elbow"),
    "wrist": ("hand", "wrist"),
    "hand": ("handmiddle1", "fmiddle01", "middle01", "middle1", "middleproximal", "mid1"),
}  # fmt: skip
_MIDDLE_WORDS = {  # of parts on the mid line
    "pelvis": ("hips", "pelvis", "hip"),
    "neck": ("neck", "neck01", "neck1", "necklower"),
    "head": ("head",),
}
_SPINE = re.compile(r"spine|chest|torso|abdomen|lowerback|^back")


def find_bones(names: Sequence[str], parents: Sequence[int]) -> dict[int, int]:
    """Bones by SMPL's joint, as many as there are names for.

    names: of the bones; parents: (-1 for none), in any order. The pelvis and both legs and arms
    down to ankle and wrist are there. Raises InputError that names the first that is not.
    """
    found = max((_by_table(names, table) for table in RIGS.values()), key=len)
    missing = _missing(found)
    if missing:
        found = _by_words(names, parents)
        missing = _missing(found)
    if missing:
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise InputError(
            f"no bone found for {missing[0]} among {shown or 'no bones'}; say which is which with "
            "--mapping"
        )
    return found


def mapped_bones(mapping: Mapping[str, object], names: Sequence[str]) -> dict[int, int]:
    """Bones by SMPL's joint from the names that a user gave. Raises InputError."""
    found = {}
    for joint, bone in mapping.items():
        if joint not in SMPL.rotation_names:
            known = ", ".join(SMPL.rotation_names)
            raise InputError(f"{joint!r} is no joint; expected one of {known}")
        if bone not in names:
            raise InputError(f"{joint}: there is no bone {bone!r}; there are {', '.join(names)}")
        found[JOINT[joint]] = names.index(str(bone))
    if missing := _missing(found):
        raise InputError(f"names no bone for {missing[0]}; expected {', '.join(NEEDED)} at least")
    return found


def _missing(found: Mapping[int, int]) -> list[str]:
    return [joint for joint in NEEDED if JOINT[joint] not in found]


def _bare(name: str) -> str:
    """A name without the namespace and the prefix that its rig puts before every one."""
    return _PREFIX.sub("", re.split(r"[:|]", name)[-1])


def _by_table(names: Sequence[str], table: tuple[str, ...]) -> dict[int, int]:
    bare = {_bare(name): bone for bone, name in reversed(list(enumerate(names)))}
    return {joint: bare[_bare(n)] for joint, n in enumerate(table) if _bare(n) in bare}


def _parts(name: str) -> tuple[str, str]:
    """The side that a name says ("" for none), and its other words as one."""
    side = {"l": "left", "r": "right"}.get(_vroid_side(name), "")
    bare = _bare(name)
    words = [w.lower() for w in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", bare)]
    rest = []
    for word in words:
        if not side and word in _SIDES:
            side = _SIDES[word]
            continue
        glued = re.match(r"(left|right)(\w+)$", word)
        if not side and glued:
            side, word = glued[1], glued[2]
        rest.append(word)
    return side, "".join(rest)


def _vroid_side(name: str) -> str:
    match = re.match(r"j_bip_([clr])_", name, re.I)
    return match[1].lower() if match else ""


def _by_words(names: Sequence[str], parents: Sequence[int]) -> dict[int, int]:
    places: dict[tuple[str, str], int] = {}
    for bone, name in enumerate(names):
        places.setdefault(_parts(name), bone)
    found: dict[int, int] = {}
    for side in ("left", "right"):
        for part, words in _WORDS.items():
            taken = set(found.values())
            bones = (places[side, word] for word in words if (side, word) in places)
            bone = next((bone for bone in bones if bone not in taken), None)
            if bone is not None:
                found[JOINT[f"{side}_{part}"]] = bone
        shoulder, collar = JOINT[f"{side}_shoulder"], JOINT[f"{side}_collar"]
        if shoulder not in found and collar in found:  # a rig without collars calls it so
            found[shoulder] = found.pop(collar)
    for part, words in _MIDDLE_WORDS.items():
        bone = next((places["", word] for word in words if ("", word) in places), None)
        if bone is not None:
            found[JOINT[part]] = bone
    return found | _spine(found, names, parents)


def _spine(
    found: Mapping[int, int], names: Sequence[str], parents: Sequence[int]
) -> dict[int, int]:
    """Up to three bones between pelvis and neck: the first, the middle one, the last."""
    top = next((found[joint] for joint in (JOINT["neck"], JOINT["head"]) if joint in found), None)
    chain: list[int] = []
    while top is not None and top >= 0 and len(chain) < len(names):
        if _SPINE.search(_parts(names[top])[1]):
            chain.insert(0, top)
        top = parents[top]
    ends = ("spine3",) if len(chain) == 1 else ("spine1", "spine3")
    if not chain:
        return {}
    bones = {JOINT[ends[0]]: chain[0], JOINT["spine3"]: chain[-1]}
    if len(chain) > 2:
        bones[JOINT["spine2"]] = chain[len(chain) // 2]
    return bones
