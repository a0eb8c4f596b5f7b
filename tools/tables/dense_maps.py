"""Dense maps on held-back renders: the maps' errors, and joints stage by stage.

    python -m tools.tables.dense_maps DIR [--weights W.safetensors]

DIR: shards of `tools.people.dense`, their people and motions held back from training. Single crops,
as a detector's boxes give them; nothing is smoothed over time. Ways:

* landmarks: the landmark network's own 3D of the crop, 12 limb points against the true landmarks.
* DMP, votes: 14 joints as means of their parts' cells in the joint map; the parts are those of the
  surface that the network tells. A joint whose part does not show is at the pelvis, as nothing is
  known of it (Best of Both Worlds, Table 4).
* DMP, seen: the same, of the joints whose parts show alone.
* DMP, all: every joint by attention over all cells, those that show drawn towards
  the votes (`MAPS_SHARE`).
* IK: these refined and solved by GIK-Net, the body's joints.

12 limb points are compared (shoulders to ankles), MPJPE with the middle of the hips together. Crops
with at least three of them behind something else or outside the picture are told apart.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpsvid.backbone.blazepose import N_OUTPUTS
from hpsvid.backbone.crop import Crop
from hpsvid.backbone.dense_maps import DenseMaps
from hpsvid.backbone.dense_network import joints_of_maps, load_dense, turns_of
from hpsvid.body.model import Body, load_body
from hpsvid.body.parts import LSP_JOINTS, part_of_places
from hpsvid.body.skeleton import LIMB_JOINTS, LIMB_LANDMARKS, LIMB_NAMES
from hpsvid.common.files import read_npz
from hpsvid.common.geometry import axis_angle_to_matrix, unit
from hpsvid.common.tables import Column, Table
from hpsvid.common.weights import load_onnx, weights_path
from hpsvid.evaluation.metrics import aligned_errors, joint_errors, mean
from hpsvid.ik.gik import GikNet
from hpsvid.ik.networks import load_network
from hpsvid.ik.tensors import Evidence, Person, posed_joints
from hpsvid.training.dense import scores
from hpsvid.training.dense_data import KEYS, DenseShards, crops_of
from hpsvid.types import N_LANDMARKS, Array

HIPS = (LIMB_NAMES.index("left_hip"), LIMB_NAMES.index("right_hip"))
LIMBS14 = [LSP_JOINTS.index(joint) for joint in LIMB_JOINTS]
MANY_HIDDEN = 3  # of the 12 points, in a crop that counts as occluded
BATCH = 32


def solved(joints: Tensor, sigma: Tensor, twist: Tensor, betas: Tensor, body: Body) -> Tensor:
    """The joints (N, 29, 3) m of GIK-Net's body for joints in the view's axes."""
    network = load_network(weights_path("gik"))
    assert isinstance(network, GikNet)
    rest = body.rest_joints(betas)[:, None]
    person = Person(
        rest=rest,
        betas=betas[:, None],
        view=torch.tensor([0.0, 0, 1]).expand(len(joints), 1, 3),
        sigma=sigma[:, None],
        valid=torch.ones(len(joints), 1, dtype=torch.bool),
    )
    with torch.inference_mode():
        evidence = Evidence(joints=joints[:, None], twist=twist[:, None])
        return posed_joints(network.rotations(evidence, person), rest)[:, 0]


def ways_of(maps: DenseMaps, body: Body, data: DenseShards) -> dict[str, Array]:
    """Limb points (N, 12, 3) m of each way on a folder's crops as they are; NaN where not told."""
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(data), BATCH):
        batch = data.batch(np.arange(start, min(start + BATCH, len(data))), 0)
        with torch.inference_mode():
            answer = maps.model(batch.seen)
        part = part_of_places(answer.surface.permute(0, 2, 3, 1), body, 14)
        told, seen = joints_of_maps(answer, part)
        joints = maps.joints(answer)
        final = solved(joints, answer.sigma, unit(answer.twist), answer.betas, body)
        unknown = torch.full_like(told, torch.nan)
        ways = {
            "DMP, votes": torch.where(seen[..., None], told, torch.zeros_like(told))[:, LIMBS14],
            "DMP, seen": torch.where(seen[..., None], told, unknown)[:, LIMBS14],
            "DMP, all": joints[:, LIMB_JOINTS],
            "IK": final[:, LIMB_JOINTS],
        }
        for name, points in ways.items():
            parts.setdefault(name, []).append(points)
    return {name: torch.cat(points).numpy() for name, points in parts.items()}


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
        places = [Crop(x=x, y=y, side=s, angle=a) for x, y, s, a in arrays["crop"].tolist()]
        true.append((marks @ turns_of(places, arrays["K"])).numpy()[:, LIMB_LANDMARKS])
    return np.stack(told), np.concatenate(true)


def figures(told: Array, true: Array) -> list[float]:
    """PA-MPJPE and MPJPE, mm."""
    middle = (told[:, HIPS[:1]] + told[:, HIPS[1:]]) / 2
    middle = np.where(np.isfinite(middle), middle, 0)  # maps are told from the pelvis
    true = true - (true[:, HIPS[:1]] + true[:, HIPS[1:]]) / 2
    return [mean(aligned_errors(told, true)), mean(joint_errors(told - middle, true))]


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description="Dense maps on held-back renders.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, default=None)
    given = parser.parse_args()
    torch.set_num_threads(1)
    body = load_body(weights_path("free_body"))
    data = DenseShards(given.folder, body)
    maps = DenseMaps(body, threads=1)
    if given.weights is not None:
        maps.model = load_dense(given.weights)
    for name, value in scores(maps.model, data, np.arange(len(data))).items():
        print(f"{name}: {value:.4g}")
    state = data.truth.joint_state[:, LIMB_JOINTS].numpy()
    occluded = (state >= 2).sum(1) >= MANY_HIDDEN
    groups = {"all": slice(None), "open": ~occluded, "occluded": occluded}
    true = data.truth.joints[:, LIMB_JOINTS].numpy()
    ways = {"landmarks": landmarks_of(given.folder, body)}
    ways |= {name: (points, true) for name, points in ways_of(maps, body, data).items()}
    columns = [Column("way", align="left")] + [
        Column(f"{group} {name}", unit="mm", form="{:.1f}")
        for group in groups
        for name in ("PA-MPJPE", "MPJPE")
    ]
    rows = [
        [name, *(value for rows in groups.values() for value in figures(told[rows], at[rows]))]
        for name, (told, at) in ways.items()
    ]
    print(f"{len(data)} crops, {occluded.sum()} occluded")
    print(Table(columns, rows).markdown())


if __name__ == "__main__":
    main()
