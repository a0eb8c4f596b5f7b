"""Knees and elbows, and how far they are bent."""

import torch
from torch import Tensor

from hpsvid.body.skeleton import JOINT

# left and right knee, left and right elbow: the joint above, the hinge itself, the joint below
HINGES: tuple[tuple[int, int, int], ...] = tuple(
    (JOINT[f"{side}_{chain[0]}"], JOINT[f"{side}_{chain[1]}"], JOINT[f"{side}_{chain[2]}"])
    for chain in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
    for side in ("left", "right")
)


def bends(joints: Tensor) -> Tensor:
    """How far knees and elbows (..., 4) are bent, rad, of joints (..., 24 or 29, 3); 0: straight.

    In the order of HINGES.
    """
    return bend(*(joints[..., list(at), :] for at in zip(*HINGES, strict=True)))


def bend(above: Tensor, middle: Tensor, below: Tensor) -> Tensor:
    """Angles (...) rad by which bones through these points (..., 3) are bent; 0: straight."""
    upper, lower = middle - above, below - middle
    crossed = torch.linalg.cross(upper, lower).norm(dim=-1)
    return torch.atan2(crossed, (upper * lower).sum(-1))
