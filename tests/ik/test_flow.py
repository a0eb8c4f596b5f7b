"""Flows: exact inverses, log-determinants, gradients, padding and windows of any length."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hpsvid.ik.flow import CouplingSize, Flow, Given, Lift, couplings
from hpsvid.training.least_squares import fit_flow

DIM, N_CONDITION = 12, 5
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


def given(batch=3, length=9, dtype=torch.float64, seed=0) -> Given:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(batch, length, *shape, generator=generator, dtype=dtype)

    return Given(
        condition=normal(N_CONDITION),
        precision=normal(DIM).exp(),
        rest=normal(29, 3),
        valid=torch.ones(batch, length, dtype=torch.bool),
    )


def flow(attention: int, dtype=torch.float64, seed=0) -> Flow:
    """A flow whose last layers, zero at first, have moved to the scale of the others."""
    torch.manual_seed(seed)
    every = torch.arange(DIM)
    layers = couplings(
        every[2:8], every[:2], 2, 2,
        CouplingSize(n_condition=N_CONDITION, hidden=16, attention=attention, heads=2),
    )  # fmt: skip
    layers.append(Lift(8, lambda e, rest: torch.sin(e[..., :4]), lambda p, rest: p.repeat(1, 1, 2)))
    layers += couplings(
        every, every[:0], 3, 2,
        CouplingSize(n_condition=N_CONDITION, hidden=16, attention=attention, heads=2),
    )  # fmt: skip
    found = Flow(layers).to(dtype)
    for p in found.parameters():
        if not p.any():
            nn.init.normal_(p, std=0.15)
    return found


def features(about: Given, seed=1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (*about.valid.shape, DIM)
    return torch.randn(shape, generator=generator, dtype=about.condition.dtype)


@pytest.mark.parametrize("attention", [0, 8], ids=["frame-based", "temporal"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("length", [1, 2, 3, 16])
def test_inverse_is_exact(attention, dtype, length):
    about = given(length=length, dtype=dtype)
    model, u = flow(attention, dtype), features(about)
    v, log_det = model(u, about)
    assert (v - u).abs().max() > 0.1
    assert (model.inverse(v, about) - u).abs().max() < TOLERANCE[dtype]
    assert (model(model.inverse(u, about), about)[0] - u).abs().max() < TOLERANCE[dtype]
    assert log_det.shape == (3,)


@pytest.mark.parametrize("attention", [0, 8], ids=["frame-based", "temporal"])
def test_log_determinant_is_autograds(attention):
    about = given(batch=1, length=4)
    model, u = flow(attention), features(about)
    jacobian = torch.autograd.functional.jacobian(lambda x: model(x, about)[0].flatten(), u)
    expected = torch.linalg.slogdet(jacobian.reshape(4 * DIM, 4 * DIM))[1]
    assert torch.allclose(model(u, about)[1][0], expected, atol=1e-9)


@pytest.mark.parametrize("attention", [0, 8], ids=["frame-based", "temporal"])
def test_gradient_reaches_every_parameter_both_ways(attention):
    about = given()
    model, u = flow(attention), features(about)
    for result in (model(u, about)[0], model.inverse(u, about)):
        model.zero_grad()
        (result * features(about, seed=2)).sum().backward()
        for name, p in model.named_parameters():
            assert p.grad is not None, name
            assert torch.isfinite(p.grad).all(), name
            assert p.grad.abs().max() > 0, name


def test_padding_is_never_looked_at_and_passes_through():
    short, long = given(length=5), given(length=9)
    first = slice(0, 5)
    long = replace(
        long,
        valid=torch.arange(9)[None].expand(3, 9) < 5,
        condition=torch.cat([short.condition, 1e3 * long.condition[:, 5:]], 1),
        precision=torch.cat([short.precision, 1e3 * long.precision[:, 5:]], 1),
    )
    model, u = flow(8), features(short)
    padded = torch.cat([u, 1e3 * features(long)[:, 5:]], 1)
    for way in (lambda x, g: model(x, g)[0], model.inverse):
        result = way(padded, long)
        assert torch.allclose(result[:, first], way(u, short), atol=1e-9)
        assert torch.equal(result[:, 5:], padded[:, 5:])
    assert torch.allclose(model(padded, long)[1], model(u, short)[1], atol=1e-9)


def test_a_new_flow_trusts_the_more_precise_frames():
    """Untrained temporal couplings draw a bad frame to good ones and leave good ones alone."""
    torch.manual_seed(0)
    every = torch.arange(DIM)
    layers = couplings(
        every, every[:0], 2, 2,
        CouplingSize(n_condition=N_CONDITION, hidden=16, attention=8, heads=2),
    )  # fmt: skip
    model = Flow(layers).double()
    about = given(batch=1)
    precision = torch.full_like(about.precision, 1e4)
    precision[:, 4] = 1
    u = torch.zeros_like(precision)
    u[:, 4] = 1
    v = model(u, replace(about, precision=precision))[0]
    assert (v[:, 4] < 0.2).all()
    assert v[:, [0, 1, 2, 3, 5, 6, 7, 8]].abs().max() < 0.05


def test_same_input_same_output():
    about = given()
    model, u = flow(8), features(about)
    assert torch.equal(model(u, about)[0], model(u, about)[0])


def test_least_squares_takes_errors_out():
    """A flow fitted in closed form brings new noisy features closer to the truth."""
    torch.manual_seed(0)
    every = torch.arange(DIM)
    layers = couplings(
        every, every[:0], 3, 1,
        CouplingSize(n_condition=N_CONDITION, hidden=32, attention=8, heads=2, beliefs=True),
    )  # fmt: skip
    model = Flow(layers).double()

    def make(seed):
        about = given(batch=200, seed=seed)
        # six causes, seen twice: each feature is known from another one too
        truth = features(about, seed + 1)[..., :6].repeat(1, 1, 2)
        sigma = torch.where(features(about, seed + 2) > 0, 1.0, 0.1).double()
        noisy = truth + sigma * features(about, seed + 3)
        return noisy, replace(about, precision=sigma.square().reciprocal()), truth

    noisy, about, truth = make(10)
    fit_flow(model, noisy, about, truth)
    noisy, about, truth = make(20)
    found = model(noisy, about)[0]
    assert (found - truth).square().mean() < 0.6 * (noisy - truth).square().mean()
    assert (model.inverse(found, about) - noisy).abs().max() < 1e-10
