"""The training loop: steps, checkpoints, resuming, the best weights so far."""

import csv
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from hpsvid.common.checkpoints import load_state, save_state
from hpsvid.common.records import to_device
from hpsvid.errors import InputError
from hpsvid.formats.ownership import check_outputs

Loss = Callable[[Any], tuple[Tensor, dict[str, float]]]
"""Called with a batch on the model's device; total loss and its terms by name."""

LAST = "last.pt"  # the state from which an interrupted training goes on
LOG, PLOT = "log.csv", "log.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFiles:
    """What a training reads and writes."""

    data: Path  # folder with `train` and `val`
    out: Path  # the weights, .safetensors
    folder: Path  # checkpoints and log


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """Length and rate of a training; stored in the checkpoint."""

    steps: int = 2000
    minutes: float | None = None  # of wall clock, after which training ends
    rate: float = 5e-4  # AdamW's, after the warm-up; falls to 2 % along a cosine
    warm_up: int = 50  # steps
    weight_decay: float = 1e-4
    clip: float = 50.0  # norm of the gradient
    average: float = 0.995  # decay of the averaged weights, which are what is kept
    every: int = 50  # steps between validations
    patience: int = 20  # validations without a better one before stopping
    mixed_precision: bool = True  # bfloat16 on a GPU; a CPU computes in float32


def check_files(files: TrainingFiles, *, force: bool) -> None:
    """Raise InputError, before any work, when a file of others would be overwritten.

    A log without the state that goes with it is no training's of hpsvid. force: overwrite it.
    """
    check_outputs([files.out], force=force)
    for log in (files.folder / LOG, files.folder / PLOT):
        if not force and log.exists() and not (files.folder / LAST).exists():
            raise InputError(
                f"{log}: is there already and no {LAST} beside it, so no training of hpsvid wrote "
                "it; name another --folder, or overwrite it with --force"
            )


def fit(
    model: nn.Module,
    batches: Iterator[Any],
    loss: Loss,
    validate: Callable[[], float],
    folder: Path,
    config: FitConfig,
) -> float:
    """Train `model` in place and leave it with the best averaged weights; returns their error.

    batches: of tensors or of records of tensors. validate: error of the model as it is now, lower
    is better. folder: gets LAST (resumed from when there), `log.csv` and `log.png`.
    """
    rank, device = _join_group()
    model.to(device)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.rate, weight_decay=config.weight_decay
    )
    averaged = {name: p.detach().clone() for name, p in model.named_parameters()}
    state: dict[str, Any] = {
        "step": 0, "seconds": 0.0, "best": float("inf"), "best_weights": None, "stale": 0,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / LAST
    if not last.exists():
        (folder / LOG).unlink(missing_ok=True)  # no state goes with it
    else:
        saved = load_state(last, device)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        averaged, state = saved["averaged"], saved["state"]
    _share(model)
    start = time.monotonic() - state["seconds"]
    sums: dict[str, float] = {}
    while state["step"] < config.steps and state["stale"] < config.patience:
        progress = state["step"] / config.steps
        if config.minutes is not None:
            progress = max(progress, (time.monotonic() - start) / 60 / config.minutes)
        if _any_rank(progress >= 1):
            break
        rate = config.rate * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (state["step"] + 1) / config.warm_up)
        batch = to_device(next(batches), device)
        half = config.mixed_precision and device.type == "cuda"
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            total, terms = loss(batch)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        _average_gradients(model)
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        if torch.isfinite(norm):
            optimiser.step()
        state["step"] += 1
        decay = min(config.average, state["step"] / (10 + state["step"]))
        for name, p in model.named_parameters():
            averaged[name].lerp_(p.detach(), 1 - decay)
        for name, value in {"loss": total.item(), **terms}.items():
            sums[name] = sums.get(name, 0.0) + value
        if state["step"] % config.every == 0 or state["step"] == config.steps:
            state["seconds"] = time.monotonic() - start
            error = _validated(model, averaged, validate)
            state["stale"] += 1
            if error < state["best"]:
                best = {name: value.clone() for name, value in averaged.items()}
                state.update(best=error, best_weights=best, stale=0)
            if rank == 0:
                means = {name: value / config.every for name, value in sums.items()}
                row = {"step": state["step"], "seconds": round(state["seconds"], 1), "rate": rate}
                _log(folder / LOG, {**row, **means, "val": error})
                plot_log(folder / LOG, folder / PLOT)
                saved = {
                    "model": model.state_dict(), "optimiser": optimiser.state_dict(),
                    "averaged": averaged, "state": state,
                }  # fmt: skip
                save_state(last, saved)
            sums = {}
    if state["best_weights"] is None and state["step"] > 0:  # ended before the first validation
        state.update(best=_validated(model, averaged, validate), best_weights=averaged)
    if state["best_weights"] is not None:
        model.load_state_dict(state["best_weights"], strict=False)
    return state["best"]


def _validated(
    model: nn.Module, averaged: dict[str, Tensor], validate: Callable[[], float]
) -> float:
    """The error of the averaged weights; the model keeps its own."""
    own = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.load_state_dict(averaged, strict=False)
    model.eval()
    with torch.no_grad():
        error = float(validate())
    model.train()
    model.load_state_dict(own, strict=False)
    return error


def plot_log(table: Path, picture: Path) -> None:
    """Draw the columns of a training log over its steps, each from its lowest to its highest."""
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    names = [name for name in rows[0] if name not in ("step", "seconds", "rate")]
    size, gap = (320, 200), 12
    canvas = np.full((len(names) * (size[1] + gap) + gap, size[0] * 2, 3), 255, np.uint8)
    steps = np.array([float(row["step"]) for row in rows])
    for place, name in enumerate(names):
        values = np.nan_to_num([float(row[name]) for row in rows], nan=0.0, posinf=0.0, neginf=0.0)
        top = gap + place * (size[1] + gap)
        low, high = float(values.min()), float(values.max())
        x = 20 + (steps - steps[0]) / max(np.ptp(steps), 1) * (size[0] * 2 - 40)
        y = top + size[1] - 10 - (values - low) / max(high - low, 1e-9) * (size[1] - 40)
        points = np.stack([x, y], 1).round().astype(np.int32)
        cv2.polylines(canvas, [points], False, (160, 80, 20), 2, cv2.LINE_AA)
        text = f"{name}: {values[-1]:.4g} (lowest {low:.4g}, highest {high:.4g})"
        cv2.putText(canvas, text, (20, top + 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1)
    cv2.imwrite(str(picture), canvas)


def _log(path: Path, row: dict[str, Any]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def _join_group() -> tuple[int, torch.device]:
    """Rank and device of the process; torchrun's variables say whether there are others."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    if cuda:
        torch.cuda.set_device(local)
    rank = dist.get_rank() if dist.is_initialized() else 0
    return rank, torch.device("cuda", local) if cuda else torch.device("cpu")


def _share(model: nn.Module) -> None:
    """Every process starts from the first one's parameters."""
    if dist.is_initialized():
        for p in model.parameters():
            dist.broadcast(p.data, 0)


def _average_gradients(model: nn.Module) -> None:
    """Mean gradient over all processes, in one message."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, part in zip(gradients, flat.split(sizes), strict=True):
        gradient.copy_(part.view_as(gradient))


def _any_rank(done: bool) -> bool:
    """Whether any process is done, so that all stop at the same step."""
    if not dist.is_initialized():
        return done
    device = "cuda" if torch.cuda.is_available() else "cpu"
    flag = torch.tensor(float(done), device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag.item())
