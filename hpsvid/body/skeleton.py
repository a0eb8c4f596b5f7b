"""Skeletons and landmark sets as values: names, mirror images, hierarchy; forward kinematics."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hpsvid.types import N_ROTATIONS


def mirror_name(name: str) -> str:
    """The joint or landmark on the body's other side; those on the mid line are their own."""
    opposite = {"left": "right", "right": "left"}
    return "_".join(opposite.get(part, part) for part in name.split("_"))


@dataclass(frozen=True, eq=False)
class Points:
    """A set of named points of a body."""

    names: tuple[str, ...]

    @cached_property
    def index(self) -> dict[str, int]:
        """Index of each point by its name."""
        return {name: index for index, name in enumerate(self.names)}

    @cached_property
    def mirror(self) -> list[int]:
        """For each point the index of its counterpart on the other side."""
        return [self.index[mirror_name(name)] for name in self.names]


@dataclass(frozen=True, eq=False)
class Skeleton(Points):
    """Joints in a tree; the first `n_rotations` carry a rotation, the others are leaves."""

    parents: tuple[int, ...]  # -1 for the root; parents come before their children
    n_rotations: int

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The children of each joint."""
        return tuple(
            tuple(child for child, parent in enumerate(self.parents) if parent == joint)
            for joint in range(len(self.parents))
        )

    @cached_property
    def ancestors(self) -> tuple[tuple[int, ...], ...]:
        """The joints above each joint, its parent first and the root last."""
        above: list[tuple[int, ...]] = []
        for parent in self.parents:
            above.append(() if parent < 0 else (parent, *above[parent]))
        return tuple(above)

    @property
    def rotation_names(self) -> tuple[str, ...]:
        """Names of the joints that carry a rotation."""
        return self.names[: self.n_rotations]

    @cached_property
    def mirror_rotations(self) -> list[int]:
        """As `mirror`, of the joints that carry a rotation."""
        return self.mirror[: self.n_rotations]

    @cached_property
    def mirror_twists(self) -> list[int]:
        """As `mirror`, of the twists; twist j belongs to joint j + 1, as the root has none."""
        return [joint - 1 for joint in self.mirror_rotations[1:]]


SMPL = Skeleton(
    names=(
        "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2",
        "left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar",
        "right_collar", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
        "left_wrist", "right_wrist", "left_hand", "right_hand",
        "head_top", "left_middle_tip", "right_middle_tip", "left_big_toe", "right_big_toe",
    ),
    parents=(
        -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21,
        15, 22, 23, 10, 11,
    ),
    n_rotations=N_ROTATIONS,
)  # fmt: skip
"""SMPL's 24 joints, and five leaves on the surface that give head, hands and feet a direction."""
JOINT = SMPL.index
BLAZEPOSE = Points(
    (
        "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye",
        "right_eye_outer", "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder",
        "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky",
        "right_pinky", "left_index", "right_index", "left_thumb", "right_thumb", "left_hip",
        "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel",
        "right_heel", "left_foot_index", "right_foot_index",
    )
)  # fmt: skip
"""The landmarks of BlazePose, on the surface of the body."""
LANDMARK = BLAZEPOSE.index
# the twelve points that both a landmarker and a body have, by their common names
LIMB_NAMES = tuple(
    f"{side}_{part}"
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
)
LIMB_JOINTS = [JOINT[name] for name in LIMB_NAMES]
LIMB_LANDMARKS = [LANDMARK[name] for name in LIMB_NAMES]


def mirror_points(points: Tensor, named: Points) -> Tensor:
    """The mirror image of points (..., P, 2 or 3) with x to the side, each under its own name."""
    flip = points.new_tensor([-1, 1, 1][: points.shape[-1]])
    return points[..., named.mirror, :] * flip


def mirror_twists(twist: Tensor, skeleton: Skeleton = SMPL) -> Tensor:
    """Twists (..., 23, 2) (cos, sin) of the mirrored body."""
    return twist[..., skeleton.mirror_twists, :] * twist.new_tensor([1, -1])


def forward_kinematics(
    rotmats: Tensor, rest: Tensor, skeleton: Skeleton = SMPL
) -> tuple[Tensor, Tensor]:
    """Pose a rest skeleton.

    rotmats: (..., 24, 3, 3) parent-relative; rest: (..., 29, 3) m, broadcast against it.
    Returns joints (..., 29, 3) m, the pelvis where `rest` has it, and the joints' global
    rotations (..., 24, 3, 3).
    """
    parents = skeleton.parents
    # not torch.broadcast_shapes, whose first call imports sympy: more than a second
    shape = np.broadcast_shapes(rotmats.shape[:-3], rest.shape[:-2])
    rest = rest.expand(*shape, len(parents), 3)
    turned = [rotmats[..., 0, :, :].expand(*shape, 3, 3)]
    placed = [rest[..., 0, :]]
    for child in range(1, len(parents)):
        parent = parents[child]
        bone = rest[..., child, :] - rest[..., parent, :]
        placed.append(placed[parent] + (turned[parent] @ bone[..., None])[..., 0])
        if child < skeleton.n_rotations:
            turned.append(turned[parent] @ rotmats[..., child, :, :])
    return torch.stack(placed, -2), torch.stack(turned, -3)
