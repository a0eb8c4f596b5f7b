"""Between two skeletons' rest poses: what a bone's rotation on one is on the other.

A limb's rest direction is turned into that of the other skeleton (swing); trunk, collars and head
keep the posture that they rest in; feet keep their soles flat and are turned about the vertical.
"""

from collections.abc import Mapping

import numpy as np
import torch

from hpsvid.body.skeleton import JOINT, SMPL
from hpsvid.common.geometry import swing_between
from hpsvid.errors import InputError
from hpsvid.types import Array

_SNAP_DEG = 15.0  # a skeleton that is this near to facing along an axis faces along it
_LEAST_M = 1e-6
_UPRIGHT = np.array([1.0, 0, 1.0])  # of a place, what lies in the ground's plane
LIMBS = {  # joint -> the joint at its other end
    JOINT[f"{side}_{joint}"]: JOINT[f"{side}_{end}"]
    for side in ("left", "right")
    for joint, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"),
                       ("elbow", "wrist"), ("wrist", "hand"))
}  # fmt: skip
_FEET = {
    JOINT[f"{side}_{joint}"]: (JOINT[f"{side}_ankle"], JOINT[f"{side}_foot"])
    for side in ("left", "right")
    for joint in ("ankle", "foot")
}


def facing(places: Mapping[int, Array]) -> Array:
    """Rotation (3, 3) about y that makes a rest pose with y up face +z, its left side at +x.

    places: (3,) of at least the hips and shoulders, by SMPL's joint.
    """
    left = sum(
        places[JOINT[f"left_{part}"]] - places[JOINT[f"right_{part}"]]
        for part in ("hip", "shoulder")
    )
    assert isinstance(left, np.ndarray)
    if np.linalg.norm(left * _UPRIGHT) < _LEAST_M:
        raise InputError("its left and right side are at one place in the rest pose")
    angle = np.arctan2(left[2], left[0])
    right_angle = np.round(angle / (np.pi / 2)) * np.pi / 2
    if np.abs(angle - right_angle) < np.deg2rad(_SNAP_DEG):
        angle = right_angle
    sin, cos = np.sin(angle), np.cos(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def alignments(places: Mapping[int, Array], rest: Array) -> dict[int, Array]:
    """For each mapped joint the rotation (3, 3) that takes its rest pose to SMPL's, by joint.

    places: (3,) by SMPL's joint, of a rest pose with y up; rest: (29, 3), SMPL's. A bone's global
    rotation on the other skeleton is SMPL's @ this @ its rest rotation.
    """
    turn = facing(places)
    made = {}
    for joint in places:
        made[joint] = turn
        source = target = None
        if joint in LIMBS and LIMBS[joint] in places:
            end = LIMBS[joint]
            source, target = turn @ (places[end] - places[joint]), rest[end] - rest[joint]
        elif joint in _FEET and all(part in places for part in _FEET[joint]):
            heel, toe = _FEET[joint]
            source = turn @ (places[toe] - places[heel]) * _UPRIGHT
            target = (rest[toe] - rest[heel]) * _UPRIGHT
        if (
            source is not None
            and target is not None
            and min(float(np.linalg.norm(way)) for way in (source, target)) > _LEAST_M
        ):
            swing = swing_between(torch.from_numpy(source), torch.from_numpy(target))
            made[joint] = swing.numpy() @ turn
    for side in ("left", "right"):
        wrist, elbow, hand = (JOINT[f"{side}_{part}"] for part in ("wrist", "elbow", "hand"))
        if wrist in made and hand not in places:
            made[wrist] = made[elbow]
        if hand in made:
            made[hand] = made[wrist]
    return made


def leg_length(places: Mapping[int, Array]) -> float:
    """Length of the longer leg, hip to ankle along its bones, in the places' unit."""
    legs = []
    for side in ("left", "right"):
        hip, knee, ankle = (places[JOINT[f"{side}_{part}"]] for part in ("hip", "knee", "ankle"))
        legs.append(np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee))
    if max(legs) < _LEAST_M:
        raise InputError("its legs have no length in the rest pose")
    return float(max(legs))


def by_joint(rest: Array) -> dict[int, Array]:
    """SMPL's own rest joints (29, 3) by joint."""
    return {joint: rest[joint] for joint in range(SMPL.n_rotations)}
