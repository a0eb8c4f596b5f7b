"""Train the lifter on what the landmark network says of rendered motion.

    python -m tools.train_lifter --data DIR/train --val DIR/val --out DIR/lifter
        --truth DIR/truth.pt --minutes 60

DIR/train and DIR/val hold shards of `tools.render_pairs`. New shards are taken up as they
appear. A run that was stopped goes on where it was. Writes `lifter.safetensors` (the best on the
val shards) at the end and `newest.safetensors` at every validation.
"""

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpsvid import metrics
from hpsvid.backbone.learned import (
    Lifted,
    Lifter,
    LifterConfig,
    View,
    run,
    save_lifter,
)
from hpsvid.body import JOINT, LIMB_NAMES, PARENTS, Body, load_body
from hpsvid.geometry import unit
from hpsvid.mocap import read_mocap_folder
from hpsvid.train import FitConfig, fit
from hpsvid.weights import weights_dir, weights_path
from tools.lifter_data import (
    Errors,
    Pairs,
    Shard,
    Truth,
    augment,
    errors_of,
    join,
    linear_start,
    read_new,
    simulate,
    view_of,
    with_errors,
)
from tools.manifest import record

BATCH = 32  # sequences
RATE_HZ = 30.0
EVALUATED = [JOINT[name] for name in LIMB_NAMES]
WEIGHTS = {"nll": 1.0, "joints": 20.0, "bones": 20.0, "pace": 30.0, "twist": 1.0, "betas": 0.05}


def loss(model: Lifter, pairs: Pairs) -> dict[str, Tensor]:
    """Weighted terms; their sum is what training lowers.

    nll: a 3D Laplace distribution of a joint's error, whose scale is half of sigma (variance per
    axis 4 scale^2). pace: error of the joints' steps from frame to frame.
    """
    view = view_of(pairs)
    with torch.autocast(view.points.device.type, torch.bfloat16):
        lifted = model(view)
    known = pairs.known[..., None]
    miss = lifted.joints - pairs.joints
    distance = miss.norm(dim=-1)
    scale = lifted.sigma / 2
    bones = miss[..., 1:, :] - miss[..., PARENTS[1:], :]
    steps = (miss[:, 1:] - miss[:, :-1]).norm(dim=-1) * known[:, 1:]
    turns = (lifted.twist - pairs.twist).norm(dim=-1)
    shape = (lifted.betas - pairs.betas[:, None]).abs()
    terms = {
        "nll": (distance / scale + 3 * scale.log()) * known,
        "joints": distance * known,
        "bones": bones.norm(dim=-1) * known,
        "pace": steps,
        "twist": turns * known,
        "betas": shape * known,
    }
    return {name: WEIGHTS[name] * value.mean() for name, value in terms.items()}


def validate(model: Lifter, pairs: Pairs) -> dict[str, float]:
    """Errors of the 12 limb joints and of all 29 (mm), of twists (degrees); sigma's calibration."""
    model.eval()
    device = model.joints_of_landmarks.device
    found = []
    for row in range(len(pairs)):
        view = view_of(pairs.pick(torch.tensor([row])).to(device))
        lifted = run(model, View(**{f.name: getattr(view, f.name)[0] for f in fields(View)}))
        found.append(Lifted(**{f.name: getattr(lifted, f.name).cpu() for f in fields(Lifted)}))
    lifted = Lifted(
        **{f.name: torch.stack([getattr(x, f.name) for x in found]) for f in fields(Lifted)}
    )
    return scores(lifted, pairs)


def scores(lifted: Lifted, pairs: Pairs) -> dict[str, float]:
    """What `validate` reports, of any answer."""
    seen = pairs.seen.bool()
    joints, truth = lifted.joints[seen].numpy(), pairs.joints[seen].numpy()
    cosine = (unit(lifted.twist) * pairs.twist).sum(-1)[seen].clamp(-1, 1)
    relative = (lifted.joints - pairs.joints)[seen] / lifted.sigma[seen][..., None]
    second = torch.diff(lifted.joints - pairs.joints, n=2, dim=1) * RATE_HZ**2
    both = seen[:, 2:] & seen[:, 1:-1] & seen[:, :-2]
    found = {
        "pa12_mm": metrics.pa_mpjpe(joints[:, EVALUATED], truth[:, EVALUATED]),
        "mpjpe12_mm": metrics.mpjpe(joints[:, EVALUATED], truth[:, EVALUATED], root=(6, 7)),
        "pa29_mm": metrics.pa_mpjpe(joints, truth),
        "mpjpe29_mm": metrics.mpjpe(joints, truth),
        "accel_m_s2": float(second[both].norm(dim=-1).mean()),
        "twist_deg": float(cosine.acos().rad2deg().mean()),
        "betas_off": float((lifted.betas - pairs.betas[:, None]).abs().mean()),
        "sigma_ratio": float(relative.square().median().sqrt()),
    }
    return {name: float(value) for name, value in found.items()}


def gather(shards: dict[Path, Shard]) -> tuple[Pairs, Errors]:
    """All rendered pairs, and the errors in them."""
    pairs = join([shard.pairs for shard in shards.values()])
    return pairs, errors_of(pairs, torch.cat([shard.marks for shard in shards.values()]))


def read_truth(path: Path, mocap: Path, count: int) -> Truth:
    """The poses to simulate landmarks for: `count` sequences, made once and kept at `path`."""
    if path.exists():
        return Truth(**torch.load(path))
    body = load_body(weights_path("free_body"))
    clips = [clip for clip in read_mocap_folder(mocap, body) if len(clip) >= 48]
    rng = np.random.default_rng(2026)
    truth = join([simulate(rng, clips, body) for _ in range(count)])
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({f.name: getattr(truth, f.name) for f in fields(Truth)}, path)
    return truth


def draw_batches(
    folder: Path, truth: Truth, body: Body, simulated: float, rng: torch.Generator
) -> Iterator[Pairs]:
    """Endless batches, a share `simulated` of each simulated, the rest from shards in `folder`."""
    shards: dict[Path, Shard] = {}
    count = round(BATCH * simulated)
    while True:
        if read_new(folder, shards, body):
            pairs, errors = gather(shards)
        for _ in range(200):  # until another look for new shards
            donors = torch.randint(len(pairs), (BATCH,), generator=rng)
            rows = torch.randint(len(truth), (count,), generator=rng)
            made = with_errors(truth, rows, errors, donors[:count])
            yield augment(join([made, pairs.pick(donors[count:])]), rng)


def train(options: argparse.Namespace) -> None:
    """Train for the minutes given, or go on with what is in the folder, and save the best."""
    body = load_body(weights_path("free_body"))
    truth = read_truth(options.truth, options.mocap, options.sequences)
    torch.manual_seed(options.seed)
    rng = torch.Generator().manual_seed(options.seed)
    model = Lifter(LifterConfig(width=options.width))
    shards: dict[Path, Shard] = {}
    held_back: dict[Path, Shard] = {}
    read_new(options.data, shards, body)
    read_new(options.val, held_back, body)
    model.joints_of_landmarks.copy_(linear_start(gather(shards)[0]))
    test = join([shard.pairs for shard in held_back.values()])

    def total(pairs: Pairs) -> tuple[Tensor, dict[str, float]]:
        terms = loss(model, pairs)
        return torch.stack(list(terms.values())).sum(), {k: v.item() for k, v in terms.items()}

    def error() -> float:
        found = validate(model, test)
        print(" ".join(f"{name} {value:.4g}" for name, value in found.items()), flush=True)
        # what is wanted, and not to forget: the best of one alone is chance
        best = found["pa12_mm"] + found["pa29_mm"] + found["mpjpe29_mm"]
        save_lifter(model, options.out / "newest.safetensors")
        return best

    fit(
        model,
        draw_batches(options.data, truth, body, options.simulated, rng),
        total,
        error,
        options.out,
        FitConfig(
            steps=options.steps,
            minutes=options.minutes,
            rate=options.lr,
            warm_up=100,
            weight_decay=0.02,
            clip=5.0,
            every=options.every,
            patience=1000,
        ),
        Pairs.to,
    )
    save_lifter(model, options.out / "lifter.safetensors")


def main() -> None:
    """Train the lifter."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of training shards")
    parser.add_argument("--val", type=Path, required=True, help="folder of held-back shards")
    parser.add_argument("--out", type=Path, required=True, help="folder; a run in it goes on")
    parser.add_argument("--mocap", type=Path, default=Path("../shared/data/mocap/free/train"))
    parser.add_argument("--truth", type=Path, required=True, help="file of simulated poses")
    parser.add_argument("--sequences", type=int, default=3000, help="simulated poses to make")
    parser.add_argument("--simulated", type=float, default=0.5, help="their share of a batch")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--every", type=int, default=200, help="steps between validations")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ship", action="store_true", help="put the result into weights/")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train(options)
    if options.ship:
        ship(options.out / "lifter.safetensors")


def ship(path: Path) -> None:
    """Make these the weights that `hpsvid` loads."""
    shutil.copyfile(path, weights_dir() / "lifter.safetensors")
    record(
        name="lifter",
        file="lifter.safetensors",
        licence="CC-BY-SA-3.0",
        source="tools.train_lifter on renders of CMU and HDM05 motion capture; see the card",
    )


if __name__ == "__main__":
    main()
