"""Rotations, swing and twist, projection. Pure functions of tensors with any leading batch
dimensions; rotations are matrices (..., 3, 3) acting on column vectors."""

import roma
import torch
from torch import Tensor

_EPS = 1e-8


def unit(vector: Tensor) -> Tensor:
    """Scale (..., 3) to length 1; a zero vector stays zero."""
    return vector / vector.norm(dim=-1, keepdim=True).clamp_min(_EPS)


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """(..., 3) radians -> (..., 3, 3)."""
    return roma.rotvec_to_rotmat(axis_angle)


def matrix_to_axis_angle(rotmat: Tensor) -> Tensor:
    """(..., 3, 3) -> (..., 3) radians, angle in [0, pi]."""
    return roma.rotmat_to_rotvec(rotmat)


def nearest_rotation(matrix: Tensor) -> Tensor:
    """Rotation (..., 3, 3) closest in Frobenius norm to `matrix` (..., 3, 3), by SVD."""
    return roma.special_procrustes(matrix)


def rotation_about(axis: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotation about unit `axis` (..., 3) by the angle whose cosine and sine (...) are given.

    Rodrigues' formula; HybrIK (Li et al., CVPR 2021), Eq. 4.
    """
    x, y, z = axis.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    eye = torch.eye(3, dtype=axis.dtype, device=axis.device)
    sin, cos = sin[..., None, None], cos[..., None, None]
    return eye + sin * cross + (1 - cos) * (cross @ cross)


def swing_between(source: Tensor, target: Tensor) -> Tensor:
    """Smallest rotation that takes the direction of `source` to that of `target`.

    source, target: (..., 3) any length > 0. Returns (..., 3, 3).
    Opposite directions turn half a circle about an axis orthogonal to `source`.
    HybrIK (Li et al., CVPR 2021), Eq. 7-9.
    """
    source, target = unit(source), unit(target)
    source, target = torch.broadcast_tensors(source, target)
    cross = torch.linalg.cross(source, target)
    cos = (source * target).sum(-1)
    # any axis orthogonal to source: cross it with the coordinate axis it is least aligned with
    least = torch.nn.functional.one_hot(source.abs().argmin(-1), 3).to(source.dtype)
    orthogonal = unit(torch.linalg.cross(source, least))
    opposite = cos < -1 + 1e-6
    axis = torch.where(opposite[..., None], orthogonal, cross)
    sin = torch.where(opposite, torch.zeros_like(cos), axis.norm(dim=-1))
    return rotation_about(unit(axis), cos.clamp(-1, 1), sin)


def swing_twist(rotmat: Tensor, axis: Tensor) -> tuple[Tensor, Tensor]:
    """Split `rotmat` = swing @ twist, the twist about `axis` in the rest frame.

    rotmat: (..., 3, 3); axis: (..., 3) any length > 0. Returns swing (..., 3, 3) and the twist
    as (cos, sin) (..., 2). HybrIK (Li et al., CVPR 2021), Sec. 3.2.
    """
    axis = unit(axis)
    swing = swing_between(axis, (rotmat @ axis[..., None])[..., 0])
    twist = swing.mT @ rotmat
    cos = (torch.diagonal(twist, dim1=-2, dim2=-1).sum(-1) - 1) / 2
    vee = torch.stack(
        [
            twist[..., 2, 1] - twist[..., 1, 2],
            twist[..., 0, 2] - twist[..., 2, 0],
            twist[..., 1, 0] - twist[..., 0, 1],
        ],
        -1,
    )
    sin = (vee * axis).sum(-1) / 2
    return swing, torch.stack([cos, sin], -1)


def project(points: Tensor, K: Tensor) -> Tensor:
    """Pinhole projection of camera points (..., 3) m with K (..., 3, 3) px -> (..., 2) px."""
    image = (K @ points[..., None])[..., 0]
    return image[..., :2] / image[..., 2:].clamp_min(1e-6)


def rotation_to_ray(ray: Tensor) -> Tensor:
    """Rotation (..., 3, 3) that takes the optical axis (0, 0, 1) to the direction of `ray`.

    A crop away from the image's middle is seen along its own ray; what a crop network calls
    "towards the camera" is along that ray, and this rotation turns it into camera axes.
    """
    forward = torch.zeros_like(ray)
    forward[..., 2] = 1
    return swing_between(forward, ray)
