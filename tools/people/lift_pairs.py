"""Lift rendered pairs: what a lifter makes of them, as training windows of the solvers.

    python -m tools.people.lift_pairs --pairs DIR --out FILE.npz [--lifter FILE.safetensors]

DIR holds the shards of `tools.people.pairs`. Every sequence enters twice, as lifted and as
`smoothing.steady` hands it to a solver, at the solvers' own frame rate. Nothing made here is
committed.
"""

import argparse
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from hpsvid.backbone.geometric import lift_geometrically
from hpsvid.backbone.landmarks import Landmarks
from hpsvid.backbone.learned import lift
from hpsvid.backbone.lifter_network import Lifters, load_lifter
from hpsvid.body.model import Body, load_body
from hpsvid.common.files import read_npz
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.common.series import RATE_HZ, at_times, interpolate_rotations
from hpsvid.common.weights import weights_path
from hpsvid.motion.person import person_betas
from hpsvid.motion.smoothing import steady
from hpsvid.training.batches import LiftedPairs
from hpsvid.training.pairs import KEYS
from hpsvid.types import Array, Camera, Observations
from tools.people.pairs import FILM_FPS

MIN_SEEN = 0.5  # of a sequence's frames


def landmarks_of(shard: dict[str, Array], row: int, lifter: Lifters | None) -> Landmarks:
    """What the landmark network saw of one sequence; whoever else it saw counts as not seen."""
    own = shard["shows"][row] == shard["person"][row]
    names = ("image", "world", "visibility", "presence")
    return Landmarks(
        track_id=row,
        frame_index=np.arange(len(own)),
        score=(shard["score"][row] * own).astype(np.float32),
        lean=shard["crop"][row, :, 3].astype(np.float32),
        inner=None if lifter is None else lifter.reader()(shard["inner"][row].astype(np.float32)),
        **{name: shard[name][row].astype(np.float32) for name in names},
    )


def lifted_shard(
    path: Path, body: Body, lifter: Lifters | None
) -> list[tuple[Observations, Array]]:
    """Observations of a shard's sequences and their true rotations (T, 24, 3, 3)."""
    shard = read_npz(path, "a shard of tools.people.pairs", KEYS)
    found = []
    for row in range(len(shard["score"])):
        seen = landmarks_of(shard, row, lifter)
        if (seen.score > 0).mean() < MIN_SEEN:
            continue
        camera = Camera(K=shard["K"][row].astype(np.float64), source="given")
        times = np.arange(len(seen)) / FILM_FPS
        if lifter is None:
            obs = lift_geometrically(seen, camera, body)
        else:
            obs = lift(seen, times, camera, body, model=lifter)
        truth = axis_angle_to_matrix(torch.from_numpy(shard["rotvec"][row])).float().numpy()
        steps = np.arange(int(times[-1] * RATE_HZ) + 1) / RATE_HZ
        rotmats = interpolate_rotations(steps, times, truth)
        found += [(at_times(o, times, steps), rotmats) for o in (obs, steady(obs, times))]
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
    rows: dict[str, list[Array]] = {field.name: [] for field in fields(LiftedPairs)}
    with torch.inference_mode():
        for path in sorted(options.pairs.rglob("shard_*.npz")):
            for obs, rotmats in lifted_shard(path, body, lifter):
                rows["joints"].append(obs.joints)
                rows["sigma"].append(obs.sigma)
                rows["twist"].append(obs.twist)
                rows["view"].append(obs.pelvis / np.linalg.norm(obs.pelvis, axis=-1, keepdims=True))
                rows["betas"].append(person_betas(obs))
                rows["rotmats"].append(rotmats)
            print(f"{path.name}: {len(rows['joints'])} sequences so far", flush=True)
    whole = {name: torch.from_numpy(np.stack(row)) for name, row in rows.items()}
    LiftedPairs(**whole).write(options.out)


if __name__ == "__main__":
    main()
