"""Rotations, swing and twist, projection. Pure functions of tensors with any leading batch
dimensions; rotations are matrices (..., 3, 3) acting on column vectors.
"""

import numpy as np
import torch
from torch import Tensor

from hpsvid.types import Array

_EPS = 1e-8
_GRADIENT_EPS = 1e-5  # of a matrix of norm 1: how badly determined a rotation's gradient may be


def unit(vector: Tensor) -> Tensor:
    """Scale (..., 3) to length 1; a zero vector stays zero."""
    return vector / vector.norm(dim=-1, keepdim=True).clamp_min(_EPS)


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """(..., 3) radians -> (..., 3, 3), by Rodrigues' formula; smooth at 0, too."""
    angle = axis_angle.norm(dim=-1)[..., None, None]
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    sine = (angle / torch.pi).sinc()  # sin(angle) / angle
    versine = (angle / 2 / torch.pi).sinc() ** 2 / 2  # (1 - cos(angle)) / angle^2
    outer = axis_angle[..., :, None] * axis_angle[..., None, :]
    return angle.cos() * eye + sine * cross_matrix(axis_angle) + versine * outer


def matrix_to_axis_angle(rotmat: Tensor) -> Tensor:
    """(..., 3, 3) -> (..., 3) radians, angle in [0, pi].

    By way of the unit quaternion q = (v, w): 4 q q^T is linear in the matrix, and its longest row
    gives q wherever the rotation is (Markley, "Unit quaternion from rotation matrix", 2008).
    """
    trace, vee = _trace(rotmat)[..., None, None], _vee(rotmat)
    eye = torch.eye(3, dtype=rotmat.dtype, device=rotmat.device)
    upper = torch.cat([rotmat + rotmat.mT + (1 - trace) * eye, vee[..., None]], -1)
    lower = torch.cat([vee[..., None, :], 1 + trace], -1)
    rows = torch.cat([upper, lower], -2)  # (..., 4, 4)
    longest = torch.diagonal(rows, dim1=-2, dim2=-1).argmax(-1)[..., None, None]
    quat = rows.take_along_dim(longest, -2)[..., 0, :]
    quat = torch.where(quat[..., 3:] > 0, quat, -quat) / quat.norm(dim=-1, keepdim=True)
    half_angle = torch.atan2(quat[..., :3].norm(dim=-1, keepdim=True), quat[..., 3:])
    return 2 / (half_angle / torch.pi).sinc() * quat[..., :3]


def slerp(start: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    """Rotations on the shortest way from `start` to `end`, turned steadily.

    start, end: (..., 3, 3); weight: (...), 0 gives `start`, 1 gives `end`. Broadcast against each
    other; returns (..., 3, 3). Half a circle apart, one of the two ways is taken.
    """
    way = matrix_to_axis_angle(start.mT @ end)
    return start @ axis_angle_to_matrix(weight[..., None] * way)


def nearest_rotation(matrix: Tensor) -> Tensor:
    """Rotation (..., 3, 3) closest in Frobenius norm to `matrix` (..., 3, 3), by SVD in float64.

    Its gradient, of first order only, is that of the condition R^T M = M^T R: when M changes by
    dM, R turns by w with (tr(S) I - S) w = vee(R^T dM), S = R^T M, damped where the rotation is
    badly determined. M's scale is taken out first, so that the damping does not depend on the
    unit of length.
    """
    scale = matrix.detach().flatten(-2).norm(dim=-1)[..., None, None].clamp_min(_EPS)
    scaled = matrix.double() / scale
    constant = scaled.detach()
    u, _, vt = torch.linalg.svd(constant)
    last = torch.linalg.det(u @ vt).sign()[..., None, None]  # a reflection's least axis is turned
    nearest = u[..., :2] @ vt[..., :2, :] + last * u[..., 2:] @ vt[..., 2:, :]
    if matrix.requires_grad:
        stretch = nearest.mT @ constant
        eye = torch.eye(3, dtype=constant.dtype, device=constant.device)
        stiff = _trace(stretch)[..., None, None] * eye - stretch
        damped = stiff @ stiff.mT + _GRADIENT_EPS**2 * eye
        turn = torch.linalg.solve(damped, stiff @ _vee(nearest.mT @ scaled)[..., None])[..., 0]
        nearest = nearest + nearest @ cross_matrix(turn - turn.detach())  # 0 but for its gradient
    return nearest.to(matrix.dtype)


def rotation_about(axis: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotation about unit `axis` (..., 3) by the angle whose cosine and sine (...) are given.

    Rodrigues' formula; HybrIK (Li et al., CVPR 2021), Eq. 10.
    """
    cross = cross_matrix(axis)
    eye = torch.eye(3, dtype=axis.dtype, device=axis.device)
    sin, cos = sin[..., None, None], cos[..., None, None]
    return eye + sin * cross + (1 - cos) * (cross @ cross)


def cross_matrix(vector: Tensor) -> Tensor:
    """Matrix (..., 3, 3) that maps w to the cross product of `vector` (..., 3) with w."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def swing_between(source: Tensor, target: Tensor) -> Tensor:
    """Smallest rotation that takes the direction of `source` to that of `target`.

    source, target: (..., 3) any length > 0. Returns (..., 3, 3).
    Opposite directions turn half a circle about an axis orthogonal to `source`.

    The rotation of HybrIK (Li et al., CVPR 2021), Eq. 7-9, written as two half turns: about
    `source`, then about the direction halfway to `target`. Unlike Rodrigues' formula with
    n = s x t / |s x t|, this neither divides by a vanishing sine nor loses the gradient there.
    """
    source, target = torch.broadcast_tensors(unit(source), unit(target))
    middle = source + target
    nearly_opposite = middle.norm(dim=-1, keepdim=True) < 1e-2
    halfway = unit(middle)
    if nearly_opposite.is_cuda or nearly_opposite.any():  # `.any()` would synchronise a GPU
        halfway = torch.where(nearly_opposite, _halfway_of_opposite(source, target), halfway)
    return _half_turn(halfway) @ _half_turn(source)


def _half_turn(axis: Tensor) -> Tensor:
    """Rotation by pi about unit `axis` (..., 3) -> (..., 3, 3)."""
    eye = torch.eye(3, dtype=axis.dtype, device=axis.device)
    return 2 * axis[..., :, None] * axis[..., None, :] - eye


def _halfway_of_opposite(source: Tensor, target: Tensor) -> Tensor:
    """Unit bisector (..., 3) of nearly opposite unit vectors, where their sum is all rounding."""
    least = torch.nn.functional.one_hot(source.abs().argmin(-1), 3).to(source.dtype)
    anything = unit(torch.linalg.cross(source, least))
    sideways = _without(target, source)
    lost = sideways.norm(dim=-1, keepdim=True) < 8 * torch.finfo(source.dtype).eps
    sideways = torch.where(lost, anything, unit(sideways))
    sideways = unit(_without(sideways, source))  # again: the first pass left rounding along source
    cos_half = (source + target).norm(dim=-1, keepdim=True) / 2
    sin_half = (source - target).norm(dim=-1, keepdim=True) / 2
    return unit(cos_half * source + sin_half * sideways)


def _without(vector: Tensor, direction: Tensor) -> Tensor:
    """Part of `vector` (..., 3) orthogonal to the unit `direction` (..., 3)."""
    return vector - (vector * direction).sum(-1, keepdim=True) * direction


def swing_twist(rotmat: Tensor, axis: Tensor) -> tuple[Tensor, Tensor]:
    """Split `rotmat` = swing @ twist, the twist about `axis` in the rest frame.

    rotmat: (..., 3, 3); axis: (..., 3) any length > 0. Returns swing (..., 3, 3) and the twist
    as (cos, sin) (..., 2). HybrIK (Li et al., CVPR 2021), Sec. 3.2.
    """
    axis = unit(axis)
    swing = swing_between(axis, (rotmat @ axis[..., None])[..., 0])
    twist = swing.mT @ rotmat
    cos = (_trace(twist) - 1) / 2
    sin = (_vee(twist) * axis).sum(-1) / 2
    return swing, torch.stack([cos, sin], -1)


def _trace(matrix: Tensor) -> Tensor:
    """(..., 3, 3) -> (...)."""
    return torch.diagonal(matrix, dim1=-2, dim2=-1).sum(-1)


def _vee(matrix: Tensor) -> Tensor:
    """The vector (..., 3) whose `cross_matrix` is `matrix` (..., 3, 3) less its transpose."""
    odd = matrix - matrix.mT
    return torch.stack([odd[..., 2, 1], odd[..., 0, 2], odd[..., 1, 0]], -1)


def check_intrinsics(K: Array) -> None:
    """Raise ValueError unless K (3, 3) px is finite and can project."""
    usable = np.isfinite(K).all() and (np.abs(K) < 1e9).all()
    if not (usable and K[0, 0] > 0 and K[1, 1] > 0 and (K[2] == (0, 0, 1)).all()):
        raise ValueError(f"K: expected a camera's matrix in pixels, found {K.tolist()}")


def project(points: Tensor, K: Tensor) -> Tensor:
    """Pinhole projection of camera points (..., 3) m with K (..., 3, 3) px -> (..., 2) px."""
    image = (K @ points[..., None])[..., 0]
    return image[..., :2] / image[..., 2:].clamp_min(1e-6)


def translation_onto(points: Tensor, image: Tensor, weight: Tensor, K: Tensor) -> Tensor:
    """Translation (..., 3) m that brings points onto their pictures, by linear least squares.

    points: (..., L, 3) m; image: (..., L, 2) px; weight: (..., L) at least 0; K: (3, 3) px, no
    skew. Each point gives (p + t)_xy = ray_xy (p + t)_z, linear in t (DLT with known rotation).
    Without any weight the translation is zero. It may lie behind the camera.
    """
    ray = (image - K[:2, 2]) / torch.stack([K[0, 0], K[1, 1]])
    one, zero = torch.ones_like(ray[..., 0]), torch.zeros_like(ray[..., 0])
    rows = torch.stack(
        [torch.stack([one, zero, -ray[..., 0]], -1), torch.stack([zero, one, -ray[..., 1]], -1)], -2
    )  # (..., L, 2, 3)
    right = ray * points[..., 2:] - points[..., :2]
    normal = torch.einsum("...l,...lic,...lid->...cd", weight, rows, rows)
    moment = torch.einsum("...l,...lic,...li->...c", weight, rows, right)
    return torch.linalg.solve(normal + 1e-9 * torch.eye(3, dtype=points.dtype), moment)


def rotation_to_ray(ray: Tensor) -> Tensor:
    """Rotation (..., 3, 3) that takes the optical axis (0, 0, 1) to the direction of `ray`.

    A crop away from the image's middle is seen along its own ray; what a crop network calls
    "towards the camera" is along that ray, and this rotation turns it into camera axes.
    """
    forward = torch.zeros_like(ray)
    forward[..., 2] = 1
    return swing_between(forward, ray)


def image_of(points: Array, K: Array) -> Array:
    """Where camera points (..., 3) m lie in the picture, (..., 2) px, in float64; K: (3, 3) px."""
    return project(torch.from_numpy(np.float64(points)), torch.from_numpy(np.float64(K))).numpy()
