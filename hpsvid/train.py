"""Train a model: the loop that the lifter and the solvers share.

One process or several (torchrun, one GPU each), resumable, with early stopping on the validation
error, a CSV log and a plot of it.
"""

import csv
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from hpsvid.body.model import load_body
from hpsvid.common.records import join, to_device
from hpsvid.common.weights import save_weights, weights_path
from hpsvid.errors import InputError
from hpsvid.evaluation.noise_curves import compare, network_method
from hpsvid.ik.gik import gik_loss
from hpsvid.ik.losses import Batch, LossWeights, fit_by_least_squares, niki_loss
from hpsvid.ik.mlp import MlpIk, mlp_loss
from hpsvid.ik.networks import make_network
from hpsvid.ik.niki import Niki
from hpsvid.mocap.amass import read_mocap_folder
from hpsvid.mocap.noise import LiftedPairs, MotionBatches
from hpsvid.mocap.sources import MotionSource, test_windows
from hpsvid.options import PartName

LEAST_SQUARES_WINDOWS = 1200
VALIDATION_LEVELS = (0, 20, 50, None)

Loss = Callable[[Any], tuple[Tensor, dict[str, float]]]
"""Called with a batch on the model's device; total loss and its terms by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How long and how fast; stored in the checkpoint."""

    steps: int = 2000
    minutes: float | None = None  # wall clock after which to end, however many steps were made
    rate: float = 5e-4  # AdamW's, after the warm-up; falls to 2 % along a cosine
    warm_up: int = 50  # steps
    weight_decay: float = 1e-4
    clip: float = 50.0  # norm of the gradient
    average: float = 0.995  # decay of the averaged weights, which are what is kept
    every: int = 50  # steps between validations
    patience: int = 20  # validations without a better one before stopping
    mixed_precision: bool = True  # bfloat16 on a GPU; a CPU computes in float32


def fit(
    model: nn.Module,
    batches: Iterator[Any],
    loss: Loss,
    validate: Callable[[], float],
    folder: Path,
    config: FitConfig,
    move: Callable[[Any, torch.device], Any] = lambda batch, device: batch,
) -> float:
    """Train `model` in place and leave it with the best averaged weights; returns their error.

    validate: error of the model as it is now, lower is better. move: brings a batch to a device.
    folder: gets `last.pt` (resumed from when there), `log.csv` and `log.png`.
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
    last = folder / "last.pt"
    if last.exists():
        saved = torch.load(last, map_location=device, weights_only=True)
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
        batch = move(next(batches), device)
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
                _log(folder / "log.csv", {**row, **means, "val": error})
                plot_log(folder / "log.csv", folder / "log.png")
                saved = {
                    "model": model.state_dict(), "optimiser": optimiser.state_dict(),
                    "averaged": averaged, "state": state,
                }  # fmt: skip
                torch.save(saved, last.with_suffix(".partial"))
                os.replace(last.with_suffix(".partial"), last)
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
    found = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([grad.flatten() for grad in found])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for grad, part in zip(found, flat.split([g.numel() for g in found]), strict=True):
        grad.copy_(part.view_as(grad))


def _any_rank(done: bool) -> bool:
    """Whether any process is done, so that all stop at the same step."""
    if not dist.is_initialized():
        return done
    device = "cuda" if torch.cuda.is_available() else "cpu"
    flag = torch.tensor(float(done), device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag.item())


SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "niki-temporal": {
        "small": {"blocks": 3, "twist_blocks": 1, "hidden": 192, "attention": 96},
        "full": {"blocks": 6, "twist_blocks": 3, "hidden": 512, "attention": 256, "heads": 8},
    },
    "niki": {
        "small": {"blocks": 4, "twist_blocks": 1, "hidden": 256},
        "full": {"blocks": 8, "twist_blocks": 4, "hidden": 512},
    },
    "niki-one-stage": {
        "small": {"kind": "one-stage", "blocks": 4, "hidden": 256},
        "full": {"kind": "one-stage", "blocks": 8, "hidden": 512},
    },
    "gik": {
        "small": {"refine_hidden": 256, "hidden": 512, "blocks": 3},
        "full": {"refine_hidden": 512, "hidden": 1024, "blocks": 6},
    },
    "mlp": {"small": {"hidden": 512, "blocks": 3}, "full": {"hidden": 1024, "blocks": 6}},
}
"""Networks by name: what two CPU cores train in an hour, and what a large GPU does."""
LOSSES_OF: dict[PartName, tuple[str, ...]] = {
    "ind": ("ind",),
    "bnd": ("bnd_i", "bnd_f"),
    "bidirectional": ("fwd", "bnd_f"),
    "analytic": (),
}
"""The losses that go with each part of NIKI that can be left out (the paper's Table 5)."""


def loss_weights(text: str) -> LossWeights:
    """Weights like "fwd=0.1,acceleration=1"; those not named are the paper's.

    Raises InputError when one is no loss or no number of at least 0.
    """
    known = [field.name for field in fields(LossWeights)]
    given = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if name not in known or not 0 <= number < math.inf:
            raise InputError(
                f"--loss {part!r}: expected NAME=NUMBER with a number of at least 0; names are "
                + ", ".join(known)
            )
        given[name] = number
    return LossWeights(**given)


def train_solver(
    name: str,
    data: Path,
    out: Path,
    folder: Path,
    *,
    size: str = "small",
    batch: int = 8,
    length: int = 32,
    seed: int = 0,
    config: FitConfig | None = None,
    weights: LossWeights | None = None,
    pairs: Path | None = None,
    without: Sequence[PartName] = (),
) -> float:
    """Train a solver or the baseline "mlp" on the motion under `data` (`train` and `val`).

    pairs: a file of `tools/lift_pairs.py`, whose evidence makes up half of every batch. without:
    parts of NIKI to leave out; without "ind", "bnd" and "analytic" it is the paper's vanilla INN.
    An analytic model starts from a fit by least squares.

    Writes the weights to `out`, checkpoints and log into `folder`; returns the validation error:
    the mean MPJPE in mm over exact, 20 mm and 50 mm evidence and occlusion on motion.
    Raises InputError when there is no such solver or no motion.
    """
    if name not in SIZES or size not in SIZES[name]:
        raise InputError(
            f"train {name!r}, size {size!r}: unknown; solvers are {', '.join(SIZES)}, sizes small "
            "and full"
        )
    shape = dict(SIZES[name][size])
    if without:
        known = LOSSES_OF if name.startswith("niki") else ()
        if unknown := sorted(set(without) - set(known)):
            raise InputError(
                f"train {name} without {', '.join(unknown)}: it has no such part; "
                f"NIKI's are {', '.join(LOSSES_OF)}"
            )
        shape["analytic"] = "analytic" not in without
    off = {loss: 0.0 for part in without for loss in LOSSES_OF[part]}
    config, weights = config or FitConfig(), replace(weights or LossWeights(), **off)
    torch.manual_seed(seed)
    body = load_body(weights_path("free_body"))
    clips = {part: tuple(read_mocap_folder(data / part, body)) for part in ("train", "val")}
    model = make_network(name, shape)
    if isinstance(model, Niki):
        shape = model.config.as_dict()
    framewise = not isinstance(model, Niki) or not model.config.attention
    rank = int(os.environ.get("RANK", "0"))
    batches = MotionBatches(
        MotionSource(clips["train"], length), body,
        batch=batch, framewise=framewise, seed=seed + 1000 * rank,
        pairs=None if pairs is None else LiftedPairs.read(pairs),
    )  # fmt: skip
    drawn_batches = iter(batches)
    if isinstance(model, Niki) and model.config.analytic and not (folder / "last.pt").exists():
        first = [next(drawn_batches) for _ in range(LEAST_SQUARES_WINDOWS // batch)]
        fit_by_least_squares(model, join(*first))
    poses = test_windows(clips["val"], length, 12)
    method = network_method(model)
    drawn = torch.Generator().manual_seed(seed + rank)

    def loss(batch: Batch) -> tuple[Tensor, dict[str, float]]:
        if isinstance(model, Niki):
            return niki_loss(model, batch, weights, drawn)
        return mlp_loss(model, batch) if isinstance(model, MlpIk) else gik_loss(model, batch, drawn)

    def validate() -> float:
        scores = compare({name: method}, poses, body, levels=VALIDATION_LEVELS)
        return float(np.mean([s.mpjpe for s in scores.values()]))

    error = fit(model, drawn_batches, loss, validate, folder, config, to_device)
    settings = {
        "solver": name, "model": shape, "fit": asdict(config), "without": sorted(without),
        "loss": asdict(weights), "batch": batch, "length": length, "seed": seed,
        "body": "free_body", "validation_mpjpe_mm": round(error, 2),
    }  # fmt: skip
    if rank == 0:
        save_weights(model, out, settings)
    return error
