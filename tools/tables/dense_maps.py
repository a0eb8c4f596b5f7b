"""Dense maps on held-back renders: the maps' errors, and joints and surface stage by stage.

    python -m tools.tables.dense_maps DIR [--weights W.safetensors] [--uv FOLDER] [--slid N]

DIR: shards of `tools.people.dense`, their people and motions held back from training. Single crops,
nothing is smoothed over time. The rows are those of Best of Both Worlds, Table 4, over LSP's 14
joints from the pelvis:

* landmarks: the landmark network's own 3D of the crop; 12 limb points against the true landmarks,
  from the middle of the hips.
* DMP-14: joints as means of their parts' cells in the joint map; the parts are those of the surface
  that the network tells. A joint whose part does not show is at the pelvis, as nothing is known.
* DMP-14, nonoccluded: the same, of the joints whose parts show alone.
* DMP, votes: every joint by attention over all cells, those that show drawn towards the maps
  (`MAPS_SHARE`): what the backbone gives, and what the next stage reads.
* IK-14: GIK-Net's body for these.
* UVI-14: joints of the completed joint map; and those of networks in FOLDER that were trained
  without one thing (`tools.tables.uv_ablations`).

surface: mean error of the surface's texels. Crops with at least three of the 12 limb points behind
something else or outside the picture are told apart. slid: on N crops, evenly spread, a grey square
(40/224 of the crop) at SLIDES x SLIDES places, one at a time, as 3DOH's people are occluded.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from hpsvid.backbone.blazepose import N_OUTPUTS
from hpsvid.backbone.crop import SIDE
from hpsvid.backbone.dense_maps import DenseMaps, Encoder
from hpsvid.backbone.dense_network import DenseAnswer, joints_of_maps, load_dense, turns_of
from hpsvid.backbone.uv_network import UvNet, load_uv
from hpsvid.body.model import Body, load_body
from hpsvid.body.parts import part_of_places
from hpsvid.body.skeleton import LIMB_JOINTS, LIMB_LANDMARKS, LIMB_NAMES
from hpsvid.common.files import read_npz
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.common.tables import Column, Table
from hpsvid.common.threads import torch_threads
from hpsvid.common.weights import load_onnx, weights_path
from hpsvid.evaluation.metrics import aligned_errors, joint_errors, mean
from hpsvid.evaluation.sensitivity import GREY, PATCH
from hpsvid.pipeline.uv_chain import UvChain
from hpsvid.training.dense import scores
from hpsvid.training.dense_data import KEYS, DenseShards, crops_of, places_of
from hpsvid.training.uv import looks_at
from hpsvid.training.uv_data import Looked, examples_of
from hpsvid.types import N_LANDMARKS, Array

HIPS = (LIMB_NAMES.index("left_hip"), LIMB_NAMES.index("right_hip"))
MANY_HIDDEN = 3  # of the 12 points, in a crop that counts as occluded
SLIDES = 3  # places of the occluder across and down
ROUNDS = 10  # of which the time is the median


class Stager:
    """Runs all stages on looks at crops."""

    def __init__(self, maps: DenseMaps, chain: UvChain, networks: dict[str, UvNet]) -> None:
        self.maps, self.chain, self.networks = maps, chain, networks

    def __call__(self, look: Looked) -> dict[str, tuple[Array, Array, Array]]:
        """Of each stage joints told and true (N, 14, 3) m, and the surface's error (N,) m."""
        assert look.seen is not None
        with torch.no_grad():
            answer = self.maps.model(look.seen)
            return self.stages(look, answer)

    def stages(self, look: Looked, answer: DenseAnswer) -> dict[str, tuple[Array, Array, Array]]:
        """The same of an answer."""
        chain = self.chain
        part = part_of_places(answer.surface.permute(0, 2, 3, 1), chain.body, 14)
        told, seen = joints_of_maps(answer, part)
        joints = self.maps.joints(answer)
        made = examples_of(look, answer, joints, chain)
        back = made.case.turn.mT
        told = told @ back
        unknown = torch.full((len(told),), torch.nan)
        posed = (made.case.posed_fine - made.location).norm(dim=-1).mean(1)
        out = {
            "DMP-14": (torch.where(seen[..., None], told, 0.0), unknown),
            "DMP-14, nonoccluded": (torch.where(seen[..., None], told, torch.nan), unknown),
            "DMP, votes": (made.case.seen_joints, unknown),
            "IK-14": (made.case.joints, posed),
        }
        for name, network in self.networks.items():
            maps = network.complete(made.case, chain.space)
            surface = (maps.location - made.location).norm(dim=-1).mean(1)
            out[name] = (maps.joints(chain.space.fine), surface)
        true = made.joints.numpy()
        return {name: (told.numpy(), true, far.numpy()) for name, (told, far) in out.items()}


def joined(parts: list[dict[str, tuple[Array, ...]]]) -> dict[str, tuple[Array, ...]]:
    """Stages of several looks as one."""
    return {
        name: tuple(
            np.concatenate(values) for values in zip(*(p[name] for p in parts), strict=True)
        )
        for name in parts[0]
    }


def landmarks_of(folder: Path, body: Body) -> tuple[Array, Array]:
    """The landmark network's own limb points (N, 12, 3) m of each crop, and the true ones."""
    session = load_onnx("blazepose_heavy", 1)
    told, true = [], []
    for path in sorted(folder.glob("shard_*.npz")):
        arrays = read_npz(path, "a shard of tools.people.dense", KEYS)
        for crop in crops_of(arrays):
            (world,) = session.run(["world"], {"crops": crop[None].astype(np.float32) / 255})
            points = np.asarray(world).reshape(N_OUTPUTS, 3)[:N_LANDMARKS]
            told.append(points[LIMB_LANDMARKS])
        rotmats = axis_angle_to_matrix(torch.from_numpy(arrays["rotvec"]))
        marks = body.landmarks(rotmats, torch.from_numpy(arrays["betas"]), torch.zeros(3))
        true.append((marks @ turns_of(places_of(arrays), arrays["K"])).numpy()[:, LIMB_LANDMARKS])
    points, marks = np.stack(told), np.concatenate(true)
    return tuple(p - p[:, list(HIPS)].mean(1, keepdims=True) for p in (points, marks))


def slid(data: DenseShards, stager: Stager, count: int) -> dict[str, tuple[Array, ...]]:
    """The stages on `count` crops with the occluder at each of its places."""
    encoder = Encoder(threads=1)
    step, parts, number = max(1, len(data) // count), [], 0
    patch = round(PATCH * SIDE)
    for arrays, rows in data.shards:
        for crop, row in zip(crops_of(arrays), rows, strict=True):
            number += 1
            if (number - 1) % step:
                continue
            at = row - rows[0]
            one = {key: value[at : at + 1] for key, value in arrays.items() if value.ndim > 1}
            truth = data.batch(np.array([row]), 0).truth
            for centre in occluders():
                x, y = (centre - patch / 2).astype(int)
                hidden = crop.copy()
                hidden[max(y, 0) : y + patch, max(x, 0) : x + patch] = GREY
                look = Looked(arrays=one, truth=truth, seen=encoder(hidden[None]))
                parts.append(stager(look))
    return joined(parts)


def occluders() -> Iterator[Array]:
    """The occluder's middles (2,) px: the middle half of the crop, where people are."""
    for x in np.linspace(0.25, 0.75, SLIDES):
        for y in np.linspace(0.2, 0.8, SLIDES):
            yield np.array([x, y]) * SIDE


def figures(told: Array, true: Array) -> list[float]:
    """MPJPE and PA-MPJPE, mm."""
    return [mean(joint_errors(told, true)), mean(aligned_errors(told, true))]


def milliseconds(data: DenseShards, stager: Stager, threads: int) -> dict[str, float]:
    """Median time a crop of each stage, looked at one by one."""
    arrays, _ = next(iter(data.shards))
    crop = next(iter(crops_of(arrays)))[None]
    maps = DenseMaps(stager.chain.body, threads=threads)
    encoder, chain, network = Encoder(threads=threads), stager.chain, stager.networks["UVI-14"]
    spent: dict[str, list[float]] = {}
    with torch_threads(threads), torch.no_grad():
        for _ in range(ROUNDS):
            times = [time.perf_counter()]
            seen = encoder(crop)
            times.append(time.perf_counter())
            answer = stager.maps.model(seen)
            joints = maps.joints(answer)
            times.append(time.perf_counter())
            posed = chain.posed(joints, answer)
            times.append(time.perf_counter())
            case = chain.case(joints, answer, posed)
            network.complete(case, chain.space)
            times.append(time.perf_counter())
            names = ("landmark network", "DMP", "IK and its body", "UVI and unwrapping")
            for name, span in zip(names, np.diff(times), strict=True):
                spent.setdefault(name, []).append(float(span) * 1e3)
    return {name: float(np.median(spans)) for name, spans in spent.items()}


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description="Dense maps on held-back renders.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--uv", type=Path, default=None, help="folder of networks, by row name")
    parser.add_argument("--slid", type=int, default=0, help="crops with a sliding occluder")
    parser.add_argument("--times", action="store_true", help="ms a crop, one and two threads")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    chain = UvChain(load_body(weights_path("free_body")))
    data = DenseShards(given.folder, chain.body)
    maps = DenseMaps(chain.body, threads=1)
    if given.weights is not None:
        maps.model = load_dense(given.weights)
    paths = [] if given.uv is None else sorted(given.uv.glob("*.safetensors"))
    networks = {path.stem: load_uv(path) for path in paths}
    stager = Stager(maps, chain, networks or {"UVI-14": load_uv(weights_path("uv"))})
    for name, value in scores(maps.model, data, np.arange(len(data))).items():
        print(f"{name}: {value:.4g}")
    state = data.truth.joint_state[:, LIMB_JOINTS].numpy()
    occluded = (state >= 2).sum(1) >= MANY_HIDDEN
    groups = {"all": np.ones(len(data), bool), "open": ~occluded, "occluded": occluded}
    ways = joined([stager(look) for look in looks_at(data, (0,))])
    ways = {"landmarks": (*landmarks_of(given.folder, chain.body), None)} | ways
    under = slid(data, stager, given.slid) if given.slid else {}
    columns = [Column("stage", align="left")] + [
        Column(name, unit="mm", form="{:.1f}")
        for name in (
            *(f"{group} {kind}" for group in groups for kind in ("MPJPE", "PA")),
            "surface", *(("slid MPJPE", "slid PA") if under else ()),
        )
    ]  # fmt: skip
    rows = []
    for name, (told, true, far) in ways.items():
        row: list[float | None] = [
            value for some in groups.values() for value in figures(told[some], true[some])
        ]
        row.append(None if far is None or np.isnan(far).all() else float(far.mean() * 1e3))
        if under:
            row += figures(*under[name][:2]) if name in under else [None, None]
        rows.append([name, *row])
    print(f"{len(data)} crops, {occluded.sum()} occluded")
    print(Table(columns, rows).markdown())
    for threads in (1, 2) if given.times else ():
        spent = milliseconds(data, stager, threads)
        told = ", ".join(f"{name} {value:.1f}" for name, value in spent.items())
        print(f"ms a crop, {threads} thread(s): {told}")


if __name__ == "__main__":
    main()
