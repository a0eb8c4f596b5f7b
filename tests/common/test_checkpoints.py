"""Checkpoints of every age are read; damaged ones and those of another kind are refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from hpsvid.backbone.lifter_network import load_lifter
from hpsvid.common.checkpoints import (
    CONFIG_KEYS,
    load_state,
    load_weights,
    read_config,
    save_state,
    save_weights,
)
from hpsvid.common.weights import imported_source, load_imported, weights_path
from hpsvid.errors import WeightsError
from hpsvid.ik.networks import load_network


@pytest.mark.parametrize("name", ["niki_temporal", "niki", "niki_one_stage", "gik", "lifter"])
def test_the_shipped_checkpoints_load(name: str) -> None:
    """They were written by version 0.1.0, the lifter under a key of its own."""
    model = (
        load_lifter(weights_path(name)) if name == "lifter" else load_network(weights_path(name))
    )
    for value in model.state_dict().values():
        assert value.dtype == torch.float32 and value.isfinite().all()


def test_weights_imported_by_version_0_1_0_load(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HPSVID_WEIGHTS", str(tmp_path))
    source = {"file": "a.pth", "sha256": "0123"}
    weight = torch.arange(4.0).reshape(2, 2)
    path = tmp_path / "small.safetensors"
    save_file({"weight": weight}, path, {"source": json.dumps(source)})
    model = nn.Linear(2, 2, bias=False)
    assert load_imported(model, "small") == imported_source("small") == source
    assert torch.equal(model.weight, weight)


def test_one_key_is_written(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.safetensors"
    model = nn.Linear(2, 3)
    save_weights(model, path, {"width": 3})
    with safe_open(path, "pt") as archive:
        assert archive.metadata() == {CONFIG_KEYS[0]: '{"width": 3}'}
    again = nn.Linear(2, 3)
    load_weights(again, path)
    assert torch.equal(again.weight, model.weight.half().float())
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"not a checkpoint of hpsvid's solvers \(.*no 'model'"):
        load_network(weights_path("lifter"))
    with pytest.raises(WeightsError, match=r"not a checkpoint of hpsvid's lifter"):
        load_lifter(weights_path("gik"))
    save_file({"x": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(WeightsError, match=r"not a checkpoint of solvers \(.*no config"):
        read_config(tmp_path / "bare.safetensors", "solvers", ())


def test_a_training_state_comes_back_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_state(path, {"step": 3, "model": {"weight": torch.ones(2)}})
    state = load_state(path, torch.device("cpu"))
    assert state["step"] == 3 and torch.equal(state["model"]["weight"], torch.ones(2))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(WeightsError, match=r"not a readable training state.*remove it"):
        load_state(path, torch.device("cpu"))
