"""IKOL: Jacobians against autograd, the released module's numbers, noise, hidden joints, time."""

import numpy as np
import pytest
import roma
import torch

from hpsvid.body.skeleton import forward_kinematics
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.ik import hybrik, load_solver
from hpsvid.ik.hybrik import twists
from hpsvid.ik.ikol import CHUNK_FRAMES, MOVES, Ikol, bone_frames, solve, turned_by
from hpsvid.types import Observations, Window
from tools.tables.solver_tables import joint_jacobian, released_kinematics, solve_released


@pytest.fixture(scope="module")
def poses(shared):
    with np.load(shared / "ref" / "hybrik_ik.npz") as archive:
        return {key: torch.from_numpy(archive[key]) for key in archive.files}


@pytest.fixture(scope="module")
def released(shared):
    with np.load(shared / "ref" / "ikol.npz") as archive:
        return {key: torch.from_numpy(archive[key]) for key in archive.files}


@pytest.fixture(scope="module")
def moving(body):
    """A second of slow motion in float64: rotations, rest skeleton, joints, twists."""
    generator = torch.Generator().manual_seed(0)
    first = 0.5 * torch.randn(1, 24, 3, generator=generator, dtype=torch.float64)
    steps = 0.02 * torch.randn(30, 24, 3, generator=generator, dtype=torch.float64)
    rotmats = axis_angle_to_matrix(first + steps.cumsum(0))
    rest = body.rest_joints(torch.randn(10, generator=generator)).double()
    return rotmats, rest, forward_kinematics(rotmats, rest)[0], twists(rotmats, rest)


def error_mm(rotmats, rest, joints):
    posed, _ = forward_kinematics(rotmats, rest)
    off = (posed - posed[..., :1, :]) - (joints - joints[..., :1, :])
    return 1e3 * off[..., :24, :].norm(dim=-1).mean().item()


def leaves(released):
    return roma.unitquat_to_rotmat(released["leaf_quat"].roll(-1, -1))


def test_jacobian_is_what_autograd_finds(moving):
    rotmats, rest, _, twist = (x[:4] if x.ndim > 2 else x for x in moving)
    rotmats = solve(forward_kinematics(rotmats, rest)[0], rest, twist)

    def joints(step):
        posed, _ = forward_kinematics(turned_by(rotmats, bone_frames(rest, twist), step), rest)
        return (posed - posed[:, :1])[:, 1:].sum(0)  # frames do not mix: the sum keeps them apart

    wanted = torch.autograd.functional.jacobian(joints, torch.zeros(4, 50).double())
    found, jacobian = joint_jacobian(rotmats, rest, twist)
    assert torch.allclose(jacobian, wanted.permute(2, 3, 1, 0), atol=1e-9)
    assert torch.allclose(found.sum(0), joints(torch.zeros(4, 50).double()), atol=1e-9)
    assert (jacobian.abs().sum(-2).amax(0) > 0).int().equal(MOVES.int())


def test_released_jacobian_put_right(released):
    """The stored autograd Jacobian is met to 1e-4, from which the authors' analytic one is far."""
    joints = released["joints24_gt"] - released["joints24_gt"][:, :1]
    given = (released["jac_alpha"], joints, released["rest_J24"], released["phi"], leaves(released))
    _, found, jacobian = released_kinematics(*(x[:16] for x in given))
    jacobian = jacobian.permute(0, 3, 2, 1).flatten(1, 2)
    assert torch.allclose(found.flatten(1), released["jac_pred"], atol=1e-5)
    assert torch.allclose(jacobian, released["jac_autograd"], atol=1e-4)
    assert (jacobian - released["jac_analytic"]).abs().max() > 1


@pytest.mark.parametrize(
    ("kind", "joints"), [("clean", "joints24_gt"), ("noisy", "joints24_noisy")]
)
def test_reproduces_the_released_layer(released, kind, joints):
    """With its settings, 5 iterations and damping 0.1, and the Jacobian that autograd gives it."""
    rest, twist = released["rest_J24"], released["phi"]
    rotmats = solve_released(released[joints], rest, twist, leaves(released))
    stored = released[f"auto_{kind}_quat"].unflatten(-1, (24, 4)).roll(-1, -1)
    assert torch.allclose(rotmats, roma.unitquat_to_rotmat(stored), atol=1e-4)
    rest = torch.cat([rest, rest[:, :5]], 1)  # any leaves
    posed, _ = forward_kinematics(rotmats, rest)
    assert torch.allclose(posed[:, :24] - posed[:, :1], released[f"auto_{kind}_joints"], atol=2e-5)


def test_better_than_analytic_under_jitter(poses):
    """Table 2 at the default settings; clean evidence comes back within a millimetre."""
    rest, joints, twist = poses["rest_J29"], poses["joints29_gt"], poses["phi"]
    assert error_mm(solve(joints, rest, twist), rest, joints) < 1
    generator = torch.Generator().manual_seed(0)
    for k in (10, 20, 30):
        jitter = (2 * torch.rand(4, 64, 29, 3, generator=generator) - 1) * k * 1e-3
        jitter[..., 0, :] = 0
        analytic = hybrik.solve(joints + jitter, rest, twist)
        found = solve(joints + jitter, rest, twist)
        assert error_mm(found, rest, joints) < 0.87 * error_mm(analytic, rest, joints)


def test_keeps_the_twist_it_is_given(moving):
    rotmats, rest, joints, twist = moving
    found = solve(joints, rest, twist)
    assert torch.allclose(found, rotmats, atol=1e-6)
    turned = twist.roll(1, -1)
    several = torch.tensor([j != 8 for j in range(23)])  # spine3 reads none
    assert torch.allclose(
        twists(solve(joints, rest, turned), rest)[:, several], turned[:, several], atol=1e-6
    )


def test_sure_joints_count_more(moving):
    _, rest, joints, twist = moving
    generator = torch.Generator().manual_seed(1)
    sigma = torch.full((30, 29), 0.01).double()
    hidden = [5, 8, 11, 28, 19, 21, 23, 26]  # a leg and an arm
    sigma[:, hidden] = 0.15
    noise = torch.randn(joints.shape, generator=generator, dtype=torch.float64)
    seen = joints + sigma[..., None] * noise * (torch.arange(29) > 0)[:, None]
    off = []
    for told in (sigma, None):
        posed, _ = forward_kinematics(solve(seen, rest, twist, sigma=told), rest)
        apart = (posed - posed[:, :1] - joints + joints[:, :1]).norm(dim=-1)
        off.append(apart[:, [j for j in range(29) if j not in hidden]].mean())
    assert off[0] < 0.75 * off[1]


def test_a_frame_without_sense_starts_from_its_neighbour(moving):
    """A frame in which the upper body is guesswork, between frames that are seen."""
    _, rest, joints, twist = moving
    generator = torch.Generator().manual_seed(3)
    sigma = torch.full((30, 29), 0.005).double()
    sigma[10::10, [3, 6, 9, *range(12, 28)]] = 0.4
    noise = torch.randn(joints.shape, generator=generator, dtype=torch.float64)
    seen = joints + sigma[..., None] * noise * (torch.arange(29) > 0)[:, None]
    cold, warm = (solve(seen, rest, twist, sigma=sigma, in_time=t) for t in (False, True))
    assert error_mm(warm[10::10], rest, joints[10::10]) < 0.7 * error_mm(
        cold[10::10], rest, joints[10::10]
    )
    assert torch.allclose(warm[0], cold[0], atol=1e-9)


def test_gradients_flow_through_the_steps(moving):
    """GN-Diff: by joints, skeleton, twists and sigmas."""
    _, rest, joints, twist = (x[:1] if x.ndim > 2 else x for x in moving)
    generator = torch.Generator().manual_seed(3)
    joints = joints + 0.02 * torch.randn(joints.shape, generator=generator, dtype=torch.float64)
    sigma = 0.01 + 0.02 * torch.rand(1, 29, generator=generator, dtype=torch.float64)
    given = [x.detach().requires_grad_() for x in (joints, rest, twist, sigma)]

    def solved(joints, rest, twist, sigma):
        return solve(joints, rest, twist, sigma=sigma, iterations=2)

    assert torch.autograd.gradcheck(solved, given, fast_mode=True)


def test_any_leading_dimensions(moving):
    rotmats, rest, joints, twist = moving
    flat = solve(joints, rest, twist, iterations=2)
    shaped = solve(
        joints.reshape(5, 6, 29, 3) + 5,
        rest.expand(5, 1, 29, 3),
        twist.reshape(5, 6, 23, 2),
        iterations=2,
    )
    assert torch.allclose(shaped.reshape(rotmats.shape), flat, atol=1e-9)


def test_degenerate_input_gives_rotations_and_finite_gradients(body):
    """All joints in one point, no twist, no doubt: neither a crash nor NaN downstream."""
    rest = body.rest_joints(torch.zeros(2, 10))
    joints = torch.zeros(2, 29, 3, requires_grad=True)
    rotmats = solve(joints, rest, torch.zeros(2, 23, 2), sigma=torch.zeros(2, 29), in_time=True)
    assert torch.allclose(rotmats @ rotmats.mT, torch.eye(3).expand(2, 24, 3, 3), atol=1e-4)
    rotmats.sum().backward()
    assert joints.grad is not None
    assert joints.grad.isfinite().all()


def test_solver_solves_a_long_track(body):
    generator = torch.Generator().manual_seed(4)
    count = CHUNK_FRAMES + 3
    rotmats = axis_angle_to_matrix(0.5 * torch.randn(count, 24, 3, generator=generator))
    betas = np.linspace(-1, 1, 10).astype(np.float32)
    rest = body.rest_joints(torch.from_numpy(betas))
    joints, _ = forward_kinematics(rotmats, rest)
    obs = Observations(
        track_id=3,
        frame_index=np.arange(count),
        joints=(joints - joints[:, :1]).numpy(),
        sigma=np.full((count, 29), 0.03, np.float32),
        twist=twists(rotmats, rest).numpy(),
        betas=np.zeros((count, 10), np.float32),
        landmarks2d=np.zeros((count, 33, 3), np.float32),
        pelvis=np.full((count, 3), 2.0, np.float32),
        valid=np.ones(count, bool),
    )
    solver = load_solver("ikol", body)
    assert isinstance(solver, Ikol)
    params = solver(Window(obs=obs, start=0, valid=np.ones(count, bool)), betas)
    posed = body.joints(
        torch.from_numpy(params.rotmats), torch.from_numpy(betas), torch.from_numpy(params.transl)
    )
    assert torch.allclose(posed[:, 0], torch.full((count, 3), 2.0), atol=1e-5)
    assert torch.allclose(posed - posed[:, :1], joints - joints[:, :1], atol=1e-4)
