"""Where the landmark network sees the body's landmarks on rendered people.

    python -m tools.people.landmarks DIR

Prints, for each landmark, the offset from the free body's landmark to where the network sees it,
constant in the axes of the bone that carries it (left, up and ahead on the rest body), fitted over
all frames of the shards in DIR in which the point shows. `tools.build_body.landmarks` takes the
limbs' from here: two points that are called alike and lie 20 mm apart bend a fitted body's knees.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from hpsvid.body.model import Body, load_body
from hpsvid.body.skeleton import BLAZEPOSE, SMPL, forward_kinematics
from hpsvid.common.files import read_npz
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.common.weights import weights_path
from hpsvid.types import Array
from tools.people.truth import SEEN

EVERY = 4  # frames; neighbours say the same
NEAREST_M = 0.5
NORMAL_M = 0.04  # residual; Geman-McClure's scale
ROUNDS = 20
KEYS = ("image", "score", "shows", "person", "rotvec", "betas", "landmarks", "landmark_state", "K")


def carriers(body: Body) -> Array:
    """The joint (33,) that turns each landmark's skin."""
    assert body.landmark_regressor is not None
    return (body.landmark_regressor @ body.skin_weights).argmax(1).numpy()


def sightings(shard: dict[str, Array], body: Body) -> tuple[Array, Array, Array]:
    """Offsets seen in the picture, what an offset does there, and the landmark's number.

    shard: arrays of `tools.people.pairs`. Returns (N, 2) m at the landmark's depth, (N, 2, 3)
    and (N,).
    """
    right = (shard["score"] > 0) & (shard["shows"] == shard["person"][:, None])
    right[:, np.arange(right.shape[1]) % EVERY != 0] = False
    rows, frames = np.nonzero(right)
    rotmats = axis_angle_to_matrix(torch.from_numpy(shard["rotvec"][rows, frames])).float()
    _, turns = forward_kinematics(rotmats, body.rest_mean)
    turns = turns[:, carriers(body)].double().numpy()  # (N, 33, 3, 3)
    points = shard["landmarks"][rows, frames].astype(np.float64)
    K = shard["K"][rows].astype(np.float64)
    focal, centre = K[:, None, [0, 1], [0, 1]], K[:, None, :2, 2]
    depth = points[..., 2:]
    off = (shard["image"][rows, frames] - centre) / focal * depth - points[..., :2]
    ray = points[..., :2] / depth
    slope = turns[..., :2, :] - ray[..., None] * turns[..., 2:, :]
    shows = (shard["landmark_state"][rows, frames] == SEEN) & (depth[..., 0] > NEAREST_M)
    return off[shows], slope[shows], np.nonzero(shows)[1]


def offset(off: Array, slope: Array) -> tuple[Array, Array]:
    """The offset (3,) m that explains most sightings, and what is left of each (N,) m."""
    weight = np.ones(len(off))
    best = np.zeros(3)
    for _ in range(ROUNDS):
        normal = np.einsum("n,nia,nib->ab", weight, slope, slope) + np.eye(3)
        best = np.linalg.solve(normal, np.einsum("n,nia,ni->a", weight, slope, off))
        weight = (1 + (np.linalg.norm(off - slope @ best, axis=1) / NORMAL_M) ** 2) ** -2
    return best, np.linalg.norm(off - slope @ best, axis=1)


def main() -> None:
    """Print every landmark's offset."""
    parser = argparse.ArgumentParser(description="Where the network sees the body's landmarks.")
    parser.add_argument("folder", type=Path)
    body = load_body(weights_path("free_body"))
    parts = [
        sightings(read_npz(path, "a shard of tools.people.pairs", KEYS), body)
        for path in sorted(parser.parse_args().folder.rglob("shard_*.npz"))
    ]
    off, slope, which = (np.concatenate(values) for values in zip(*parts, strict=True))
    print(f"{'landmark':18}{'carried by':16}{'seen':>6}  left, up, ahead mm   before, after mm")
    carrier = carriers(body)
    for place, name in enumerate(BLAZEPOSE.names):
        mine = which == place
        if not mine.any():
            continue
        best, left = offset(off[mine], slope[mine])
        left_up_ahead = ", ".join(f"{1000 * value:5.0f}" for value in best)
        before = 1000 * np.median(np.linalg.norm(off[mine], axis=1))
        print(f"{name:18}{SMPL.names[carrier[place]]:16}{mine.sum():6}  {left_up_ahead}"
              f"{before:16.0f},{1000 * np.median(left):4.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
