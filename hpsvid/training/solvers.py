"""Train a solver: its losses, sizes, data and validation."""

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpsvid.body.model import load_body
from hpsvid.common.checkpoints import load_weights, save_weights
from hpsvid.common.records import join
from hpsvid.common.weights import weights_path
from hpsvid.errors import InputError
from hpsvid.evaluation.noise_curves import compare, network_method, score
from hpsvid.ik.mlp import MlpIk
from hpsvid.ik.networks import Network, make_network
from hpsvid.ik.niki import Niki
from hpsvid.mocap.amass import read_mocap_folder
from hpsvid.mocap.sources import MotionSource, even_windows
from hpsvid.options import PartName
from hpsvid.training.batches import LiftedPairs, MotionBatches
from hpsvid.training.least_squares import fit_by_least_squares
from hpsvid.training.loop import LAST, FitConfig, TrainingFiles, fit
from hpsvid.training.losses import Batch, LossWeights, gik_loss, mlp_loss, niki_loss

LEAST_SQUARES_WINDOWS = 1200
VALIDATION_LEVELS = (0, 20, 50, None)
HELD_BACK = 0.1  # of the lifted pairs


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
    names = [item.name for item in fields(LossWeights)]
    given = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if name not in names or not 0 <= number < math.inf:
            raise InputError(
                f"--loss {part!r}: expected NAME=NUMBER with a number of at least 0; names are "
                + ", ".join(names)
            )
        given[name] = number
    return LossWeights(**given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What to train and how; stored in the checkpoint. Raises InputError for unknown names.

    without: parts of NIKI to leave out; without "ind", "bnd" and "analytic" it is the paper's
    vanilla INN.
    """

    solver: str  # of SIZES
    size: str = "small"
    batch: int = 8  # windows
    length: int = 32  # frames of a window
    seed: int = 0
    fit: FitConfig = field(default_factory=FitConfig)
    loss: LossWeights = field(default_factory=LossWeights)
    without: Sequence[PartName] = ()

    def __post_init__(self) -> None:
        if self.solver not in SIZES or self.size not in SIZES[self.solver]:
            raise InputError(
                f"train {self.solver!r}, size {self.size!r}: unknown; solvers are "
                f"{', '.join(SIZES)}, sizes small and full"
            )
        parts = LOSSES_OF if self.solver.startswith("niki") else ()
        if unknown := sorted(set(self.without) - set(parts)):
            raise InputError(
                f"train {self.solver} without {', '.join(unknown)}: it has no such part; "
                f"NIKI's are {', '.join(LOSSES_OF)}"
            )

    def network(self) -> tuple[Network, dict[str, Any]]:
        """The untrained network, and the arguments that make it."""
        shape = dict(SIZES[self.solver][self.size])
        if self.without:
            shape["analytic"] = "analytic" not in self.without
        model = make_network(self.solver, shape)
        return model, model.config.as_dict() if isinstance(model, Niki) else shape

    def loss_weights(self) -> LossWeights:
        """The weights of the losses, those of the parts left out at 0."""
        off = {loss: 0.0 for part in self.without for loss in LOSSES_OF[part]}
        return replace(self.loss, **off)


def train_solver(
    recipe: Recipe, files: TrainingFiles, pairs: Path | None = None, start: Path | None = None
) -> float:
    """Train a solver or the baseline "mlp" on captured motion.

    pairs: a file of tools.people.lift_pairs or dense_pairs, whose evidence makes up half of every
    batch, but for its last tenth, which is validated on. start: weights of the same solver to go
    on from; without, an analytic model starts from a fit by least squares.

    Returns the validation error: the mean MPJPE in mm over exact, 20 mm and 50 mm evidence and
    occlusion on motion, half and half with that on held-back pairs. Raises InputError when there
    is no motion or pairs are not for such a solver, WeightsError when `start` holds no such solver.
    """
    weights = recipe.loss_weights()
    torch.manual_seed(recipe.seed)
    body = load_body(weights_path("free_body"))
    clips = {part: tuple(read_mocap_folder(files.data / part, body)) for part in ("train", "val")}
    model, shape = recipe.network()
    framewise = not isinstance(model, Niki) or not model.config.attention
    rank = int(os.environ.get("RANK", "0"))
    lifted = [] if pairs is None else LiftedPairs.read(pairs).split(HELD_BACK)
    if pairs is not None and lifted[0].single and not framewise:
        raise InputError(f"{pairs}: holds single pictures; {recipe.solver} is trained on sequences")
    batches = MotionBatches(
        MotionSource(clips["train"], recipe.length), body,
        batch=recipe.batch, framewise=framewise, seed=recipe.seed + 1000 * rank,
        pairs=None if pairs is None else lifted[0],
    )  # fmt: skip
    drawn_batches = iter(batches)
    begun = (files.folder / LAST).exists()
    if start is not None and not begun:
        load_weights(model, start)
    elif isinstance(model, Niki) and model.config.analytic and not begun:
        first = [next(drawn_batches) for _ in range(LEAST_SQUARES_WINDOWS // recipe.batch)]
        fit_by_least_squares(model, join(*first))
    poses = even_windows(clips["val"], recipe.length, 12)
    method = network_method(model)
    seen = None if pairs is None else lifted[1].windows(body, recipe.length, framewise=framewise)
    drawn = torch.Generator().manual_seed(recipe.seed + rank)

    def loss(batch: Batch) -> tuple[Tensor, dict[str, float]]:
        if isinstance(model, Niki):
            return niki_loss(model, batch, weights, drawn)
        return mlp_loss(model, batch) if isinstance(model, MlpIk) else gik_loss(model, batch, drawn)

    def validate() -> float:
        scores = compare({recipe.solver: method}, poses, body, levels=VALIDATION_LEVELS)
        error = float(np.mean([s.mpjpe for s in scores.values()]))
        if seen is None:
            return error
        rotmats = method(seen.evidence, seen.person)
        return (error + score(rotmats, seen.rotmats, seen.person.rest).mpjpe) / 2

    error = fit(model, drawn_batches, loss, validate, files.folder, recipe.fit)
    settings = {
        "solver": recipe.solver, "model": shape, "fit": asdict(recipe.fit),
        "without": sorted(recipe.without), "loss": asdict(weights), "batch": recipe.batch,
        "length": recipe.length, "seed": recipe.seed, "body": "free_body",
        "validation_mpjpe_mm": round(error, 2),
    }  # fmt: skip
    if rank == 0:
        save_weights(model, files.out, settings)
    return error
