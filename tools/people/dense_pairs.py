"""What the dense network says of rendered crops, as training pairs of the frame-based solvers.

    python -m tools.people.dense_pairs --crops DIR --out FILE.npz [--weights W.safetensors]

DIR holds shards of `tools.people.dense` that the network was not trained on: of those it was, it
errs too little. Every crop enters as it is, and roughened and in a mirror. `hpsvid train gik
--pairs FILE` reads it. Nothing made here is committed.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from hpsvid.backbone.crop import Crop
from hpsvid.backbone.dense_maps import DenseMaps
from hpsvid.backbone.dense_network import load_dense, turns_of
from hpsvid.body.model import load_body
from hpsvid.common.geometry import axis_angle_to_matrix, unit
from hpsvid.common.weights import weights_path
from hpsvid.mocap.sources import mirror
from hpsvid.training.dense_data import DenseShards
from hpsvid.training.uv import looks_at
from hpsvid.types import Array

LOOKS = (0, 1)
AHEAD = np.array([0, 0, 1], np.float32)  # of a crop's view


def rotations_of(arrays: dict[str, Array], *, mirrored: bool) -> Array:
    """True rotations (N, 24, 3, 3) of a shard's rows in their crops' views."""
    rotmats = axis_angle_to_matrix(torch.from_numpy(arrays["rotvec"]).float())
    crops = [Crop(x=x, y=y, side=s, angle=a) for x, y, s, a in arrays["crop"].tolist()]
    rotmats[:, 0] = turns_of(crops, arrays["K"]).mT @ rotmats[:, 0]
    return mirror(rotmats.numpy()) if mirrored else rotmats.numpy()


def main() -> None:
    """Ask the network about all crops of a folder."""
    parser = argparse.ArgumentParser(description="Training pairs of the dense network's answers.")
    parser.add_argument("--crops", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="of the dense network")
    given = parser.parse_args()
    torch.set_num_threads(1)
    body = load_body(weights_path("free_body"))
    maps = DenseMaps(body, threads=1)
    if given.weights is not None:
        maps.model = load_dense(given.weights)
    rows: dict[str, list[Array]] = {}
    for look in looks_at(DenseShards(given.crops, body), LOOKS):
        with torch.inference_mode():
            answer = maps.model(look.seen)
            joints = maps.joints(answer)
        told = {
            "joints": (joints - joints[:, :1])[:, None],
            "sigma": answer.sigma[:, None],
            "twist": unit(answer.twist)[:, None],
            "betas": answer.betas,
        }
        made = {name: values.numpy() for name, values in told.items()} | {
            "view": np.broadcast_to(AHEAD, (len(joints), 1, 3)),
            "rotmats": rotations_of(dict(look.arrays), mirrored=look.mirrored)[:, None],
        }
        for name, values in made.items():
            rows.setdefault(name, []).append(values)
    whole = {name: np.concatenate(parts) for name, parts in rows.items()}
    np.savez(given.out, allow_pickle=False, **whole)
    print(f"{given.out}: {len(whole['joints'])} answers")


if __name__ == "__main__":
    main()
