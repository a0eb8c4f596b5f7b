"""Train the lifter on what the landmark network sees of rendered people."""

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpsvid.backbone.learned import RATE_HZ
from hpsvid.backbone.lifter_network import Lifted, Lifter, LifterConfig, Lifters, run, save_lifter
from hpsvid.body.hinges import bends
from hpsvid.body.model import Body, load_body
from hpsvid.body.skeleton import LIMB_JOINTS, SMPL
from hpsvid.common.checkpoints import load_state
from hpsvid.common.geometry import unit
from hpsvid.common.records import join, take, to_device
from hpsvid.common.weights import weights_path
from hpsvid.evaluation.metrics import mpjpe, pa_mpjpe
from hpsvid.evaluation.truth import ROOTS
from hpsvid.mocap.amass import read_mocap_folder
from hpsvid.mocap.sources import MotionSource
from hpsvid.options import SizeName
from hpsvid.training.augment import augment
from hpsvid.training.loop import LAST, FitConfig, TrainingFiles, fit
from hpsvid.training.pairs import Pairs, linear_start, mirror_pairs, read_shards, usual_samples
from hpsvid.training.simulated import STEP, SimulatedTruth, errors_of, simulate, with_errors

BATCH = 32  # sequences
SIMULATED = 0.5  # of a batch, where there is motion to simulate landmarks for
POOL = (300, 3000)  # simulated sequences at first and at most; one is added with every batch
MAPLESS = 0.1  # of the rendered sequences are read without the inner maps
WIDTHS: dict[SizeName, int] = {"small": 256, "full": 512}
WEIGHTS = {
    "nll": 1.0,
    "joints": 20.0,
    "bones": 20.0,
    "pace": 15.0,
    "twist": 1.0,
    "betas": 0.05,
    "bend": 0.5,
}
STRAIGHT = np.radians(15)  # a knee or elbow bent less than this
LIMB_WEIGHT = 1.5  # of the limbs' joints in "joints", against 1 of the others


def lifter_loss(model: Lifter, pairs: Pairs) -> dict[str, Tensor]:
    """Weighted terms; their sum is what training lowers.

    pairs: with samples in their `usual` range. nll: a 3D Laplace distribution of a joint's error,
    whose scale is half of sigma (variance per axis 4 scale^2). pace: error of the joints' steps
    from frame to frame.
    """
    lifted = model(replace(pairs.view, inner=model.keep(pairs.view.inner.float())))
    miss = lifted.joints - pairs.joints
    distance = miss.norm(dim=-1)
    scale = lifted.sigma / 2
    bend_scale = lifted.bend_sigma / 2**0.5
    bones = miss[..., 1:, :] - miss[..., SMPL.parents[1:], :]
    weight = torch.ones(distance.shape[-1], device=distance.device)
    weight[LIMB_JOINTS] = LIMB_WEIGHT
    terms = {
        "nll": distance / scale + 3 * scale.log(),
        "joints": distance * weight,
        "bones": bones.norm(dim=-1),
        "pace": (miss[:, 1:] - miss[:, :-1]).norm(dim=-1),
        "twist": (lifted.twist - pairs.twist).norm(dim=-1),
        "betas": (lifted.betas - pairs.betas[:, None]).abs(),
        "bend": (lifted.bend - bends(pairs.joints)).abs() / bend_scale + bend_scale.log(),
    }
    return {name: WEIGHTS[name] * value.mean() for name, value in terms.items()}


def validate_lifter(model: Lifter, pairs: Pairs) -> dict[str, float]:
    """What `scores` says of a model's answers; pairs: with samples in their `usual` range."""
    model.eval()
    device = model.joints_of_landmarks.device
    rows = []
    with torch.no_grad():
        for row in range(len(pairs)):
            view = to_device(take(pairs.view, row), device)
            view = replace(view, inner=model.keep(view.inner.float()))
            rows.append(take(run(model, partial(take, view), len(view.seen)), None))
    return scores(to_device(join(*rows), torch.device("cpu")), pairs)


def scores(lifted: Lifted, pairs: Pairs) -> dict[str, float]:
    """Errors of the 12 limb joints and of all 29 (mm), of twists (degrees); sigma's calibration."""
    seen = pairs.view.seen.bool()
    joints, truth = lifted.joints[seen].numpy(), pairs.joints[seen].numpy()
    cosine = (unit(lifted.twist) * pairs.twist).sum(-1)[seen].clamp(-1, 1)
    relative = (lifted.joints - pairs.joints)[seen] / lifted.sigma[seen][..., None]
    second = torch.diff(lifted.joints - pairs.joints, n=2, dim=1) * RATE_HZ**2
    thrice = seen[:, 2:] & seen[:, 1:-1] & seen[:, :-2]
    true = bends(pairs.joints)[seen]
    off = lifted.bend[seen] - true
    limbs = joints[:, LIMB_JOINTS], truth[:, LIMB_JOINTS]
    errors = {
        "pa12_mm": pa_mpjpe(*limbs),
        "mpjpe12_mm": mpjpe(*limbs, root=ROOTS["limbs"][0]),
        "pa29_mm": pa_mpjpe(joints, truth),
        "mpjpe29_mm": mpjpe(joints, truth),
        "accel_m_s2": second[thrice].norm(dim=-1).mean(),
        "twist_deg": cosine.acos().rad2deg().mean(),
        "betas_off": (lifted.betas - pairs.betas[:, None]).abs().mean(),
        "bend_deg": off.square().mean().sqrt().rad2deg(),
        "straight_deg": off[true < STRAIGHT].mean().rad2deg(),
        "sigma_ratio": relative.square().median().sqrt(),
    }
    return {name: float(value) for name, value in errors.items()}


def draw_batches(
    seen: tuple[Pairs, Pairs], source: MotionSource | None, body: Body, seed: int
) -> Iterator[Pairs]:
    """Endless augmented batches of rendered pairs, half of them people in a mirror, and, with a
    source, of simulated ones.

    seen: the rendered pairs as seen and in a mirror, with samples in their `usual` range.
    """
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    plain, mirrored = seen
    errors = errors_of(plain)
    count = 0 if source is None else round(BATCH * SIMULATED)
    pool: list[SimulatedTruth] = []
    step = 0
    while True:
        rows = torch.randint(len(plain), (BATCH,), generator=generator)
        donors, own, reflected = rows.split([count, *_halves(BATCH - count)])
        parts = [take(plain, own), take(mirrored, reflected)]
        for part in parts:
            mapless = torch.rand(len(part), generator=generator) < MAPLESS
            part.view.inner[mapless] = 0
        if source is not None:
            while len(pool) < POOL[0]:
                pool.append(simulate(rng, source, body))
            place = (POOL[0] + step) % POOL[1]
            pool[place : place + 1] = [simulate(rng, source, body)]
            chosen = torch.randint(len(pool), (count,), generator=generator)
            made = with_errors(join(*(pool[int(i)] for i in chosen)), errors, donors)
            parts.append(mirror_pairs(made) if step % 2 else made)
        yield augment(join(*parts), generator)
        step += 1


def _halves(count: int) -> tuple[int, int]:
    return count - count // 2, count // 2


def train_lifter(
    files: TrainingFiles,
    *,
    mocap: Path | None = None,
    size: SizeName = "small",
    seed: int = 0,
    steps: int = 2_400,
    minutes: float | None = None,
) -> dict[str, float]:
    """Train on the `train` shards of tools.people.pairs, stop by the `val` shards.

    mocap: motion whose limbs are recombined and get simulated landmarks, for a part of each batch.
    minutes: of wall clock, after which training ends even before `steps`.

    Returns the `scores` on val. Raises InputError when there are no shards or no motion.
    """
    body = load_body(weights_path("free_body"))
    (plain, mirrored), (held_back, _) = (
        read_shards(files.data / part, body) for part in ("train", "val")
    )
    source = None
    if mocap is not None:
        length = plain.view.lean.shape[1] * STEP
        source = MotionSource(tuple(read_mocap_folder(mocap, body)), length)
    rank = int(os.environ.get("RANK", "0"))
    torch.manual_seed(seed)
    model = Lifter(LifterConfig(width=WIDTHS[size]))
    model.joints_of_landmarks.copy_(linear_start(plain))
    mean, spread = usual_samples(plain)
    if (files.folder / LAST).exists():  # its weights go with the range that it began with
        begun = load_state(files.folder / LAST, torch.device("cpu"))["model"]
        mean, spread = begun["inner_mean"], begun["inner_spread"]
    model.inner_mean.copy_(mean)
    model.inner_spread.copy_(spread)
    for pairs in (plain, mirrored, held_back):
        for row in range(len(pairs)):  # in place: there are gigabytes of them
            pairs.view.inner[row] = model.usual(pairs.view.inner[row]).half()

    def loss(pairs: Pairs) -> tuple[Tensor, dict[str, float]]:
        terms = lifter_loss(model, pairs)
        return torch.stack(list(terms.values())).sum(), {k: v.item() for k, v in terms.items()}

    def validate() -> float:
        errors = validate_lifter(model, held_back)
        # a mean of three: the best of a single one would be chance
        return (errors["pa12_mm"] + errors["pa29_mm"] + errors["mpjpe29_mm"]) / 3

    fit(
        model,
        draw_batches((plain, mirrored), source, body, seed + 1000 * rank),
        loss,
        validate,
        files.folder,
        FitConfig(
            steps=steps,
            minutes=minutes,
            rate=1e-3,
            warm_up=100,
            weight_decay=0.1,
            clip=5.0,
            every=100,
            patience=10,
        ),
    )
    if rank == 0:
        save_lifter(Lifters([model]), files.out)
    return validate_lifter(model, held_back)
