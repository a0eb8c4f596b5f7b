"""Make real training pairs without an image data set: render motion, run the landmark network.

    python -m tools.people.render_pairs --mocap MOCAP/train --out DIR --shards 0:200

Each shard holds `SEQUENCES` takes of `hpsvid.mocap.takes`: what the network says of the pictures
(the real crop-and-track code) beside the exact truth. A shard is a function of its number alone;
shards that exist are skipped, so a stopped run goes on where it was. Nothing made here is
committed.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from hpsvid.backbone.blazepose import BlazePose
from hpsvid.body.model import Body, load_body
from hpsvid.common.files import write_npz
from hpsvid.common.geometry import matrix_to_axis_angle
from hpsvid.common.weights import weights_path
from hpsvid.mocap.amass import read_mocap_folder
from hpsvid.mocap.sources import FPS, MotionSource
from hpsvid.mocap.takes import SIZE, Take, choose_take
from hpsvid.types import Array, Frames, Track
from tools.people.room import Light, View, make_room
from tools.people.scene import Mesh, box_mesh, draw, dress, person_mesh

LENGTH = 48  # frames a sequence
SEQUENCES = 16  # a shard
MARGIN_M = 0.5  # least distance of a wall to the camera and the person
SKINS = ((224, 180, 150), (150, 100, 70), (245, 210, 185), (95, 65, 50))


def film(rng: np.random.Generator, take: Take, body: Body) -> Array:
    """The take's pictures (T, SIZE, SIZE, 3) uint8: clothes, a room, light, things in the way."""
    turn = take.rotation
    people = body.vertices_of(take.params)
    people = (people - take.translation) @ turn  # world; rows: R^T v
    eyes = -take.translation @ turn
    points = np.concatenate([people.reshape(-1, 3), eyes])
    floor = np.array([0, min(people[..., 1].min(), eyes[:, 1].min() - 0.2), 0])
    people, eyes, points = people - floor, eyes - floor, points - floor
    low, high = points.min(0) - rng.uniform(MARGIN_M, 3, 3), points.max(0) + rng.uniform(0.5, 3, 3)
    low[1] = 0
    room = make_room(low, high, int(rng.integers(1 << 31)))
    aim = rng.normal(size=3)
    light = Light(
        towards=np.array([aim[0], 1 + abs(aim[1]), aim[2]]),
        key=rng.uniform(0.1, 0.7),
        fill=rng.uniform(0.3, 0.7),
    )
    colours = _dressed(rng, body)
    things = _things(rng, people.reshape(-1, 3).mean(0), eyes[LENGTH // 2])
    gain, noise, blur = rng.uniform(0.6, 1.25), rng.uniform(0, 9), rng.uniform(0, 1.2)
    pictures = np.empty((LENGTH, SIZE, SIZE, 3), np.uint8)
    for t in range(LENGTH):
        view = View(
            K=take.K, rotation=turn[t], translation=-turn[t] @ eyes[t], width=SIZE, height=SIZE
        )
        moved = [replace(m, vertices=m.vertices + pace * t) for m, pace in things]
        picture = draw(room, view, light, [person_mesh(body, people[t], colours), *moved]).rgb
        if blur > 0.5:
            picture = cv2.GaussianBlur(picture, (0, 0), blur)
        grain = rng.normal(size=(SIZE, SIZE, 1)) * noise
        pictures[t] = np.clip(picture * gain + grain, 0, 255).astype(np.uint8)
    return pictures


def _dressed(rng: np.random.Generator, body: Body) -> Array:
    """Vertex colours (V, 3) of the suit in random colours."""
    wear = {part: rng.integers(25, 240, 3).tolist() for part in ("jersey", "trousers", "shoes")}
    return dress(
        body, **wear, skin=SKINS[rng.integers(len(SKINS))], hair=rng.integers(15, 150, 3).tolist()
    )


def _things(rng: np.random.Generator, person: Array, eye: Array) -> list[tuple[Mesh, Array]]:
    """Boxes that pass between the camera and the person, and their pace in m a frame."""
    found = []
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2])):
        share = rng.uniform(0.35, 0.7)  # of the way to the person
        width = share * np.linalg.norm(person - eye)
        centre = eye + share * (person - eye) + rng.normal(size=3) * 0.12 * width
        colour = rng.integers(20, 235, 3).tolist()
        size = rng.uniform(0.08, 0.35, 3) * width
        box = box_mesh(centre.tolist(), size.tolist(), rng.uniform(0, 90), colour)
        found.append((box, rng.normal(size=3) * 0.004 * width))
    return found


def make_shard(number: int, source: MotionSource, body: Body) -> dict[str, Array]:
    """All arrays of one shard; N sequences of T frames."""
    rng = np.random.default_rng([2026, number])
    takes = [choose_take(rng, source.varied, body) for _ in range(SEQUENCES)]
    tracks = [_track(rng, i, take, body) for i, take in enumerate(takes)]
    network = BlazePose(tracks, threads=1)
    for track, take in zip(tracks, takes, strict=True):
        network.observe(
            Frames(
                rgb=film(rng, take, body),
                index=track.frame_index,
                pts_s=track.frame_index / FPS,
            )
        )
    seen = network.landmarks()
    rotvec = [matrix_to_axis_angle(torch.from_numpy(t.params.rotmats)).numpy() for t in takes]
    return {
        "image": np.stack([s.image for s in seen]).astype(np.float32),
        "world": np.stack([s.world for s in seen]).astype(np.float32),
        "visibility": np.stack([s.visibility for s in seen]).astype(np.float16),
        "presence": np.stack([s.presence for s in seen]).astype(np.float16),
        "score": np.stack([s.score for s in seen]).astype(np.float16),
        "rotvec": np.stack(rotvec).astype(np.float32),
        "betas": np.stack([t.params.betas for t in takes]),
        "transl": np.stack([t.params.transl for t in takes]),
        "K": np.stack([t.K for t in takes]).astype(np.float32),
    }


def _track(rng: np.random.Generator, place: int, take: Take, body: Body) -> Track:
    """The boxes a detector would give: the visible joints' hull, padded and a little unsteady."""
    joints = body.joints_of(take.params)
    flat = joints[..., :2] / joints[..., 2:] * take.K[0, 0] + take.K[:2, 2]
    low, high = flat.min(1), flat.max(1)
    pad = 0.06 * (high - low).max(1, keepdims=True)
    boxes = np.concatenate([low - pad, high + pad], 1)
    boxes = boxes + rng.normal(size=boxes.shape) * 0.015 * pad / 0.06
    frame_index = np.arange(place * LENGTH, (place + 1) * LENGTH, dtype=np.int64)
    return Track(
        id=place,
        frame_index=frame_index,
        boxes=boxes.clip(0, SIZE).astype(np.float32),
        scores=np.ones(LENGTH, np.float32),
        detected=np.ones(LENGTH, bool),
    )


def main() -> None:
    """Render the shards asked for."""
    parser = argparse.ArgumentParser(description="Render training pairs.")
    parser.add_argument("--mocap", type=Path, default=Path("../shared/data/mocap/free/train"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shards", default="0:80", help="first:last+1[:step]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    body = load_body(weights_path("free_body"))
    source = MotionSource(tuple(read_mocap_folder(options.mocap, body)), LENGTH)
    for number in range(*map(int, options.shards.split(":"))):
        path = options.out / f"shard_{number:05d}.npz"
        if path.exists():
            continue
        arrays = make_shard(number, source, body)
        write_npz(path, arrays)
        print(f"{path.name}: seen {np.mean(arrays['score'] > 0):.3f}", flush=True)


if __name__ == "__main__":
    main()
