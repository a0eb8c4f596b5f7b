"""What the dense network says of rendered crops, as training pairs of the frame-based solvers.

    python -m tools.people.dense_pairs --crops DIR --out FILE.npz [--weights W.safetensors]

DIR holds shards of `tools.people.dense` that the network was not trained on: of those it was, it
errs too little. Every crop enters as it is, and roughened and in a mirror. `hpsvid train gik
--pairs FILE` reads it. Nothing made here is committed.
"""

import argparse
from pathlib import Path

import torch

from hpsvid.backbone.dense_maps import DenseMaps
from hpsvid.backbone.dense_network import load_dense
from hpsvid.body.model import load_body
from hpsvid.common.geometry import unit
from hpsvid.common.records import join
from hpsvid.common.weights import weights_path
from hpsvid.mocap.sources import mirror
from hpsvid.training.batches import LiftedPairs
from hpsvid.training.dense_data import DenseShards, rotations_of
from hpsvid.training.uv import Looked, looks_at

LOOKS = (0, 1)
AHEAD = torch.tensor([0.0, 0, 1])  # of a crop's view


@torch.inference_mode()
def pairs_of(maps: DenseMaps, look: Looked) -> LiftedPairs:
    """What the network says of some crops, each a picture by itself."""
    answer = maps.model(look.seen)
    joints = maps.joints(answer)
    rotmats = rotations_of(look.arrays)
    if look.mirrored:
        rotmats = torch.from_numpy(mirror(rotmats.numpy()))
    return LiftedPairs(
        joints=(joints - joints[:, :1])[:, None],
        sigma=answer.sigma[:, None],
        twist=unit(answer.twist)[:, None],
        view=AHEAD.expand(len(joints), 1, 3),
        betas=answer.betas,
        rotmats=rotmats[:, None],
    )


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
    looks = looks_at(DenseShards(given.crops, body), LOOKS)
    pairs = join(*(pairs_of(maps, look) for look in looks))
    pairs.write(given.out)
    print(f"{given.out}: {len(pairs.joints)} answers")


if __name__ == "__main__":
    main()
