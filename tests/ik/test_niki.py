"""NIKI: exact inverses of whole models, what they hold by construction, and the solver."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from hpsvid.common.checkpoints import save_weights
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.common.records import take_frames
from hpsvid.evaluation.noise_curves import compare, hybrik_method, network_method
from hpsvid.ik import load_solver
from hpsvid.ik.hybrik import HybrIK, solve, twists
from hpsvid.ik.mlp import MlpIk
from hpsvid.ik.networks import NikiSolver, load_trained
from hpsvid.ik.niki import Kind, Niki, NikiConfig
from hpsvid.ik.tensors import (
    Evidence,
    Person,
    Pose,
    posed_joints,
    rotation_6d_to_rotmat,
    rotmat_to_6d,
    swings_of,
    to_rest_axes,
)
from hpsvid.mocap.amass import read_mocap_folder
from hpsvid.mocap.sources import even_windows
from hpsvid.training.losses import Batch, LossWeights, mmd, niki_loss
from hpsvid.types import Observations, Window

KINDS = pytest.mark.parametrize("kind", ["one-stage", "twist-and-swing"])
ATTENTION = pytest.mark.parametrize("attention", [0, 8], ids=["frame-based", "temporal"])
ANALYTIC = pytest.mark.parametrize("analytic", [True, False], ids=["analytic", "plain"])


def make_model(kind: Kind = "twist-and-swing", attention=8, analytic=True, *, moved=True) -> Niki:
    """A small model; `moved` gives its last layers, zero at first, the scale of the others."""
    torch.manual_seed(0)
    config = NikiConfig(
        kind=kind, blocks=2, twist_blocks=1, hidden=24, attention=attention, heads=2,
        analytic=analytic,
    )  # fmt: skip
    model = Niki(config)
    for p in model.parameters():
        if moved and not p.any():
            nn.init.normal_(p, std=0.02)
    return model


def make_poses(body, batch=2, length=6, noise_m=0.03, dtype=torch.float64, pace=0.05):
    """True rotations, exact evidence, noisy evidence and the person, in the rest body's axes."""
    generator = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(batch, *shape, generator=generator, dtype=dtype)

    betas = normal(1, 10)
    rest = body.rest_joints(betas.float()).to(dtype)
    walk = (pace * normal(length, 24, 3)).cumsum(1)
    rotmats = axis_angle_to_matrix(0.4 * normal(1, 24, 3) + walk)
    wide = rest.expand(batch, length, 29, 3)
    exact = Evidence(joints=posed_joints(rotmats, wide), twist=twists(rotmats, wide))
    error = noise_m * normal(length, 29, 3)
    error[..., 0, :] = 0
    person = Person(
        rest=rest,
        betas=betas,
        view=nn.functional.normalize(normal(length, 3), dim=-1),
        sigma=torch.full((batch, length, 29), max(noise_m, 1e-3), dtype=dtype),
        valid=torch.ones(batch, length, dtype=torch.bool),
    )
    noisy = replace(exact, joints=exact.joints + error)
    _, noisy, turned = to_rest_axes(noisy, person, framewise=False)
    turn, exact, _ = to_rest_axes(exact, person, framewise=False)
    rotmats = torch.cat([(turn @ rotmats[:, :, 0])[:, :, None], rotmats[:, :, 1:]], 2)
    return rotmats, exact, noisy, turned


@KINDS
@ATTENTION
@ANALYTIC
@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_solving_and_explaining_are_inverses(body, kind, attention, analytic, dtype, most):
    model = make_model(kind, attention, analytic).to(dtype)
    _, _, noisy, person = make_poses(body, dtype=dtype)
    padding = 0.1 * torch.randn(2, 6, model.pad_dim, dtype=dtype)
    pose = model.solve(noisy, person, padding=padding)
    evidence, found, _ = model.explain(pose, person)
    assert (evidence.joints - noisy.joints).abs().max() < most
    assert (evidence.twist - noisy.twist).abs().max() < most
    assert (found - padding).abs().max() < most
    again = model.solve(evidence, person, padding=found)
    assert (again.rotations - pose.rotations).abs().max() < most
    assert (again.z - pose.z).abs().max() < most


@KINDS
@ATTENTION
def test_without_error_the_pose_is_the_truth_and_z_is_zero(body, kind, attention):
    """Eq. 5-6: what an analytic model holds before it has learned anything."""
    model = make_model(kind, attention, moved=False).double()
    rotmats, exact, _, person = make_poses(body)
    person = replace(person, sigma=torch.full_like(person.sigma, 1e-6))
    pose = model.solve(exact, person)
    # a temporal model leaves an exact frame a few mm of room towards its neighbours
    atol = 1e-3 if attention == 0 else 0.05
    assert torch.allclose(rotation_6d_to_rotmat(pose.rotations), rotmats, atol=atol)
    assert pose.z.abs().max() < atol
    clean = Pose(
        rotations=rotmat_to_6d(rotmats),
        swings=rotmat_to_6d(swings_of(exact.joints, person.rest.expand_as(exact.joints))),
        z=torch.zeros_like(pose.z),
    )
    evidence, padding, swings = model.explain(clean, person)
    assert torch.allclose(evidence.joints, exact.joints, atol=atol)
    assert torch.allclose(evidence.twist, exact.twist, atol=atol)
    assert padding.abs().max() < 2 * atol
    if swings is not None and clean.swings is not None:
        assert torch.allclose(swings, clean.swings, atol=atol)


@KINDS
def test_a_frame_based_model_starts_as_hybrik(body, kind):
    model = make_model(kind, 0, moved=False).double()
    _, _, noisy, person = make_poses(body, noise_m=0.05)
    found = rotation_6d_to_rotmat(model.solve(noisy, person).rotations)
    expected = solve(noisy.joints, person.rest.expand_as(noisy.joints), noisy.twist)
    rest = person.rest.expand_as(noisy.joints)
    error = posed_joints(found, rest) - posed_joints(expected, rest)
    assert error.norm(dim=-1).max() < 1e-3


@KINDS
def test_an_untrained_temporal_model_beats_hybrik_on_noise(body, kind):
    model = make_model(kind, 8, moved=False).double()
    rotmats, _, noisy, person = make_poses(body, length=16, noise_m=0.05, pace=0.01)
    rest = person.rest.expand_as(noisy.joints)
    truth = posed_joints(rotmats, rest)
    found, analytic = (
        (posed_joints(r, rest) - truth).norm(dim=-1).mean()
        for r in (
            rotation_6d_to_rotmat(model.solve(noisy, person).rotations),
            solve(noisy.joints, rest, noisy.twist),
        )
    )
    assert found < 0.8 * analytic


@pytest.mark.parametrize("name", ["inv", "fwd", "ind", "bnd_i", "bnd_f", "swing"])
def test_every_loss_can_be_switched_off(body, name):
    model = make_model(attention=0)
    rotmats, _, noisy, person = make_poses(body, length=2, dtype=torch.float32)
    exact = replace(person, sigma=torch.full_like(person.sigma, 0.004))
    batch = Batch(evidence=noisy, person=person, exact=exact, rotmats=rotmats)

    def draw(weights):
        return niki_loss(model, batch, weights, torch.Generator().manual_seed(0))

    full, terms = draw(LossWeights())
    weights = LossWeights()
    expected = sum(getattr(weights, term) * value for term, value in terms.items())
    assert np.isclose(full.item(), expected, rtol=1e-5)
    less, rest = draw(replace(weights, **{name: 0.0}))
    if name == "swing":
        assert less.item() < full.item()
    else:
        share = getattr(weights, name) * terms[name]
        assert np.isclose(less.item(), full.item() - share, rtol=1e-4)
        assert terms[name] > 0
        assert set(rest) >= set(terms) - {name}


def test_jitter_costs_temporal_models_alone(body):
    rotmats, exact, noisy, person = make_poses(
        body, length=8, dtype=torch.float32, noise_m=0.05, pace=0.01
    )
    weights = LossWeights(acceleration=1.0)

    def jitter(evidence, attention):
        model = make_model(attention=attention, moved=False)
        batch = Batch(evidence=evidence, person=person, exact=person, rotmats=rotmats)
        return niki_loss(model, batch, weights)[1]

    assert jitter(noisy, 8)["acceleration"] > 2 * jitter(exact, 8)["acceleration"]
    assert "acceleration" not in jitter(noisy, 0)


@ANALYTIC
@KINDS
def test_the_losses_reach_every_parameter(body, kind, analytic):
    model = make_model(kind, 8, analytic)
    rotmats, _, noisy, person = make_poses(body, length=6, dtype=torch.float32)
    batch = Batch(evidence=noisy, person=person, exact=person, rotmats=rotmats)
    niki_loss(model, batch, LossWeights())[0].backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
        assert p.grad.abs().max() > 0, name


def test_discrepancy_tells_samples_apart():
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(300, 4, generator=generator)
    second = torch.randn(300, 4, generator=generator)
    assert abs(mmd(first, first).item()) < 1e-6
    assert mmd(first, second + 1) > 10 * mmd(first, second)


def make_window(body, length, seed=0, padded=0) -> tuple[Window, np.ndarray]:
    rng = np.random.default_rng(seed)
    betas = rng.normal(size=10).astype(np.float32)
    walk = 0.4 * rng.normal(size=(24, 3)) + 0.05 * rng.normal(size=(length, 24, 3)).cumsum(0)
    rotmats = axis_angle_to_matrix(torch.from_numpy(walk)).float()
    rest = body.rest_joints(torch.from_numpy(betas)).expand(length, 29, 3)
    joints = posed_joints(rotmats, rest).numpy()
    joints = joints + 0.03 * rng.normal(size=joints.shape) * (np.arange(29) > 0)[:, None]
    obs = Observations(
        track_id=0,
        frame_index=np.arange(length, dtype=np.int64),
        joints=joints.astype(np.float32),
        sigma=np.full((length, 29), 0.03, np.float32),
        twist=twists(rotmats, rest).numpy(),
        betas=np.tile(betas, (length, 1)),
        landmarks2d=np.zeros((length, 33, 3), np.float32),
        pelvis=np.tile(np.array([0.5, 0.2, 4], np.float32), (length, 1)),
        valid=np.ones(length, bool),
    )
    return Window(obs=obs, start=0, valid=np.arange(length) < length - padded), betas


@ATTENTION
@pytest.mark.parametrize("length", [1, 2, 7])
def test_solver_takes_any_window(body, attention, length):
    solver = NikiSolver(body, make_model(attention=attention), "niki")
    window, betas = make_window(body, length)
    params = solver(window, betas)
    assert len(params) == length
    assert np.isfinite(params.rotmats).all()
    identity = params.rotmats @ params.rotmats.swapaxes(-1, -2)
    assert np.allclose(identity, np.eye(3), atol=1e-5)
    assert np.allclose(np.linalg.det(params.rotmats), 1, atol=1e-5)
    posed = body.joints(*(torch.from_numpy(x) for x in (params.rotmats, betas, params.transl)))
    assert np.allclose(posed[:, 0], window.obs.pelvis, atol=1e-5)


@ATTENTION
def test_solver_never_looks_at_padding(body, attention):
    solver = NikiSolver(body, make_model(attention=attention), "niki")
    window, betas = make_window(body, 9, padded=4)
    obs = window.obs
    head = take_frames(obs, slice(0, 5))
    short = Window(obs=head, start=0, valid=np.ones(5, bool))
    found, expected = solver(window, betas), solver(short, betas)
    assert np.allclose(found.rotmats[:5], expected.rotmats, atol=1e-4)


@ATTENTION
def test_solver_is_equivariant(body, attention):
    """A person who faces another way is solved the same, turned."""
    solver = NikiSolver(body, make_model(attention=attention), "niki")
    window, betas = make_window(body, 6)
    angle = torch.tensor([0.3, 2.0, -0.7])
    turn = axis_angle_to_matrix(angle).numpy()
    obs = replace(window.obs, joints=window.obs.joints @ turn.T, pelvis=window.obs.pelvis @ turn.T)
    found = solver(replace(window, obs=obs), betas).rotmats
    expected = solver(window, betas).rotmats
    assert np.allclose(found[:, 0], turn @ expected[:, 0], atol=1e-3)
    assert np.allclose(found[:, 1:], expected[:, 1:], atol=1e-3)


def test_clean_evidence_is_solved_as_hybrik_solves_it(body):
    model = make_model(attention=0, moved=False)
    window, betas = make_window(body, 4)
    found = NikiSolver(body, model, "niki")(window, betas)
    expected = HybrIK(body)(window, betas)
    assert np.allclose(found.rotmats, expected.rotmats, atol=1e-3)


def test_weights_survive_saving(body, tmp_path):
    model = make_model()
    path = tmp_path / "w.safetensors"
    save_weights(model, path, {"model": model.config.as_dict()})
    window, betas = make_window(body, 5)
    found = load_trained(path, "niki-temporal", body)
    expected = NikiSolver(body, model, "niki-temporal")(window, betas)
    assert found.window_length == 64
    # float16 storage: a rotation may change by about its rounding
    assert np.allclose(found(window, betas).rotmats, expected.rotmats, atol=5e-3)


SHIPPED = ("niki-temporal", "niki", "niki-one-stage")


@pytest.fixture(scope="module")
def held_back(body, shared):
    """Windows of motion capture that no shipped network was trained on."""
    folder = shared / "data" / "mocap" / "free" / "val" / "cmu_expmap8"
    return even_windows(tuple(read_mocap_folder(folder, body)), 32, 6)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_invert_exactly(body, name):
    solver = load_solver(name, body)
    assert isinstance(solver, NikiSolver)
    for dtype, most in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        model = solver.model.to(dtype)
        _, _, noisy, person = make_poses(body, dtype=dtype, pace=0.01)
        pose = model.solve(noisy, person)
        evidence, padding, _ = model.explain(pose, person)
        assert (evidence.joints - noisy.joints).abs().max() < most
        assert (evidence.twist - noisy.twist).abs().max() < most
        assert padding.abs().max() < 20 * most  # rotations: joints' rounding over short bones


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_beat_hybrik_on_noise(body, held_back, name):
    solver = load_solver(name, body)
    assert isinstance(solver, NikiSolver)
    methods = {"hybrik": hybrik_method, name: network_method(solver.model)}
    scores = compare(methods, held_back, body, levels=(0, 30, 80, None))
    assert scores[name, 0].mpjpe < 8
    for level in (30, 80, None):
        assert scores[name, level].mpjpe < 0.9 * scores["hybrik", level].mpjpe
    # occlusion on motion: the paper's margin over adaptive HybrIK
    assert scores[name, None].pa_mpjpe < 0.62 * scores["hybrik", None].pa_mpjpe


def test_a_temporal_model_sees_more_than_single_frames(body, held_back):
    methods = {}
    for name in ("niki", "niki-temporal"):
        solver = load_solver(name, body)
        assert isinstance(solver, NikiSolver)
        methods[name] = network_method(solver.model)
    scores = compare(methods, held_back, body, levels=(None,))
    frame, temporal = scores["niki", None], scores["niki-temporal", None]
    assert temporal.mpjpe < 0.85 * frame.mpjpe
    assert temporal.acceleration < 0.6 * frame.acceleration


def test_mlp_baseline_gives_rotations_and_is_equivariant(body):
    torch.manual_seed(0)
    model = MlpIk(hidden=16, blocks=1)
    _, _, noisy, person = make_poses(body, dtype=torch.float32)
    turn = axis_angle_to_matrix(torch.tensor([0.3, 2.0, -0.7]))
    found = model.rotations(noisy, person)
    assert torch.allclose(found @ found.mT, torch.eye(3).expand_as(found), atol=1e-5)
    turned = replace(noisy, joints=noisy.joints @ turn.T)
    again = model.rotations(turned, replace(person, view=person.view @ turn.T))
    assert torch.allclose(again[..., 0, :, :], turn @ found[..., 0, :, :], atol=1e-4)
    assert torch.allclose(again[..., 1:, :, :], found[..., 1:, :, :], atol=1e-4)
