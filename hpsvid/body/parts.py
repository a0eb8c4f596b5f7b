"""The body's surface in parts, one for each joint: which joint a place of the surface speaks of.

Best of Both Worlds (Wang et al., 2022), Sec. 3.1 and supplement B: a place belongs to the nearest
of 14 joints in the T-pose, or of SMPL's 24.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT, LIMB_NAMES, SMPL
from hpsvid.types import N_BETAS, Array

PartsName = Literal[14, 24]
LSP_JOINTS = [JOINT[name] for name in (*LIMB_NAMES, "neck", "head_top")]
PART_JOINTS: dict[PartsName, list[int]] = {14: LSP_JOINTS, 24: list(range(SMPL.n_rotations))}
"""Joints (of the 29) that the parts stand for: LSP's 14, or SMPL's 24."""


def mirror_of_parts(parts: PartsName) -> list[int]:
    """For each part the one on the body's other side."""
    joints = PART_JOINTS[parts]
    return [joints.index(SMPL.mirror[joint]) for joint in joints]


def part_of_vertices(body: Body, parts: PartsName) -> Array:
    """The part (V,) int64 of each vertex: the nearest joint of the T-pose.

    Where left and right are equally near, within 1 mm, the left one: vertices of the mid line.
    """
    rest = body.rest_joints(torch.zeros(N_BETAS))[PART_JOINTS[parts]]
    distance = torch.cdist(body.template, rest).numpy()
    return np.argmax(distance <= distance.min(1, keepdims=True) + 1e-3, axis=1)


def part_of_places(places: Tensor, body: Body, parts: PartsName) -> Tensor:
    """The part (...) int64 of places (..., 3) m of the T-pose's surface, or near it."""
    rest = body.rest_joints(torch.zeros(N_BETAS))[PART_JOINTS[parts]]
    return torch.cdist(places.reshape(-1, 3), rest).argmin(-1).reshape(places.shape[:-1])
