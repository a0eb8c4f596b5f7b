"""Make real training pairs without an image data set: render motion, run the landmark network.

    python -m tools.render_pairs --mocap ../shared/data/mocap/free/train --out DIR --shards 0:200

Each shard holds `SEQUENCES` windows of motion seen by random cameras: what the network says of
the pictures (the real crop-and-track code) beside the exact truth. A shard is a function of its
number alone; shards that exist are skipped, so a stopped run goes on where it was. Nothing made
here is committed.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from hpsvid.backbone.blazepose import BlazePose
from hpsvid.body import JOINT, JOINT_NAMES, N_BODY, PARENTS, Body, load_body, mirrored
from hpsvid.files import write_npz
from hpsvid.geometry import axis_angle_to_matrix, matrix_to_axis_angle
from hpsvid.mocap import MotionCapture, read_mocap_folder, resample, seen_by_camera
from hpsvid.render import Mesh, Renderer, load_renderer
from hpsvid.types import Array, BodyParams, Frames, Track
from hpsvid.weights import weights_path

SIZE = 448  # px, width and height of a picture; the network's crop is 256
FPS = 30.0
LENGTH = 48  # frames a sequence
SEQUENCES = 16  # a shard
UPPER = [JOINT[name] for name in ("spine1", "spine2", "spine3", "neck", "head")] + [
    i for i, parent in enumerate(PARENTS[:24]) if i >= JOINT["left_collar"] and parent >= 9
]
ARMS = tuple(
    tuple(JOINT[f"{side}_{part}"] for part in ("collar", "shoulder", "elbow", "wrist", "hand"))
    for side in ("left", "right")
)
CLOTHES = {  # body part -> joints whose skin wears it
    "trousers": (0, 1, 2), "shins": (4, 5), "shirt": (3, 6, 9, 13, 14, 16, 17), "skin": (12, 15),
    "sleeves": (18, 19), "hands": (20, 21, 22, 23), "shoes": (7, 8, 10, 11),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Take:
    """One sequence: a body in camera axes and the camera's matrix for each frame."""

    params: BodyParams
    K: Array  # (3, 3) px


def choose_motion(rng: np.random.Generator, clips: Sequence[MotionCapture]) -> MotionCapture:
    """A window of `LENGTH` frames at a random speed; long clips are chosen more often."""
    share = np.array([len(clip) for clip in clips]) ** 0.6
    for _ in range(100):
        clip = clips[rng.choice(len(clips), p=share / share.sum())]
        # playing the capture faster or slower than it was is the speed augmentation
        played = replace(clip, fps=clip.fps * float(rng.uniform(0.7, 1.4)))
        need = int(np.ceil((LENGTH - 1) * played.fps / FPS)) + 2
        if len(played) < need:
            continue
        start = int(rng.integers(0, len(played) - need + 1))
        cut = replace(
            played,
            rotmats=played.rotmats[start : start + need],
            transl=played.transl[start : start + need],
        )
        window = resample(cut, FPS)
        return replace(window, rotmats=window.rotmats[:LENGTH], transl=window.transl[:LENGTH])
    raise SystemExit(f"no clip of {len(clips)} is {LENGTH} frames long")


def recombine(
    rng: np.random.Generator, clips: Sequence[MotionCapture], window: MotionCapture
) -> MotionCapture:
    """Give the motion another's upper body or arm now and then, and some random stiffness."""
    rotmats = window.rotmats.copy()
    if rng.random() < 0.35:
        rotmats[:, UPPER] = choose_motion(rng, clips).rotmats[:, UPPER]
    for arm in ARMS:
        if rng.random() < 0.2:
            rotmats[:, list(arm)] = choose_motion(rng, clips).rotmats[:, list(arm)]
    # a constant small turn of every joint makes poses that nobody performed
    angle = rng.normal(size=(24, 3)) * np.radians(rng.choice([0, 4, 9]))
    angle[0] = 0
    turn = axis_angle_to_matrix(torch.from_numpy(angle)).numpy()
    rotmats = (rotmats @ turn).astype(np.float32)
    if rng.random() < 0.5:
        rotmats = mirror(rotmats)
    return replace(window, rotmats=rotmats)


def mirror(rotmats: Array) -> Array:
    """The motion (T, 24, 3, 3) with left and right exchanged."""
    flip = np.diag([-1.0, 1, 1])
    return (flip @ rotmats[:, mirrored(JOINT_NAMES[:N_BODY])] @ flip).astype(np.float32)


def choose_take(rng: np.random.Generator, clips: Sequence[MotionCapture], body: Body) -> Take:
    """A motion of a random shape before a random camera: pitch, roll, focal, distance, drift."""
    for _ in range(50):
        motion = recombine(rng, clips, choose_motion(rng, clips))
        betas = (rng.normal(size=10) * 0.9).astype(np.float32)
        transl = motion.transl - motion.transl.mean(0)
        if rng.random() < 0.5:  # a camera that follows the person
            transl = transl * np.array([0.15, 1, 0.15])
        motion = replace(motion, betas=betas, transl=transl.astype(np.float32))
        steps = np.linspace(-0.5, 0.5, LENGTH)
        yaw = rng.uniform(0, 2 * np.pi) + steps * rng.normal() * np.radians(12)
        pitch = np.radians(np.clip(rng.normal(12, 18), -20, 60)) + steps * rng.normal() * 0.06
        roll = np.radians(np.clip(rng.normal() * 20, -45, 45)) + steps * rng.normal() * 0.06
        rotation = _camera_turn(yaw, pitch, roll)
        distance = float(np.exp(rng.uniform(np.log(1.8), np.log(8))))
        centred = seen_by_camera(motion, rotation, np.zeros(3), body)
        joints = _joints(body, centred)
        shift = np.array([0, 0, distance]) - joints.reshape(-1, 3).mean(0)
        joints = joints + shift
        if joints[..., 2].min() < 0.6:
            continue
        flat = joints[..., :2] / joints[..., 2:]
        low, high = flat.min((0, 1)), flat.max((0, 1))
        # the whole sweep of the motion fills so much of the picture
        focal = SIZE * rng.uniform(0.55, 0.9) / max(float((high - low).max()), 0.05)
        middle = SIZE / 2 - focal * (low + high) / 2
        if rng.random() < 0.25:  # part of the body leaves the picture
            angle = rng.uniform(0, 2 * np.pi)
            middle = middle + SIZE * rng.uniform(0.1, 0.4) * np.array(
                [np.cos(angle), np.sin(angle)]
            )
        K = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]])
        params = replace(centred, transl=(centred.transl + shift).astype(np.float32))
        return Take(params=params, K=K)
    raise SystemExit("no camera found that sees a motion; are the clips in metres, y up?")


def _camera_turn(yaw: Array, pitch: Array, roll: Array) -> Array:
    """World (y up) to camera (y down) rotations (T, 3, 3); positive pitch looks down."""

    def about(axis: int, angle: Array) -> Array:
        vector = np.zeros((len(angle), 3))
        vector[:, axis] = angle
        return axis_angle_to_matrix(torch.from_numpy(vector)).numpy()

    upright = np.diag([1.0, -1, -1])
    return about(2, roll) @ upright @ about(0, pitch) @ about(1, yaw)


def _joints(body: Body, params: BodyParams) -> Array:
    return body.joints(
        torch.from_numpy(params.rotmats),
        torch.from_numpy(params.betas),
        torch.from_numpy(params.transl),
    ).numpy()


def draw(rng: np.random.Generator, take: Take, body: Body, renderer: Renderer) -> Array:
    """The take's pictures (T, SIZE, SIZE, 3) uint8: clothes, background, things in the way."""
    vertices = body.vertices(
        torch.from_numpy(take.params.rotmats),
        torch.from_numpy(take.params.betas),
        torch.from_numpy(take.params.transl),
    ).numpy()
    colours = _dress(rng, body)
    background = _background(rng)
    drift = rng.normal(size=2) * rng.choice([0, 0.8])
    things = _things(rng)
    gain = rng.uniform(0.6, 1.25)
    noise = rng.uniform(0, 9)
    blur = rng.uniform(0, 1.2)
    pictures = np.empty((LENGTH, SIZE, SIZE, 3), np.uint8)
    for t in range(LENGTH):
        shift = np.array([[1, 0, drift[0] * t], [0, 1, drift[1] * t]])
        behind = cv2.warpAffine(background, shift, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT)
        mesh = Mesh(vertices=vertices[t], faces=body.faces, colours=colours)
        picture = renderer.draw(behind, [mesh], take.K, alpha=1.0)
        for corner, pace, size, colour in things:
            a = corner + pace * t
            b = a + size
            cv2.rectangle(
                picture, tuple(map(int, a)), tuple(map(int, b)), tuple(map(float, colour)), -1
            )
        if blur > 0.5:
            picture = cv2.GaussianBlur(picture, (0, 0), blur)
        grain = rng.normal(size=(SIZE, SIZE, 1)) * noise
        pictures[t] = np.clip(picture * gain + grain, 0, 255).astype(np.uint8)
    return pictures


def _dress(rng: np.random.Generator, body: Body) -> Array:
    owner = body.skin_weights.argmax(1).numpy()
    tone = np.array([[224, 180, 150], [150, 100, 70], [245, 210, 185], [95, 65, 50]])[
        rng.integers(4)
    ]
    wear = {part: rng.uniform(25, 240, 3) for part in CLOTHES}
    wear["skin"] = wear["hands"] = tone
    if rng.random() < 0.5:
        wear["sleeves"] = tone
    else:
        wear["sleeves"] = wear["shirt"]
    wear["shins"] = tone if rng.random() < 0.3 else wear["trousers"]
    colours = np.zeros((len(owner), 3))
    for part, joints in CLOTHES.items():
        colours[np.isin(owner, joints)] = wear[part]
    hair = (owner == JOINT["head"]) & (
        body.template[:, 1].numpy() > float(body.template[:, 1].max()) - 0.07
    )
    colours[hair] = rng.uniform(15, 150, 3)
    return colours.astype(np.uint8)


def _background(rng: np.random.Generator) -> Array:
    ramp = np.linspace(0, 1, SIZE)[:, None, None]
    picture = ramp * rng.uniform(20, 235, 3) + (1 - ramp) * rng.uniform(20, 235, 3)
    picture = np.broadcast_to(picture, (SIZE, SIZE, 3)).astype(np.float32).copy()
    for _ in range(rng.integers(0, 14)):
        a, b = rng.integers(-60, SIZE, 2), rng.integers(8, 260, 2)
        colour = tuple(map(float, rng.uniform(20, 235, 3)))
        if rng.random() < 0.7:
            cv2.rectangle(picture, tuple(map(int, a)), tuple(map(int, a + b)), colour, -1)
        else:
            cv2.circle(picture, tuple(map(int, a)), int(b[0] / 2), colour, -1)
    rough = cv2.resize(
        rng.normal(size=(int(rng.integers(8, 90)),) * 2 + (3,)), (SIZE, SIZE)
    ) * rng.uniform(0, 25)
    return np.clip(picture + rough, 0, 255).astype(np.uint8)


def _things(rng: np.random.Generator) -> list[tuple[Array, Array, Array, Array]]:
    """Boxes that pass before the person: corner, pace (px a frame), size, colour."""
    count = int(rng.choice([0, 0, 0, 1, 1, 2]))
    return [
        (
            rng.uniform(0, SIZE * 0.8, 2),
            rng.normal(size=2) * 2.0,
            rng.uniform(40, 190, 2),
            rng.uniform(20, 235, 3),
        )
        for _ in range(count)
    ]


def make_shard(number: int, clips: Sequence[MotionCapture], body: Body) -> dict[str, Array]:
    """All arrays of one shard; N sequences of T frames."""
    rng = np.random.default_rng([2026, number])
    renderer = load_renderer("raster")
    takes = [choose_take(rng, clips, body) for _ in range(SEQUENCES)]
    tracks = [_track(rng, i, take, body) for i, take in enumerate(takes)]
    network = BlazePose(tracks, variant="heavy", threads=1)
    for track, take in zip(tracks, takes, strict=True):
        network.observe(
            Frames(
                rgb=draw(rng, take, body, renderer),
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
    joints = _joints(body, take.params)
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
    clips = [clip for clip in read_mocap_folder(options.mocap, body) if len(clip) >= LENGTH]
    for number in range(*map(int, options.shards.split(":"))):
        path = options.out / f"shard_{number:05d}.npz"
        if path.exists():
            continue
        arrays = make_shard(number, clips, body)
        write_npz(path, arrays)
        print(f"{path.name}: seen {np.mean(arrays['score'] > 0):.3f}", flush=True)


if __name__ == "__main__":
    main()
