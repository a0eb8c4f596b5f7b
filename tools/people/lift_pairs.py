"""Lift rendered pairs: what a lifter makes of them, as training windows of the solvers.

    python -m tools.people.lift_pairs --pairs DIR --out FILE.npz [--lifter FILE.safetensors]

DIR holds the shards of `tools.people.render_pairs`. Every sequence enters twice, as lifted and as
`smoothing.steady` hands it to a solver, its 3D made as deep and as leaning as on one video or
another (`hpsvid.training.augment`). Nothing made here is committed.
"""

import argparse
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from hpsvid.backbone.geometric import lift_geometrically
from hpsvid.backbone.landmarks import Landmarks
from hpsvid.backbone.learned import lift
from hpsvid.backbone.lifter_network import Lifter, load_lifter
from hpsvid.body.model import Body, load_body
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.common.weights import weights_path
from hpsvid.mocap.sources import FPS
from hpsvid.motion.person import person_betas
from hpsvid.motion.smoothing import steady
from hpsvid.training.augment import TILT_RAD, deepened, lean, turned
from hpsvid.training.batches import LiftedPairs
from hpsvid.types import Array, Camera, Observations

MIN_SEEN = 0.5  # of a sequence's frames
# of the depth that the network gives a render: on the mean right, and as varied as on real clips
RIGHT_GAIN, GAIN_SPREAD = 1.5, 0.15


def as_on_some_video(world: Array, image: Array, K: Array, rng: torch.Generator) -> Array:
    """World landmarks (T, 33, 3) m of a render, as the network might give them of real video."""
    rays = torch.from_numpy((image - K[:2, 2]) / [K[0, 0], K[1, 1]])[None].float()
    gain = torch.exp(np.log(RIGHT_GAIN) + GAIN_SPREAD * torch.randn(1, 1, 1, 1, generator=rng))
    tilt = lean(rays) + TILT_RAD * torch.randn(1, 3, generator=rng)
    points = deepened(torch.from_numpy(world)[None], gain) @ turned(tilt)
    return points[0].numpy()


def read_shard(
    path: Path, body: Body, lifter: Lifter | None, rng: torch.Generator
) -> list[tuple[Observations, Array]]:
    """Observations of a shard's sequences and their true rotations (T, 24, 3, 3)."""
    with np.load(path) as archive:
        data = {key: archive[key] for key in archive.files}
    found = []
    for i, score in enumerate(data["score"]):
        if (score > 0).mean() < MIN_SEEN:
            continue
        names = ("image", "visibility", "presence", "score")
        seen = Landmarks(
            track_id=i,
            frame_index=np.arange(len(score)),
            world=as_on_some_video(data["world"][i], data["image"][i], data["K"][i], rng),
            **{name: data[name][i].astype(np.float32) for name in names},
        )
        camera = Camera(K=data["K"][i].astype(np.float64), source="given")
        times = np.arange(len(score)) / FPS
        if lifter is None:
            obs = lift_geometrically(seen, camera, body)
        else:
            obs = lift(seen, times, camera, body, model=lifter)
        rotmats = axis_angle_to_matrix(torch.from_numpy(data["rotvec"][i])).float().numpy()
        found += [(obs, rotmats), (steady(obs, times), rotmats)]
    return found


def main() -> None:
    """Lift all shards of a folder."""
    parser = argparse.ArgumentParser(description="Lift rendered pairs for training.")
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lifter", type=Path, help="weights; the geometric lifter without")
    options = parser.parse_args()
    torch.set_num_threads(1)
    body = load_body(weights_path("free_body"))
    lifter = None if options.lifter is None else load_lifter(options.lifter)
    rng = torch.Generator().manual_seed(0)
    rows: dict[str, list[Array]] = {field.name: [] for field in fields(LiftedPairs)}
    with torch.inference_mode():
        for path in sorted(options.pairs.glob("shard_*.npz")):
            for obs, rotmats in read_shard(path, body, lifter, rng):
                rows["joints"].append(obs.joints)
                rows["sigma"].append(obs.sigma)
                rows["twist"].append(obs.twist)
                rows["view"].append(obs.pelvis / np.linalg.norm(obs.pelvis, axis=-1, keepdims=True))
                rows["betas"].append(person_betas(obs))
                rows["rotmats"].append(rotmats)
            print(f"{path.name}: {len(rows['joints'])} sequences so far", flush=True)
    np.savez(options.out, allow_pickle=False, **{name: np.stack(row) for name, row in rows.items()})


if __name__ == "__main__":
    main()
