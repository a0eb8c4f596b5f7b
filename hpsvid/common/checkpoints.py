"""Checkpoints of hpsvid's own networks: float16 parameters and the config in a safetensors file."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from hpsvid.common.files import staged
from hpsvid.errors import WeightsError


def save_weights(model: nn.Module, path: Path, config: dict[str, Any]) -> None:
    """Write a model's parameters as float16, `config` as JSON in the metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: p.detach().cpu().half().contiguous() for name, p in model.named_parameters()}
    with staged(path) as beside:
        save_file(tensors, beside, {"config": json.dumps(config, sort_keys=True)})


def read_config(path: Path) -> dict[str, Any]:
    """The config in a checkpoint's metadata; WeightsError when there is none."""
    try:
        with safe_open(path, "pt") as archive:
            return json.loads((archive.metadata() or {})["config"])
    except Exception as error:  # safetensors raises its own, undocumented kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(f"{path}: not a checkpoint of hpsvid's solvers ({reason})") from error


def load_parameters(model: nn.Module, path: Path) -> None:
    """Fill `model` with a checkpoint's parameters; WeightsError when they do not fit it."""
    read_config(path)
    with safe_open(path, "pt") as archive:
        found = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    wanted = dict(model.named_parameters())
    wrong = sorted(
        name
        for name in wanted.keys() | found.keys()
        if name not in found or name not in wanted or found[name].shape != wanted[name].shape
    )
    if wrong:
        raise WeightsError(f"{path}: holds another model: {wrong[0]} does not fit")
    with torch.no_grad():
        for name, p in wanted.items():
            p.copy_(found[name])
