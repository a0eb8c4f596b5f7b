"""GIK-Net: what it does with joints that are missing, its losses, and the solver."""

from dataclasses import replace

import pytest
import torch

from hpsvid.body.model import Body
from hpsvid.common.checkpoints import save_weights
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.evaluation.noise_curves import compare, hybrik_method, network_method
from hpsvid.ik import load_solver
from hpsvid.ik.gik import MISSING_M, GikNet
from hpsvid.ik.hybrik import twists
from hpsvid.ik.networks import NetworkSolver, load_trained
from hpsvid.ik.tensors import Evidence, Person, posed_joints
from hpsvid.mocap.amass import read_mocap_folder
from hpsvid.mocap.sources import even_windows
from hpsvid.training.losses import Batch, gik_loss

SMALL = {"refine_hidden": 16, "refine_blocks": 1, "hidden": 16, "blocks": 1}
HIDDEN = [7, 18, 20]  # left ankle, left elbow, left wrist


@pytest.fixture
def model() -> GikNet:
    torch.manual_seed(0)
    return GikNet(**SMALL)


def make_batch(body: Body, size: int = 3, length: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(1)
    betas = torch.randn(size, 1, 10, generator=generator)
    rest = body.rest_joints(betas)
    rotmats = axis_angle_to_matrix(0.3 * torch.randn(size, length, 24, 3, generator=generator))
    wide = rest.expand(size, length, 29, 3)
    person = Person(
        rest=rest,
        betas=betas,
        view=torch.tensor([0.0, 0.0, 1.0]).expand(size, length, 3),
        sigma=torch.full((size, length, 29), 0.02),
        valid=torch.ones(size, length, dtype=torch.bool),
    )
    evidence = Evidence(joints=posed_joints(rotmats, wide), twist=twists(rotmats, wide))
    return Batch(evidence=evidence, person=person, exact=person, rotmats=rotmats)


def moved(batch: Batch, joints: list[int]) -> Evidence:
    joints3d = batch.evidence.joints.clone()
    joints3d[:, :, joints] += 0.3
    return replace(batch.evidence, joints=joints3d)


def test_a_joint_with_a_large_sigma_is_not_looked_at(body, model):
    batch = make_batch(body)
    sigma = batch.person.sigma.clone()
    sigma[:, :, HIDDEN] = 1.01 * MISSING_M
    unsure = replace(batch.person, sigma=sigma)
    off = moved(batch, HIDDEN)
    expected = model.rotations(batch.evidence, unsure)
    assert torch.equal(model.rotations(off, unsure), expected)
    assert not torch.allclose(model.rotations(off, batch.person), expected, atol=1e-3)


def test_gives_rotations_and_is_equivariant(body, model):
    batch = make_batch(body)
    turn = axis_angle_to_matrix(torch.tensor([0.3, 2.0, -0.7]))
    found = model.rotations(batch.evidence, batch.person)
    assert torch.allclose(found @ found.mT, torch.eye(3).expand_as(found), atol=1e-5)
    turned = replace(batch.evidence, joints=batch.evidence.joints @ turn.T)
    person = replace(batch.person, view=batch.person.view @ turn.T)
    again = model.rotations(turned, person)
    assert torch.allclose(again[..., 0, :, :], turn @ found[..., 0, :, :], atol=1e-4)
    assert torch.allclose(again[..., 1:, :, :], found[..., 1:, :, :], atol=1e-4)


def test_the_losses_reach_every_parameter_and_fall(body, model):
    batch = make_batch(body)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    totals = []
    for _ in range(60):
        optimiser.zero_grad()
        total, terms = gik_loss(model, batch, generator)
        total.backward()
        assert total.item() == pytest.approx(sum(terms.values()), rel=1e-5)
        totals.append(total.item())
        optimiser.step()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name
    assert sum(totals[-5:]) < 0.7 * sum(totals[:5])


def test_padding_and_the_direction_faced_do_not_count_in_the_loss(body, model):
    batch = make_batch(body)
    valid = batch.person.valid.clone()
    valid[:, 2:] = False
    cut = replace(batch, person=replace(batch.person, valid=valid))
    joints = cut.evidence.joints.clone()
    joints[:, 2:] += 1.0
    off = replace(cut, evidence=replace(cut.evidence, joints=joints))

    def loss(batch: Batch) -> float:
        return gik_loss(model, batch, torch.Generator().manual_seed(0))[0].item()

    assert loss(off) == pytest.approx(loss(cut), rel=1e-6)
    turn = axis_angle_to_matrix(torch.tensor([0.0, 1.0, 0.0]))
    rotmats = torch.cat([turn @ batch.rotmats[:, :, :1], batch.rotmats[:, :, 1:]], 2)
    turned = replace(
        batch,
        rotmats=rotmats,
        evidence=replace(batch.evidence, joints=batch.evidence.joints @ turn.T),
        person=replace(batch.person, view=batch.person.view @ turn.T),
    )
    assert loss(turned) == pytest.approx(loss(batch), rel=1e-4)


def test_weights_survive_saving(body, model, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(model, path, {"solver": "gik", "model": SMALL})
    batch = make_batch(body)
    found = load_trained(path, "gik", body)
    assert found.window_length is None
    expected = model.rotations(batch.evidence, batch.person)
    close = found.model.rotations(batch.evidence, batch.person)
    assert torch.allclose(close, expected, atol=5e-3)  # float16 storage


def test_shipped_weights_fill_in_what_is_hidden(body, shared):
    folder = shared / "data" / "mocap" / "free" / "val" / "cmu_expmap8"
    poses = even_windows(tuple(read_mocap_folder(folder, body)), 32, 6)
    solver = load_solver("gik", body)
    assert isinstance(solver, NetworkSolver)
    methods = {"hybrik": hybrik_method, "gik": network_method(solver.model)}
    scores = compare(methods, poses, body, levels=(50, None))
    for level in (50, None):
        assert scores["gik", level].pa_mpjpe < 0.8 * scores["hybrik", level].pa_mpjpe
