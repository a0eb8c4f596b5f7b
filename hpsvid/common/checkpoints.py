"""Checkpoints: tensors and config of a network in a safetensors file, the state of a training."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hpsvid.common.files import make_parent, parse_json, regular_file, staged
from hpsvid.errors import WeightsError, one_line

# Keys of the metadata that hold the config as JSON. The first is written; the others are those of
# the lifter and of imported checkpoints in 0.1.0 and are read for ever.
CONFIG_KEYS = ("config", "lifter", "source")


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], config: dict[str, Any]) -> None:
    """Write `tensors` as they are and `config` as JSON in the metadata, whole or not at all."""
    make_parent(path)
    with staged(path) as beside:
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, beside, {CONFIG_KEYS[0]: json.dumps(config, sort_keys=True)})


def read_config(path: Path, what: str, keys: Collection[str]) -> dict[str, Any]:
    """The config in a checkpoint's metadata.

    what: the kind of checkpoint, for the message; keys: those that its config has. Raises
    WeightsError when the file is missing, damaged, of another kind or no checkpoint.
    """
    try:
        with safe_open(regular_file(path, WeightsError), "pt") as archive:
            metadata = archive.metadata() or {}
        held = next((metadata[key] for key in CONFIG_KEYS if key in metadata), None)
        if held is None:
            raise ValueError("its metadata has no config")
        config = dict(parse_json(held))
        if missing := sorted(set(keys) - set(config)):
            raise ValueError(f"its config has no {missing[0]!r}")
    except Exception as error:  # safetensors raises its own, undocumented kinds
        raise WeightsError(f"{path}: not a checkpoint of {what} ({one_line(error)})") from error
    return config


def save_weights(model: nn.Module, path: Path, config: dict[str, Any]) -> None:
    """Write a network's parameters and buffers as float16, with `config`."""
    state = {name: tensor.detach().cpu().half() for name, tensor in model.state_dict().items()}
    write_checkpoint(path, state, config)


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill `model` with a checkpoint's tensors as float32; WeightsError when they do not fit it."""
    fill(model, {name: tensor.float() for name, tensor in read_tensors(path).items()}, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name; WeightsError when it cannot be read."""
    try:
        with safe_open(regular_file(path, WeightsError), "pt") as archive:
            return {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors raises its own, undocumented kinds
        raise WeightsError(f"{path}: not a readable checkpoint ({one_line(error)})") from error


def fill(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Make `tensors` read from `path` the model's; WeightsError unless all of them fit it.

    The model may be on torch's meta device.
    """
    expected = model.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - expected.keys())
    misshaped = [
        key
        for key in sorted(expected.keys() & tensors)
        if tensors[key].shape != expected[key].shape
    ]
    for keys, problem in (
        (missing, "lacks"),
        (unknown, "holds the unknown"),
        (misshaped, "has another shape for"),
    ):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise WeightsError(
                f"{path}: {problem} `{keys[0]}`{more}; expected the {len(expected)} tensors of "
                f"{type(model).__name__}"
            )
    model.load_state_dict(tensors, assign=True)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a training's state (nested dicts of tensors and numbers), whole or not at all."""
    with staged(path) as beside:
        torch.save(state, beside)


def load_state(path: Path, device: torch.device) -> dict[str, Any]:
    """Read what `save_state` wrote; WeightsError when it is damaged. Nothing in it is run."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # damaged bytes make zipfile, pickle and torch raise nearly anything
        raise WeightsError(
            f"{path}: not a readable training state ({type(error).__name__}); remove it to start "
            "the training from the beginning"
        ) from error
