"""The skeleton: joints, landmarks and limbs by name, which mirrors which, forward kinematics."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hpsvid.types import N_ROTATIONS

JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2",
    "left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar",
    "right_collar", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist", "left_hand", "right_hand",
    "head_top", "left_middle_tip", "right_middle_tip", "left_big_toe", "right_big_toe",
)  # fmt: skip
PARENTS = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21,
    15, 22, 23, 10, 11,
)  # fmt: skip
JOINT = {name: index for index, name in enumerate(JOINT_NAMES)}
N_BODY = N_ROTATIONS  # joints that carry a rotation; the leaves do not
LANDMARK_NAMES = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye",
    "right_eye_outer", "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky",
    "right_pinky", "left_index", "right_index", "left_thumb", "right_thumb", "left_hip",
    "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel",
    "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
LANDMARK = {name: index for index, name in enumerate(LANDMARK_NAMES)}
# the twelve points that both a landmarker and a body have, by their common names
LIMB_NAMES = tuple(
    f"{side}_{part}"
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
)
LIMB_JOINTS = [JOINT[name] for name in LIMB_NAMES]
LIMB_LANDMARKS = [LANDMARK[name] for name in LIMB_NAMES]


def mirror_name(name: str) -> str:
    """The joint or landmark on the body's other side; those on the mid line are their own."""
    other = {"left": "right", "right": "left"}
    return "_".join(other.get(part, part) for part in name.split("_"))


def mirrored(names: Sequence[str]) -> list[int]:
    """For each of `names` the place among them of its counterpart on the other side."""
    return [names.index(mirror_name(name)) for name in names]


def forward_kinematics(rotmats: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Pose a rest skeleton.

    rotmats: (..., 24, 3, 3) parent-relative; rest: (..., 29, 3) m, broadcast against it.
    Returns joints (..., 29, 3) m, the pelvis where `rest` has it, and the joints' global
    rotations (..., 24, 3, 3).
    """
    shape = torch.broadcast_shapes(rotmats.shape[:-3], rest.shape[:-2])
    rest = rest.expand(*shape, len(PARENTS), 3)
    turned = [rotmats[..., 0, :, :].expand(*shape, 3, 3)]
    placed = [rest[..., 0, :]]
    for child in range(1, len(PARENTS)):
        parent = PARENTS[child]
        bone = rest[..., child, :] - rest[..., parent, :]
        placed.append(placed[parent] + (turned[parent] @ bone[..., None])[..., 0])
        if child < N_BODY:
            turned.append(turned[parent] @ rotmats[..., child, :, :])
    return torch.stack(placed, -2), torch.stack(turned, -3)
