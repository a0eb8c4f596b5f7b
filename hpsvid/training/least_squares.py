"""Start a flow's couplings from a least-squares fit of their last layers."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hpsvid.ik.flow import BeliefCoupling, Flow, Given, Lift, TemporalCoupling
from hpsvid.ik.hybrik import twists
from hpsvid.ik.niki import Niki
from hpsvid.ik.tensors import Evidence, posed_joints, rotmat_to_6d, swings_of
from hpsvid.training.losses import Batch

SMALLEST = 0.004  # error, in the features' unit, below which there is nothing to gain
RELATIVE_TO = 0.04  # error, in the features' unit, below which a fit counts them as alike
DOUBT_SHIFTS = (-12.0, -6.0, -4.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0)


def fit_flow(flow: Flow, u: Tensor, given: Given, truth: Tensor, ridge: float = 1e-3) -> None:
    """Fit the couplings before the lifting layer, one after the other, by least squares.

    u, truth: (B, T, D) input with errors and without. Each coupling's last layer is set so that it
    brings its input closest to the truth; the layers before the last stay random features. No
    gradient is needed: this takes seconds, and is where training by gradient may start from.
    """
    with torch.no_grad():
        for layer in flow.layers:
            if isinstance(layer, Lift):
                break
            if isinstance(layer, BeliefCoupling):
                _fit_belief(layer, u, given, truth, ridge)
            elif isinstance(layer, TemporalCoupling):
                _fit_readout(layer, u, given, truth, ridge)
            u = layer(u, given)[0]


def _fit_belief(
    layer: BeliefCoupling, u: Tensor, given: Given, truth: Tensor, ridge: float
) -> None:
    columns = layer.read(u, given), *(x[..., layer.move] for x in (u, truth, given.precision))
    read, own, wanted, precision = (x[given.valid] for x in columns)
    samples = _Samples(
        read=read,
        own=own,
        truth=wanted,
        belief=torch.zeros_like(own),
        doubt=-torch.log(precision),
        precision=precision,
    )
    _fit_last(layer.network, samples, ridge)


def _fit_readout(
    layer: TemporalCoupling, u: Tensor, given: Given, truth: Tensor, ridge: float
) -> None:
    own, wanted, precision = (x[..., layer.features] for x in (u, truth, given.precision))
    moving, read, average, doubt = layer.neighbours(own, given)
    samples = _Samples(
        read=read[moving],
        own=own[moving],
        truth=wanted[moving],
        belief=average[moving],
        doubt=doubt[moving],
        precision=precision[moving],
    )
    _fit_last(layer.readout, samples, ridge)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Samples:
    """N samples of what a coupling sees of the M features that it moves."""

    read: Tensor  # (N, K) what its network reads
    own: Tensor  # (N, M) the features, with errors
    truth: Tensor  # (N, M) without
    belief: Tensor  # (N, M) before the network adds to it
    doubt: Tensor  # (N, M) the same
    precision: Tensor  # (N, M) as reported


def _fit_last(network: nn.Sequential, samples: _Samples, ridge: float) -> None:
    """Fit a network's last layer to add to the samples' belief and doubt.

    Belief: linear regression of the truth. Doubt: the difference of two regressions of log squared
    errors (log-linear variances; Harvey, Econometrica 1976), those of `own` and of the belief.
    That takes the two errors as independent; each feature's doubt is then shifted to where the
    mean error is least. Errors count relative to the reported ones.
    """
    last = network[-1]
    assert isinstance(last, nn.Linear)
    own, truth, belief, doubt = samples.own, samples.truth, samples.belief, samples.doubt
    reported = samples.precision.rsqrt().double() + RELATIVE_TO
    weight = reported.square().mean(1, keepdim=True).reciprocal()
    weight = weight / weight.mean()
    hidden = network[:-1](samples.read).double()
    mean = (weight * hidden).mean(0)
    centred = hidden - mean
    normal = centred.mT @ (weight * centred)
    normal.diagonal().add_(ridge * normal.diagonal().mean())
    factor = torch.linalg.cholesky(normal)

    def regress(values: Tensor) -> tuple[Tensor, Tensor]:
        middle = (weight * values).mean(0)
        slope = torch.cholesky_solve(centred.mT @ (weight * (values - middle)), factor).mT
        return slope, middle - slope @ mean

    slope, bias = regress(truth.double() - belief)
    believed = belief + hidden @ slope.mT + bias
    errors = [torch.log((x - truth).square() + SMALLEST**2) for x in (own.double(), believed)]
    doubt_slope, doubt_bias = regress(errors[0] - errors[1] - doubt)
    doubted = doubt + hidden @ doubt_slope.mT + doubt_bias
    costs = []
    for shift in DOUBT_SHIFTS:
        share = torch.exp(-torch.tanh(nn.functional.softplus(doubted + shift)))
        error = share * own + (1 - share) * believed - truth
        costs.append((error.abs() / reported).mean(0))
    best = torch.stack(costs).argmin(0)
    doubt_bias = doubt_bias + torch.tensor(DOUBT_SHIFTS, dtype=torch.float64)[best]
    last.weight.copy_(torch.cat([doubt_slope, slope]))
    last.bias.copy_(torch.cat([doubt_bias, bias]))


def fit_by_least_squares(model: Niki, batch: Batch, ridge: float = 1e-2) -> None:
    """Fit the couplings of an analytic model to a large batch in closed form (`fit_flow`).

    Where training by gradient starts from; it takes the place of thousands of its steps.
    """
    person = batch.person
    rest = person.rest.expand(*person.valid.shape, *person.rest.shape[-2:])
    joints = posed_joints(batch.rotmats, rest)
    clean = Evidence(joints=joints, twist=twists(batch.rotmats, rest))
    given = model.given(person, second=False)
    noisy, truth = (model.pack(evidence) for evidence in (batch.evidence, clean))
    fit_flow(model.first, noisy, given, truth, ridge)
    if model.second is None:
        return
    with torch.no_grad():
        swings = model.first(noisy, given)[0][..., model.evidence_dim :]
        padding = torch.zeros_like(swings)
        parts = (
            (swings, batch.evidence.twist),
            (rotmat_to_6d(swings_of(joints, rest)), clean.twist),
        )
        noisy, truth = (torch.cat([s, t.flatten(-2), padding], -1) for s, t in parts)
    fit_flow(model.second, noisy, model.given(person, second=True), truth, ridge)
