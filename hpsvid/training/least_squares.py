"""Start a flow's couplings from a least-squares fit of their last layers."""

import torch
from torch import Tensor

from hpsvid.ik.flow import BeliefCoupling, Flow, Given, Lift, TemporalCoupling
from hpsvid.ik.hybrik import twists
from hpsvid.ik.niki import Niki
from hpsvid.ik.tensors import Evidence, posed_joints, rotmat_to_6d, swings_of
from hpsvid.training.losses import Batch


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
            if isinstance(layer, BeliefCoupling | TemporalCoupling):
                layer.fit(u, given, truth, ridge)
            u = layer(u, given)[0]


def fit_by_least_squares(model: Niki, batch: Batch, ridge: float = 1e-2) -> None:
    """Fit the couplings of an analytic model to a large batch in closed form (`flow.fit_flow`).

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
