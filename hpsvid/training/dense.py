"""Train the dense maps' network on crops of rendered people (Best of Both Worlds, Sec. 3.1)."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpsvid.backbone.dense_network import (
    DenseAnswer,
    DenseConfig,
    DenseNet,
    joints_of_maps,
    load_dense,
    save_dense,
)
from hpsvid.body.model import load_body
from hpsvid.body.parts import LSP_JOINTS
from hpsvid.common.geometry import unit
from hpsvid.common.weights import weights_path
from hpsvid.errors import InputError
from hpsvid.evaluation.metrics import mpjpe, pa_mpjpe
from hpsvid.options import SizeName
from hpsvid.training.dense_data import DenseBatch, DenseShards
from hpsvid.training.loop import FitConfig, TrainingFiles, fit

BATCH = 16
EVERY = 100  # steps between validations
VALIDATED = 256  # crops of the held-back ones, evenly spread, on which the best weights are chosen
SIZES: dict[SizeName, DenseConfig] = {
    "small": DenseConfig(mixes=True),
    "full": DenseConfig(width=256, blocks=8, mixes=True),
}
WEIGHTS = {
    "mask": 1.0,
    "surface": 3.0,
    "location": 6.0,
    "joint": 6.0,
    "displacement": 6.0,
    "spread": 0.1,
    "nll": 0.3,
    "joints": 10.0,
    "joints2d": 10.0,
    "twist": 0.3,
    "betas": 0.05,
}


def dense_loss(answer: DenseAnswer, batch: DenseBatch) -> dict[str, Tensor]:
    """Weighted terms; their sum is what training lowers.

    Cross entropy for the mask, L1 for the maps where the person shows (Sec. 3.1, Eq. 1-2). spread
    and nll: 3D Laplace distributions of a cell's and a joint's error, whose scale is half of the
    standard deviation.
    """
    truth = batch.truth
    shown = truth.mask[:, None].float()
    count = shown.sum().clamp_min(1)
    joint_map = truth.joint_map()
    location = truth.location.float()
    maps = {
        "surface": answer.surface - truth.surface.float(),
        "location": answer.location - location,
        "joint": answer.joint - joint_map,
        "displacement": answer.displacement - (location - joint_map),
    }
    terms = {name: (miss.abs() * shown).sum() / (3 * count) for name, miss in maps.items()}
    terms["mask"] = torch.nn.functional.binary_cross_entropy_with_logits(answer.mask, shown[:, 0])
    away = maps["location"].detach().norm(dim=1)
    scale = answer.spread / 2
    terms["spread"] = ((away / scale + 3 * scale.log()) * shown[:, 0]).sum() / count
    miss = (answer.joints - truth.joints).norm(dim=-1)
    scale = answer.sigma / 2
    terms["nll"] = (miss.detach() / scale + 3 * scale.log()).mean()
    terms["joints"] = miss.mean()
    # a joint further outside the crop than this leaves nothing in it to point at
    inside = ((truth.joints2d - 0.5).abs() < 0.75).all(-1)
    flat = (answer.joints2d - truth.joints2d).abs().sum(-1)
    terms["joints2d"] = (flat * inside).sum() / inside.sum().clamp_min(1)
    terms["twist"] = (answer.twist - truth.twist).norm(dim=-1).mean()
    terms["betas"] = (answer.betas - truth.betas).abs().mean()
    return {name: WEIGHTS[name] * value for name, value in terms.items()}


def scores(model: DenseNet, data: DenseShards, rows: np.ndarray) -> dict[str, float]:
    """What the network's maps and joints are worth on crops as they are; lengths in mm.

    surface_mm: in the T-pose, between the place told and the true one; dmp14_mm: joints as means
    of the joint map over their parts, of those joints that show; the same for pa.
    """
    model.eval()
    sums: dict[str, list[float]] = {}
    joints, truths, voted = [], [], []
    with torch.no_grad():
        for start in range(0, len(rows), BATCH):
            batch = data.batch(rows[start : start + BATCH], 0)
            truth, answer = batch.truth, model(batch.seen)
            found, shown = answer.mask > 0, truth.mask
            overlap = (found & shown).sum((1, 2)) / (found | shown).sum((1, 2)).clamp_min(1)
            cells = shown.float().sum((1, 2))
            for name in ("surface", "location"):
                miss = getattr(answer, name) - getattr(truth, name).float()
                away = (miss.norm(dim=1) * shown).sum((1, 2)) / cells * 1e3
                sums.setdefault(f"{name}_mm", []).extend(away.tolist())
            maps14, seen = joints_of_maps(answer, truth.part.long())
            away = (maps14 - truth.joints[:, LSP_JOINTS]).norm(dim=-1)[seen] * 1e3
            voted.append(torch.where(seen[..., None], maps14, answer.joints[:, LSP_JOINTS]))
            sums.setdefault("dmp14_mm", []).extend(away.tolist())
            sums.setdefault("mask_iou", []).extend(overlap.tolist())
            flat = (answer.joints2d - truth.joints2d).norm(dim=-1)[truth.joint_state < 2]
            sums.setdefault("joints2d_px", []).extend((256 * flat).tolist())
            cosine = (unit(answer.twist) * truth.twist).sum(-1).clamp(-1, 1)
            sums.setdefault("twist_deg", []).extend(cosine.acos().rad2deg().mean(1).tolist())
            ratio = (answer.joints - truth.joints) / answer.sigma[..., None]
            sums.setdefault("sigma_ratio", []).extend(ratio.square().flatten().tolist())
            joints.append(answer.joints)
            truths.append(truth.joints)
    told, true = torch.cat(joints).numpy(), torch.cat(truths).numpy()
    out = {name: float(np.mean(values)) for name, values in sums.items() if name != "sigma_ratio"}
    out["sigma_ratio"] = float(np.median(sums["sigma_ratio"]) ** 0.5)
    out["mpjpe29_mm"], out["pa29_mm"] = float(mpjpe(told, true)), float(pa_mpjpe(told, true))
    limbs = told[:, LSP_JOINTS], true[:, LSP_JOINTS]
    out["mpjpe14_mm"] = float(np.linalg.norm(limbs[0] - limbs[1], axis=-1).mean() * 1e3)
    out["pa14_mm"] = float(pa_mpjpe(*limbs))
    out["pa_voted14_mm"] = float(pa_mpjpe(torch.cat(voted).numpy(), limbs[1]))
    return out


def train_dense(
    files: TrainingFiles,
    *,
    config: DenseConfig,
    seed: int = 0,
    steps: int = 2000,
    minutes: float | None = None,
    start: Path | None = None,
) -> dict[str, float]:
    """Train and save the network; returns `scores` on all held-back crops.

    files.data: holds `train` and `val`, shards of `tools.people.dense`; start: weights to go on
    from. Raises InputError.
    """
    body = load_body(weights_path("free_body"))
    torch.manual_seed(seed)
    train = DenseShards(files.data / "train", body)
    held_back = DenseShards(files.data / "val", body)
    if start is not None:
        model = load_dense(start)
        if config != model.config:
            raise InputError(f"{start}: is a network of another size")
    else:
        model = DenseNet(config)
        model.mean[:], model.scale[:] = train.usual_range()
        if config.trunk:
            with torch.no_grad():
                for start_at, told in zip(
                    (model.carry2d, model.carry3d), train.linear_starts(), strict=True
                ):
                    start_at.copy_(told)
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    some = np.linspace(0, len(held_back) - 1, min(VALIDATED, len(held_back))).astype(int)

    def loss(batch: DenseBatch) -> tuple[Tensor, dict[str, float]]:
        terms = dense_loss(model(batch.seen), batch)
        return torch.stack(list(terms.values())).sum(), {k: v.item() for k, v in terms.items()}

    def validate() -> float:
        errors = scores(model, held_back, some)
        told = ", ".join(f"{name} {value:.3g}" for name, value in errors.items())
        print(told, flush=True)
        # of joints, surface and mask together: the best of a single one would be chance
        return errors["mpjpe29_mm"] + errors["surface_mm"] + 100 * (1 - errors["mask_iou"])

    rank = int(os.environ.get("RANK", "0"))
    fit(
        model,
        train.batches(BATCH, seed + 1000 * rank),
        loss,
        validate,
        files.folder,
        FitConfig(
            steps=steps, minutes=minutes, rate=3e-3, warm_up=50, weight_decay=0.05, clip=5.0,
            every=EVERY, patience=20,
        ),
    )  # fmt: skip
    if rank == 0:
        save_dense(model, files.out)
    return scores(model, held_back, np.arange(len(held_back)))
