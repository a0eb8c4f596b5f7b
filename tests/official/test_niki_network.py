"""The authors' NIKI networks: exact inverses, and the authors' numbers on the authors' inputs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hpsvid.body.model import load_body
from hpsvid.common.weights import load_imported, weights_path
from hpsvid.errors import WeightsError
from hpsvid.official.niki_network import (
    MaskedFlow,
    ReleasedNiki,
    ReleasedSolver,
    load_released,
    own_name,
)
from hpsvid.types import Observations, Window

TINY = (4, 16)


def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Weights of a trained network's size, and masks as the authors' files hold them."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, p.shape[-1] ** -0.5)
    for flow in model.modules():
        if isinstance(flow, MaskedFlow):
            flow.mask[0::2, 1::2] = flow.mask[1::2, 0::2] = 1


@pytest.mark.parametrize("n_condition", [0, 3])
def test_a_masked_flow_inverts_and_knows_its_volume(n_condition: int) -> None:
    flow = MaskedFlow(10, n_condition, *TINY)
    randomise(flow)
    flow.double()
    if n_condition:
        flow.condition_mask[:] = torch.tensor([1.0, 0, 1, 0])
    u = torch.randn(5, 10, dtype=torch.float64)
    condition = torch.randn(5, n_condition, dtype=torch.float64) if n_condition else None
    v, log_det = flow(u, condition)
    assert (v - u).abs().max() > 0.1
    torch.testing.assert_close(flow.inverse(v, condition), u)
    for i in range(5):
        given = None if condition is None else condition[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(
            lambda x, given=given: flow(x[None], given)[0][0], u[i]
        )
        assert isinstance(jacobian, Tensor)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], log_det[i])


def test_the_condition_counts_only_where_its_mask_lets_it() -> None:
    flow = MaskedFlow(6, 2, *TINY)
    randomise(flow)
    u, condition = torch.randn(3, 6), torch.randn(3, 2)
    ignored = flow(u, condition)[0]
    torch.testing.assert_close(ignored, flow(u, 0 * condition)[0])
    flow.condition_mask[1] = 1
    assert (flow(u, condition)[0] - ignored).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["niki_1stage", "niki_ts"])
def test_a_solver_gives_rotations_for_a_whole_track(kind) -> None:
    model = ReleasedNiki(kind, TINY)
    randomise(model)
    rng = np.random.default_rng(0)
    n = 7
    obs = Observations(
        track_id=0,
        frame_index=np.arange(n),
        joints=rng.normal(0, 0.4, (n, 29, 3)).astype(np.float32),
        sigma=rng.uniform(0.01, 0.2, (n, 29)).astype(np.float32),
        twist=rng.normal(0, 1, (n, 23, 2)).astype(np.float32),
        betas=np.zeros((n, 10), np.float32),
        landmarks2d=np.zeros((n, 33, 3), np.float32),
        pelvis=rng.normal([0, 0, 4], 0.1, (n, 3)).astype(np.float32),
        valid=np.ones(n, bool),
    )
    body = load_body(weights_path("free_body"))
    betas = np.full(10, 0.5, np.float32)
    solver = ReleasedSolver(body, model.eval(), "niki")
    found = solver(Window(obs=obs, start=0, valid=obs.valid), betas)
    turned = torch.from_numpy(found.rotmats)
    torch.testing.assert_close(turned.mT @ turned, torch.eye(3).expand(n, 24, 3, 3))
    pelvis = body.rest_joints(torch.from_numpy(betas))[0].numpy()
    np.testing.assert_allclose(found.transl + pelvis, obs.pelvis, atol=1e-6)
    again = solver(Window(obs=obs, start=0, valid=obs.valid), betas)
    np.testing.assert_array_equal(found.rotmats, again.rotmats)


def test_released_names_become_ours() -> None:
    names = {
        "regressor.flow.mask": "flow.mask",
        "regressor.flow.t.3.0.weight": "flow.t.3.0.weight",
        "regressor.flow_j2s.jts_masks": "flow_j2s.mask",
        "regressor.flow_j2s.shape_masks": "flow_j2s.condition_mask",
        "regressor.flow_j2s.jts_nets.6.encoder.3.bias": "flow_j2s.s.6.2.bias",
        "regressor.flow_s2r.s.3.6.weight": "flow_s2r.s.3.4.weight",
    }
    assert [own_name(key) for key in names] == list(names.values())


def reference(shared: Path, name: str) -> Callable[..., Tensor]:
    """Reads a stored array as 32 frames of the given shape."""
    arrays = np.load(shared / "ref" / f"{name}_io.npz")
    return lambda key, *shape: torch.from_numpy(arrays[key]).reshape(32, *shape)


@pytest.fixture(params=["niki_1stage", "niki_ts"])
def kind(request: pytest.FixtureRequest) -> str:
    """Either of the authors' networks."""
    return request.param


def test_flows_agree_with_the_released_ones(kind, shared, imported) -> None:
    imported(kind)
    model = ReleasedNiki(kind)
    load_imported(model, kind)
    if kind == "niki_1stage":
        stored = reference(shared, "niki_onestage")
        flows = {"flow": (model.flow, None)}
    else:
        stored = reference(shared, "niki_ts")
        flows = {"j2s": (model.flow_j2s, stored("in_pred_beta", 10)), "s2r": (model.flow_s2r, None)}
    for name, (flow, condition) in flows.items():
        with torch.inference_mode():
            v, log_det = flow(stored(f"{name}_in", -1), condition)
            back = flow.inverse(stored(f"{name}_out", -1), condition)
        torch.testing.assert_close(v, stored(f"{name}_out", -1), rtol=0, atol=1e-4)
        torch.testing.assert_close(log_det, stored(f"{name}_logdet"), rtol=0, atol=1e-4)
        torch.testing.assert_close(back, stored(f"{name}_in", -1), rtol=0, atol=1e-4)
    if kind == "niki_ts":  # the file's own mask keeps the shape out; with another it counts
        model.flow_j2s.condition_mask[:] = 1
        v, _ = model.flow_j2s(stored("j2s_in", -1), stored("in_pred_beta", 10))
        torch.testing.assert_close(v, stored("j2s_out_shapemask1", -1), rtol=0, atol=1e-4)


def test_rotations_agree_with_the_released_code(kind, shared, imported, official_folder) -> None:
    imported(kind)
    stored = reference(shared, {"niki_1stage": "niki_onestage", "niki_ts": "niki_ts"}[kind])
    joints = stored("in_pred_xyz_29", 29, 3)
    body = load_body(weights_path("free_body"))
    model = load_released({"niki_ts": "niki", "niki_1stage": "niki-one-stage"}[kind], body).model
    with torch.inference_mode():
        rotmats, z = model(
            joints - joints[:, :1],
            stored("in_pred_sigma", 29),
            stored("in_pred_phi", 23, 2),
            stored("in_pred_beta", 10),
            1e-3 * stored("zx_randn", 60),
        )
    if kind == "niki_1stage":
        expected, error = stored("out_rotmat", 24, 3, 3), stored("out_ze", 32)
    else:
        expected = stored("out_inv_pred2rotmat", 24, 3, 3)
        error = torch.cat([stored("out_inv_pred2zes", 32), stored("out_inv_pred2zet", 46)], -1)
    torch.testing.assert_close(rotmats, expected, rtol=0, atol=2e-4)
    torch.testing.assert_close(z, error, rtol=0, atol=1e-4)


def test_a_mask_that_is_no_mask_is_refused(imported, tmp_path, monkeypatch) -> None:
    from safetensors.torch import load_file, save_file

    path = imported("niki_1stage")
    tensors = load_file(path)
    tensors["flow.mask"] = tensors["flow.mask"] * 0.5
    save_file(
        tensors, tmp_path / path.name, {"source": json.dumps({"file": "x.pth", "sha256": "0" * 64})}
    )
    monkeypatch.setenv("HPSVID_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"a mask holds other numbers than 0 and 1"):
        load_released("niki-one-stage", load_body(weights_path("free_body")))
