"""Rotations: axioms, both singular ends, gradients."""

import math

import pytest
import roma
import torch
from torch import Tensor

from hpsvid.common.geometry import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    nearest_rotation,
    project,
    rotation_about,
    rotation_to_ray,
    slerp,
    swing_between,
    swing_twist,
    translation_onto,
)

EYE = torch.eye(3, dtype=torch.float64)


def directions(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return vectors / vectors.norm(dim=-1, keepdim=True)


def rotations(count: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    quat = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    return roma.unitquat_to_rotmat(quat / quat.norm(dim=-1, keepdim=True))


def tilted(source: Tensor, angle: float) -> Tensor:
    """`source` turned by `angle` about some axis orthogonal to it."""
    sideways = torch.linalg.cross(source, directions(len(source), 9))
    sideways = sideways / sideways.norm(dim=-1, keepdim=True)
    return math.cos(angle) * source + math.sin(angle) * sideways


def assert_rotation(matrix: Tensor, atol: float) -> None:
    eye = torch.eye(3, dtype=matrix.dtype)
    assert torch.allclose(matrix @ matrix.mT, eye.expand_as(matrix), atol=atol, rtol=0)
    assert torch.allclose(torch.linalg.det(matrix), torch.ones_like(matrix[..., 0, 0]), atol=atol)


# pi minus each of these, too: from well inside to closer than float32 can tell
ANGLES = [0.0, 1e-12, 1e-7, 1e-4, 0.1, 1.0, 2.0, 3.0]
ANGLES += [math.pi - a for a in (1e-2, 9e-3, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-12, 0.0)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", ANGLES)
def test_swing_is_the_smallest_rotation_between_two_directions(angle, dtype):
    source = directions(64)
    target = tilted(source, angle).to(dtype)
    source = source.to(dtype)
    swing = swing_between(2 * source, 0.3 * target)
    eps = torch.finfo(dtype).eps
    assert_rotation(swing, 20 * eps)
    assert torch.allclose((swing @ source[..., None])[..., 0], target, atol=20 * eps, rtol=0)
    found = (source * (swing @ source[..., None])[..., 0]).sum(-1)
    trace = torch.diagonal(swing, dim1=-2, dim2=-1).sum(-1)
    assert torch.allclose((trace - 1) / 2, found, atol=20 * eps)  # no twist on top


def test_swing_matches_rodrigues_formula():
    source, target = directions(32, 2), directions(32, 3)
    axis = torch.linalg.cross(source, target)
    sin = axis.norm(dim=-1)
    expected = rotation_about(axis / sin[..., None], (source * target).sum(-1), sin)
    assert torch.allclose(swing_between(source, target), expected, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1.0, 3.0])
def test_swing_gradient_also_where_source_and_target_agree(angle):
    source = directions(3)
    target = tilted(source, angle).requires_grad_()
    source = source.requires_grad_()
    assert torch.autograd.gradcheck(swing_between, (source, target))


def test_swing_gradient_stays_finite_at_opposite_directions():
    source = directions(8).requires_grad_()
    swing_between(source, -source.detach()).sum().backward()
    assert source.grad is not None
    assert source.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_swing_twist_recomposes_any_rotation(dtype):
    axis = directions(256, 4).to(dtype)
    general = rotations(256).to(dtype)
    nearly_opposite = swing_between(axis, tilted(axis.double(), math.pi - 1e-6).to(dtype))
    twist_of_pi = rotation_about(axis, -torch.ones(256, dtype=dtype), torch.zeros(256))
    for rotmat in (general, nearly_opposite @ general, nearly_opposite, twist_of_pi):
        swing, twist = swing_twist(rotmat, 0.2 * axis)
        cos, sin = twist.unbind(-1)
        back = swing @ rotation_about(axis, cos, sin)
        tolerance = 40 * torch.finfo(dtype).eps
        assert torch.allclose(back, rotmat, atol=tolerance, rtol=0)
        assert torch.allclose(cos**2 + sin**2, torch.ones_like(cos), atol=tolerance)


def test_swing_twist_reads_a_pure_twist():
    axis = directions(16)
    angle = torch.linspace(-3.1, 3.1, 16, dtype=torch.float64)
    rotmat = rotation_about(axis, angle.cos(), angle.sin())
    swing, twist = swing_twist(rotmat, axis)
    assert torch.allclose(swing, EYE.expand(16, 3, 3), atol=1e-12)
    assert torch.allclose(torch.atan2(twist[:, 1], twist[:, 0]), angle, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-3, 1.5, math.pi - 1e-4, math.pi - 1e-8])
def test_axis_angle_round_trip(angle):
    axis_angle = angle * directions(32)
    rotmat = axis_angle_to_matrix(axis_angle)
    assert_rotation(rotmat, 1e-12)
    assert torch.allclose(rotmat, torch.linalg.matrix_exp(_skew(axis_angle)), atol=1e-9)
    assert torch.allclose(matrix_to_axis_angle(rotmat), axis_angle, atol=1e-7)


def _skew(v: Tensor) -> Tensor:
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_nearest_rotation_ignores_scale_and_noise_has_right_gradient(scale):
    rotmat = rotations(16)
    assert torch.allclose(nearest_rotation(scale * rotmat), rotmat, atol=1e-10)
    generator = torch.Generator().manual_seed(5)
    noisy = rotmat + 0.3 * torch.randn(16, 3, 3, generator=generator, dtype=torch.float64)
    found = nearest_rotation(scale * noisy)
    assert_rotation(found, 1e-10)
    others = axis_angle_to_matrix(1e-2 * directions(16, 6)) @ found
    assert ((found - noisy).norm(dim=(-1, -2)) <= (others - noisy).norm(dim=(-1, -2))).all()
    step = 1e-6 * scale
    inputs = (scale * noisy[:3]).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda m: scale * nearest_rotation(m), inputs, eps=step, atol=1e-5
    )


def test_nearest_rotation_of_what_determines_none():
    line = directions(4)[:, :, None] * directions(4, 7)[:, None]
    mirror = torch.diag(torch.tensor([1.0, 1, -1], dtype=torch.float64))
    for matrix in (line, mirror[None], 1e-9 * line, torch.zeros_like(line)):
        matrix.requires_grad_()
        found = nearest_rotation(matrix)
        assert_rotation(found.detach(), 1e-12)
        found.sum().backward()
        assert matrix.grad is not None and matrix.grad.isfinite().all()


def test_projection_hits_the_pixel_that_the_camera_matrix_says():
    K = torch.tensor([[1000.0, 0, 640], [0, 900, 360], [0, 0, 1]], dtype=torch.float64)
    point = torch.tensor([[0.5, -0.25, 2.0]], dtype=torch.float64)
    assert project(point, K).tolist() == [[890.0, 247.5]]


def test_rotation_to_ray_turns_the_optical_axis():
    ray = directions(16)
    ray[:, 2] = ray[:, 2].abs()
    turned = rotation_to_ray(3 * ray)[..., 2]
    assert torch.allclose(turned, ray, atol=1e-12)


def test_slerp_turns_steadily_from_start_to_end():
    start, way = rotations(32), directions(32, 5)
    end = start @ roma.rotvec_to_rotmat(2.5 * way)
    weight = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)[:, None]
    between = slerp(start, end, weight)
    assert between.shape == (3, 32, 3, 3)
    expected = start @ roma.rotvec_to_rotmat(2.5 * weight[..., None] * way)
    assert torch.allclose(between, expected, atol=1e-12)


def test_translation_onto_finds_where_points_were_seen_from():
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(5, 12, 3, generator=generator, dtype=torch.float64) * 0.4
    place = torch.tensor([0.3, -0.2, 4.0]) + torch.randn(5, 3, generator=generator) * 0.5
    K = torch.tensor([[900.0, 0, 640], [0, 950, 360], [0, 0, 1]], dtype=torch.float64)
    image = project(points + place[:, None], K)
    weight = torch.ones(5, 12, dtype=torch.float64)
    image[:, 3] += 500
    weight[:, 3] = 0  # a wrong point that counts for nothing
    found = translation_onto(points, image, weight, K)
    assert torch.allclose(found, place.double(), atol=1e-6)
    assert (translation_onto(points, image, 0 * weight, K) == 0).all()
