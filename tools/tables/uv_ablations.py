"""Train UV inpainting and what the paper leaves out of it (Best of Both Worlds, Table 4).

    python -m tools.tables.uv_ablations CROPS --mocap DIR --out FOLDER [--steps N]

CROPS: `train` and `val`, shards of `tools.people.dense`. All networks see the same examples in the
same order for as many steps. FOLDER gets one file each, named as `tools.tables.dense_maps --uv
FOLDER` tells them; those that are there are kept.
"""

import argparse
from pathlib import Path

import torch

from hpsvid.backbone.dense_maps import DenseMaps
from hpsvid.backbone.dense_network import load_dense
from hpsvid.backbone.uv_network import UvConfig, UvNet, save_uv
from hpsvid.body.model import load_body
from hpsvid.common.weights import weights_path
from hpsvid.pipeline.uv_chain import UvChain
from hpsvid.training.loop import FitConfig
from hpsvid.training.uv import SIMULATED, fit_uv, make_examples

NETWORKS = {
    "UVI-14": UvConfig(),
    "UVI-14 without IK": UvConfig(ik=False),
    "UVI-14 without DMP": UvConfig(dmp=False),
    "UVI-14 without symmetry": UvConfig(symmetric=False),
}


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description="UV inpainting and its ablations.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mocap", type=Path, default=None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=None, help="of the dense network")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--simulated", type=int, default=SIMULATED, help="examples without picture")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    chain = UvChain(load_body(weights_path("free_body")))
    maps = DenseMaps(chain.body, threads=1)
    if given.weights is not None:
        maps.model = load_dense(given.weights)
    train, held_back = make_examples(
        given.folder, maps, chain, given.mocap, simulated=given.simulated
    )
    print(f"{len(train)} examples, {len(held_back)} held back", flush=True)
    for name, config in NETWORKS.items():
        path = given.out / f"{name}.safetensors"
        if path.exists():
            continue
        torch.manual_seed(0)
        model = UvNet(config)
        print(name, flush=True)
        folder = given.out / name
        fit_uv(model, train, held_back, chain.space, folder, FitConfig(steps=given.steps))
        save_uv(model, path)


if __name__ == "__main__":
    main()
