"""The ablation of NIKI's losses, in the order of the paper's Table 5, on frame-based models.

    python -m tools.tables.ablation --data ../shared/data/mocap/free --folder out/ablation

Trains one variant after the other with the same seed, motion, noise, batches of 8 windows and
number of steps; then those that are cheaper a step once more for about the full model's time.
The analytic variants all start from the same fit by least squares, which the others cannot have.
A variant whose weights are in the folder is not trained again, one that was interrupted goes on.
Prints Markdown: errors on held-back motion, and what the losses are about.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hpsvid.body.model import Body, load_body
from hpsvid.common.tables import Column, Table
from hpsvid.common.weights import weights_path
from hpsvid.evaluation.metrics import MM
from hpsvid.evaluation.noise_curves import (
    compare,
    hybrik_method,
    network_method,
    noisy_windows,
    table,
)
from hpsvid.ik.networks import load_network
from hpsvid.ik.niki import Niki
from hpsvid.ik.tensors import Pose, posed_joints, rotmat_to_6d, to_rest_axes, turn_root
from hpsvid.mocap.amass import read_mocap_folder
from hpsvid.mocap.sources import even_windows
from hpsvid.options import ModelName, PartName
from hpsvid.training.loop import FitConfig, TrainingFiles
from hpsvid.training.losses import independence
from hpsvid.training.solvers import Recipe, train_solver

LENGTH = 16  # frames of a training window; these models see one at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What is trained, and how many times as many steps it gets."""

    name: ModelName = "niki"
    without: tuple[PartName, ...] = ()
    times: int = 1


VANILLA: tuple[PartName, ...] = ("ind", "bnd", "analytic")
VARIANTS = {
    "full": Variant(),
    "no L_ind": Variant(without=("ind",)),
    "no boundary": Variant(without=("bnd",)),
    "no bidirectional": Variant(without=("bidirectional",)),
    "vanilla INN": Variant(without=VANILLA),
    "MLP-IK": Variant(name="mlp"),
    "GIK-Net": Variant(name="gik"),
    "least squares alone": Variant(times=0),
    # about as many steps as one thread makes while the full model makes one
    "MLP-IK, equal time": Variant(name="mlp", times=9),
    "vanilla INN, equal time": Variant(without=VANILLA, times=3),
}


def train_variants(data: Path, folder: Path, steps: int, seed: int) -> dict[str, Path]:
    """Train what is not trained yet; the weights by variant, in the order of VARIANTS."""
    made = {}
    for label, variant in VARIANTS.items():
        run = folder / label.replace(",", "").replace(" ", "_")
        made[label] = run.with_suffix(".safetensors")
        if made[label].exists():
            continue
        # a fit by least squares is taken as it is: one step, at a fiftieth of the rate
        config = FitConfig(steps=max(variant.times * steps, 1), patience=10**6)
        print(f"training {label}", flush=True)
        recipe = Recipe(
            solver=variant.name, length=LENGTH, seed=seed, fit=config, without=variant.without
        )
        files = TrainingFiles(data=data, out=made[label], folder=run)
        error = train_solver(recipe, files)
        print(f"trained {label}: {_seconds(run):.0f} s, validation {error:.1f} mm", flush=True)
    return made


def _seconds(run: Path) -> float:
    return float(_last_row(run)["seconds"])


def _last_row(run: Path) -> dict[str, str]:
    with (run / "log.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))[-1]


def probe(model: Niki, poses: Tensor, body: Body) -> list[float]:
    """What the losses are about, as in HEADS, on windows of true poses (B, T, 24, 3, 3)."""
    solved, turned = {}, {}
    for level in (0, 30, None):
        seen = noisy_windows(poses, body, level_mm=level, told=True, seed=0)
        turned[level] = to_rest_axes(*seen, framewise=True)
        solved[level] = model.solve(*turned[level][1:])
    spread = {level: pose.z.square().mean().sqrt().item() for level, pose in solved.items()}

    def told_apart(level: int | None) -> float:
        """Correlation over frames of |z| with the evidence's error."""
        turn, evidence, person = turned[level]
        truth = posed_joints(turn_root(turn, poses), person.rest.expand_as(evidence.joints))
        error = (evidence.joints - truth).square().sum((-1, -2)).sqrt()
        pair = torch.stack([solved[level].z.norm(dim=-1).flatten(), error.flatten()])
        return torch.corrcoef(pair)[0, 1].item()

    def forward_mm(level: int, z: Tensor) -> float:
        """Mean distance of the evidence from what the true pose and `z` explain."""
        turn, evidence, person = turned[level]
        truth = Pose(rotations=rotmat_to_6d(turn_root(turn, poses)), swings=None, z=z)
        found = model.explain(truth, person, whole=False)[0]
        return (found.joints - evidence.joints).norm(dim=-1).mean().item() * MM

    turn, evidence, person = turned[30]
    back = model.explain(solved[30], person, whole=False)[0]
    truth = rotmat_to_6d(turn_root(turn, poses))
    drawn = torch.Generator().manual_seed(0)
    return [
        (back.joints - evidence.joints).abs().max().item() * MM,
        spread[0],
        spread[30],
        spread[None],
        told_apart(None),
        independence(solved[30], truth, person.valid, drawn).item(),
        forward_mm(30, solved[30].z),
        forward_mm(0, torch.zeros_like(solved[0].z)),
    ]


HEADS = (
    "round trip, mm", "rms z at 0 mm", "at 30 mm", "on XOCC", "correlation of z with error, XOCC",
    "MMD at 30 mm", "forward error at 30 mm, mm", "forward error at 0 mm with z = 0, mm",
)  # fmt: skip


def report(made: dict[str, Path], data: Path, windows: int) -> str:
    """Both tables of trained variants, as Markdown."""
    body = load_body(weights_path("free_body"))
    poses = even_windows(tuple(read_mocap_folder(data, body)), 64, windows)
    networks = {label: load_network(path) for label, path in made.items()}
    methods = {label: network_method(network) for label, network in networks.items()}
    scores = compare({"analytic (HybrIK)": hybrik_method, **methods}, poses, body)
    columns = [Column("", align="left"), Column("steps"), Column("minutes", form="{:.1f}")]
    columns += [Column("parameters", form="{:.2f} M")]
    columns += [Column(head, form="{:.3g}") for head in HEADS]
    rows = []
    with torch.inference_mode():
        for label, network in networks.items():
            run = made[label].with_suffix("")
            size = sum(p.numel() for p in network.parameters()) / 1e6
            niki = isinstance(network, Niki)
            probed = probe(network, poses[::3], body) if niki else [""] * len(HEADS)
            rows.append([label, _last_row(run)["step"], _seconds(run) / 60, size, *probed])
    return "\n\n".join([table(scores).markdown(), Table(columns, rows).markdown()])


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(description="Ablation of NIKI's losses.")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and val/")
    parser.add_argument("--folder", type=Path, required=True, help="weights and logs")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--windows", type=int, default=24, help="of 64 frames, to compare on")
    chosen = parser.parse_args(arguments)
    made = train_variants(chosen.data, chosen.folder, chosen.steps, chosen.seed)
    found = report(made, chosen.data / "val", chosen.windows)
    (chosen.folder / "ablation.md").write_text(found + "\n", encoding="utf-8")
    print(found)


if __name__ == "__main__":
    main()
