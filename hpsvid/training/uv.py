"""Train the UV inpainting network (Best of Both Worlds, Sec. 3.3)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from hpsvid.backbone.dense_maps import DenseMaps
from hpsvid.backbone.uv_network import UvConfig, UvMaps, UvNet, load_uv, save_uv
from hpsvid.body.model import load_body
from hpsvid.body.uv_maps import UvSpace
from hpsvid.common.records import join, take
from hpsvid.common.weights import weights_path
from hpsvid.errors import InputError
from hpsvid.evaluation.metrics import pa_mpjpe
from hpsvid.mocap.amass import read_mocap_folder
from hpsvid.mocap.sources import MotionSource
from hpsvid.options import SizeName
from hpsvid.pipeline.uv_chain import UvChain
from hpsvid.training.dense_data import DenseShards
from hpsvid.training.loop import FitConfig, TrainingFiles, fit
from hpsvid.training.uv_data import (
    WINDOW,
    Looked,
    UvExamples,
    batches_of,
    in_crop,
    rendered_examples,
    simulated_examples,
    whole,
)

BATCH = 8
ROWS = 16  # crops that the dense network reads at once
VALIDATED = 256  # held-back crops, evenly spread, on which the best weights are chosen
EVERY = 100  # steps between validations
SIMULATED = 2000  # examples without a picture
SIZES: dict[SizeName, UvConfig] = {"small": UvConfig(), "full": UvConfig(width=96)}
WEIGHTS = {"map": 1.0, "joints": 1.0, "joints2d": 0.5, "symmetry": 0.5, "consistency": 0.3}
INSIDE = 0.75  # sides from the crop's middle, within which a joint's place in it counts


def uv_loss(
    told: UvMaps, examples: UvExamples, space: UvSpace, *, symmetric: bool = True
) -> dict[str, Tensor]:
    """Weighted terms of Eq. 4-8; their sum is what training lowers. symmetric: with Eq. 7."""
    grid, case = space.fine, examples.case
    joint = examples.joints[:, grid.part]
    location = examples.location
    terms = {
        "map": (told.location - location).abs().mean()
        + (told.joint - joint).abs().mean()
        + (told.displacement - (location - joint)).abs().mean()
    }
    joints = told.joints(grid)
    terms["joints"] = (joints - examples.joints).abs().mean()
    flat = in_crop(joints, case.turn, examples.camera)
    inside = ((examples.joints2d - 0.5).abs() < INSIDE).all(-1, keepdim=True)
    miss = (flat - examples.joints2d).abs() * inside
    terms["joints2d"] = miss.sum() / (2 * inside.sum()).clamp_min(1)
    if symmetric:
        size = told.displacement.norm(dim=-1)
        terms["symmetry"] = (size - size[:, grid.twin]).abs().mean()
    at = in_crop(_halved(told.location, space), case.turn, examples.camera)
    sure = examples.place[..., 2:]
    miss = (at - examples.place[..., :2]).abs() * sure
    terms["consistency"] = miss.sum() / (2 * sure.sum()).clamp_min(1)
    return {name: WEIGHTS[name] * value for name, value in terms.items()}


def _halved(values: Tensor, space: UvSpace) -> Tensor:
    """Values (B, M, C) of the fine texels as means on the coarse grid (B, N, C)."""
    maps = avg_pool2d(space.fine.spread(values), 2)
    known = avg_pool2d(space.fine.spread(torch.ones_like(values[:1, :, :1])), 2)
    return space.coarse.gather(maps / known.clamp_min(0.25))


def uv_scores(model: UvNet, examples: UvExamples, space: UvSpace) -> dict[str, float]:
    """Errors (mm) of the 14 joints after each stage, and of the surface's texels (MPVE)."""
    model.eval()
    parts: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for start in range(0, len(examples), BATCH):
            some = whole(examples, torch.arange(start, min(start + BATCH, len(examples))))
            told = model.complete(some.case, space)
            surface = (told.location - some.location).norm(dim=-1).mean(1)
            posed = (some.case.posed_fine - some.location).norm(dim=-1).mean(1)
            found = {
                "true": some.joints, "dmp": some.case.seen_joints, "ik": some.case.joints,
                "uvi": told.joints(space.fine), "ik_surface": posed, "uvi_surface": surface,
            }  # fmt: skip
            for name, values in found.items():
                parts.setdefault(name, []).append(values)
    whole_parts = {name: torch.cat(values).numpy() for name, values in parts.items()}
    out = {}
    for stage in ("dmp", "ik", "uvi"):
        miss = np.linalg.norm(whole_parts[stage] - whole_parts["true"], axis=-1)
        out[f"{stage}_mpjpe_mm"] = float(miss.mean() * 1e3)
        out[f"{stage}_pa_mm"] = float(pa_mpjpe(whole_parts[stage], whole_parts["true"]))
    for name in ("ik_surface", "uvi_surface"):
        out[f"{name}_mm"] = float(whole_parts[name].mean() * 1e3)
    return out


def looks_at(data: DenseShards, looks: tuple[int, ...]) -> Iterator[Looked]:
    """These looks at a folder's crops (0 as they are, 1 in a mirror), ROWS at a time."""
    for arrays, rows in data.shards:
        for look in looks:
            for start in range(0, len(rows), ROWS):
                some = slice(start, start + ROWS)
                batch = data.batch(rows[some], look)
                yield Looked(
                    arrays={key: value[some] for key, value in arrays.items() if value.ndim > 1},
                    truth=batch.truth,
                    seen=batch.seen,
                    mirrored=look == 1,
                )


def train_uv(
    files: TrainingFiles,
    *,
    config: UvConfig,
    length: FitConfig,
    mocap: Path | None = None,
    seed: int = 0,
    start: Path | None = None,
) -> dict[str, float]:
    """Train and save the network; returns `uv_scores` on all held-back crops.

    files.data: as for `train_dense`, whose shipped network answers for the crops; length: steps
    and minutes; mocap: folder of motion for examples without a picture; start: weights to go on
    from. Raises InputError.
    """
    chain = UvChain(load_body(weights_path("free_body")))
    model = UvNet(config) if start is None else load_uv(start)
    if model.config != config:
        raise InputError(f"{start}: is a network of another size")
    train, held_back = make_examples(
        files.data, DenseMaps(chain.body, threads=1), chain, mocap, seed
    )
    torch.manual_seed(seed)
    model = model if start else UvNet(config)
    fit_uv(model, train, held_back, chain.space, files.folder, length)
    save_uv(model, files.out)
    return uv_scores(model, held_back, chain.space)


def make_examples(
    folder: Path, maps: DenseMaps, chain: UvChain, mocap: Path | None, seed: int = 0,
    simulated: int = SIMULATED,
) -> tuple[UvExamples, UvExamples]:  # fmt: skip
    """Examples to train on and held back, as `train_uv` makes them. Raises InputError.

    simulated: how many without a picture, where `mocap` is given.
    """
    train, held_back = (
        rendered_examples(looks_at(DenseShards(folder / part, chain.body), looks), maps, chain)
        for part, looks in (("train", (0, 1)), ("val", (0,)))
    )
    if mocap is not None:
        source = MotionSource(tuple(read_mocap_folder(mocap, chain.body)), WINDOW)
        rng = np.random.default_rng(seed)
        train = join(train, simulated_examples(rng, source, chain, simulated))
    return train, held_back


def fit_uv(
    model: UvNet,
    train: UvExamples,
    held_back: UvExamples,
    space: UvSpace,
    folder: Path,
    length: FitConfig,
) -> None:
    """Train a network on examples, the best weights chosen on those held back.

    length: steps and minutes. The order of the examples follows torch's seed.
    """
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    some = take(held_back, slice(None, None, max(1, len(held_back) // VALIDATED)))

    def loss(examples: UvExamples) -> tuple[Tensor, dict[str, float]]:
        told = model.complete(examples.case, space)
        terms = uv_loss(told, examples, space, symmetric=model.config.symmetric)
        return torch.stack(list(terms.values())).sum(), {k: v.item() for k, v in terms.items()}

    def validate() -> float:
        errors = uv_scores(model, some, space)
        print(", ".join(f"{name} {value:.4g}" for name, value in errors.items()), flush=True)
        return errors["uvi_mpjpe_mm"] + errors["uvi_surface_mm"]

    fit(
        model, batches_of(train, BATCH, torch.initial_seed() % 2**32), loss, validate, folder,
        FitConfig(
            steps=length.steps, minutes=length.minutes, rate=3e-3, warm_up=20, weight_decay=0.02,
            clip=5.0, every=EVERY, patience=20,
        ),
    )  # fmt: skip
