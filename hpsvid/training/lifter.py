"""Train the lifter on what the landmark network says of rendered motion."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpsvid.backbone.lifter_network import Lifted, Lifter, LifterConfig, run, save_lifter
from hpsvid.body.model import Body, load_body
from hpsvid.body.skeleton import LIMB_JOINTS, SMPL
from hpsvid.common.geometry import unit
from hpsvid.common.records import join, take, to_device
from hpsvid.common.weights import weights_path
from hpsvid.evaluation.metrics import mpjpe, pa_mpjpe
from hpsvid.evaluation.truth import ROOTS
from hpsvid.mocap.amass import read_mocap_folder
from hpsvid.mocap.sources import FPS, MotionSource
from hpsvid.options import SizeName
from hpsvid.training.augment import as_on_video, augment
from hpsvid.training.loop import FitConfig, TrainingFiles, fit
from hpsvid.training.pairs import (
    LandmarkErrors,
    Pairs,
    SimulatedTruth,
    errors_of,
    linear_start,
    read_shards,
    simulate,
    view_of,
    with_errors,
)

BATCH = 32  # sequences
SIMULATED = 0.6  # of a batch, where there is motion to simulate landmarks for
POOL = (100, 4000)  # simulated sequences at first and at most; one is added with every batch
WIDTHS: dict[SizeName, int] = {"small": 256, "full": 512}
WEIGHTS = {"nll": 1.0, "joints": 20.0, "bones": 20.0, "pace": 30.0, "twist": 1.0, "betas": 0.05}


def lifter_loss(model: Lifter, pairs: Pairs) -> dict[str, Tensor]:
    """Weighted terms; their sum is what training lowers.

    nll: a 3D Laplace distribution of a joint's error, whose scale is half of sigma (variance per
    axis 4 scale^2). pace: error of the joints' steps from frame to frame.
    """
    view = view_of(pairs)
    with torch.autocast(view.points.device.type, torch.bfloat16):
        lifted = model(view)
    valid = pairs.valid[..., None]
    miss = lifted.joints - pairs.joints
    distance = miss.norm(dim=-1)
    scale = lifted.sigma / 2
    bones = miss[..., 1:, :] - miss[..., SMPL.parents[1:], :]
    terms = {
        "nll": (distance / scale + 3 * scale.log()) * valid,
        "joints": distance * valid,
        "bones": bones.norm(dim=-1) * valid,
        "pace": (miss[:, 1:] - miss[:, :-1]).norm(dim=-1) * valid[:, 1:],
        "twist": (lifted.twist - pairs.twist).norm(dim=-1) * valid,
        "betas": (lifted.betas - pairs.betas[:, None]).abs() * valid,
    }
    return {name: WEIGHTS[name] * value.mean() for name, value in terms.items()}


def validate_lifter(model: Lifter, pairs: Pairs) -> dict[str, float]:
    """What `scores` says of a model's answers."""
    model.eval()
    device = model.joints_of_landmarks.device
    rows = []
    for row in range(len(pairs)):
        view = view_of(to_device(take(pairs, torch.tensor([row])), device))
        rows.append(take(run(model, take(view, 0)), None))
    return scores(to_device(join(*rows), torch.device("cpu")), pairs)


def scores(lifted: Lifted, pairs: Pairs) -> dict[str, float]:
    """Errors of the 12 limb joints and of all 29 (mm), of twists (degrees); sigma's calibration."""
    seen = pairs.seen.bool()
    joints, truth = lifted.joints[seen].numpy(), pairs.joints[seen].numpy()
    cosine = (unit(lifted.twist) * pairs.twist).sum(-1)[seen].clamp(-1, 1)
    relative = (lifted.joints - pairs.joints)[seen] / lifted.sigma[seen][..., None]
    second = torch.diff(lifted.joints - pairs.joints, n=2, dim=1) * FPS**2
    thrice = seen[:, 2:] & seen[:, 1:-1] & seen[:, :-2]
    limbs = joints[:, LIMB_JOINTS], truth[:, LIMB_JOINTS]
    errors = {
        "pa12_mm": pa_mpjpe(*limbs),
        "mpjpe12_mm": mpjpe(*limbs, root=ROOTS["limbs"][0]),
        "pa29_mm": pa_mpjpe(joints, truth),
        "mpjpe29_mm": mpjpe(joints, truth),
        "accel_m_s2": second[thrice].norm(dim=-1).mean(),
        "twist_deg": cosine.acos().rad2deg().mean(),
        "betas_off": (lifted.betas - pairs.betas[:, None]).abs().mean(),
        "sigma_ratio": relative.square().median().sqrt(),
    }
    return {name: float(value) for name, value in errors.items()}


def draw_batches(
    pairs: Pairs, errors: LandmarkErrors, source: MotionSource | None, body: Body, seed: int
) -> Iterator[Pairs]:
    """Endless augmented batches of rendered pairs and, with a source, of simulated ones."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    pool: list[SimulatedTruth] = []
    count = 0 if source is None else round(BATCH * SIMULATED)
    step = 0
    while True:
        donors = torch.randint(len(pairs), (BATCH,), generator=generator)
        parts = [take(pairs, donors[count:])]
        if source is not None:
            while len(pool) < POOL[0]:
                pool.append(simulate(rng, source, body))
            place = (POOL[0] + step) % POOL[1]
            pool[place : place + 1] = [simulate(rng, source, body)]
            chosen = torch.randint(len(pool), (count,), generator=generator)
            truth = join(*(pool[int(i)] for i in chosen))
            parts.append(with_errors(truth, errors, donors[:count]))
        yield augment(join(*parts), generator)
        step += 1


def train_lifter(
    files: TrainingFiles,
    *,
    mocap: Path | None = None,
    size: SizeName = "small",
    seed: int = 0,
    steps: int = 10_000,
    minutes: float | None = None,
) -> dict[str, float]:
    """Train on the `train` shards of tools.people.render_pairs, stop by the `val` shards, whose 3D
    is made as the landmark network gives it on video.

    mocap: motion whose limbs are recombined and get simulated landmarks, for a part of each batch.
    minutes: of wall clock, after which training ends even before `steps`.

    Returns the `scores` on val. Raises InputError when there are no shards or no motion.
    """
    body = load_body(weights_path("free_body"))
    shards, held_back = (read_shards(files.data / part, body) for part in ("train", "val"))
    like_video = as_on_video(held_back.pairs)
    errors, source = errors_of(shards.pairs, shards.marks), None
    if mocap is not None:
        source = MotionSource(tuple(read_mocap_folder(mocap, body)), shards.pairs.seen.shape[1])
    rank = int(os.environ.get("RANK", "0"))
    torch.manual_seed(seed)
    model = Lifter(LifterConfig(width=WIDTHS[size]))
    model.joints_of_landmarks.copy_(linear_start(shards.pairs))

    def loss(pairs: Pairs) -> tuple[Tensor, dict[str, float]]:
        terms = lifter_loss(model, pairs)
        return torch.stack(list(terms.values())).sum(), {k: v.item() for k, v in terms.items()}

    def validate() -> float:
        errors = validate_lifter(model, like_video)
        # a mean of three: the best of a single one would be chance
        return (errors["pa12_mm"] + errors["pa29_mm"] + errors["mpjpe29_mm"]) / 3

    fit(
        model,
        draw_batches(shards.pairs, errors, source, body, seed + 1000 * rank),
        loss,
        validate,
        files.folder,
        FitConfig(
            steps=steps,
            minutes=minutes,
            rate=1e-3,
            warm_up=100,
            weight_decay=0.02,
            clip=5.0,
            every=100,
            patience=50,
        ),
    )
    if rank == 0:
        save_lifter(model, files.out)
    return validate_lifter(model, held_back.pairs)
