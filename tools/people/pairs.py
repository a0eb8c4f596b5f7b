"""Make training pairs: film clothed people, run the landmark network, keep both beside the truth.

    python -m tools.people.pairs --mocap DIR --out DIR --shards N --seed S

A shard holds SCENES scenes of LENGTH frames at 15 fps, a row for each of their people. It is a
function of the seed and its number, written whole or not at all; shards that exist are skipped,
so a stopped run goes on where it was. Nothing made here is committed.

What the keys mean is in `row_of`.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from hpsvid.common.files import write_npz
from hpsvid.common.geometry import matrix_to_axis_angle
from hpsvid.errors import InputError
from hpsvid.mocap.amass import MotionCapture, read_mocap_folder
from hpsvid.mocap.sources import FPS, MotionSource
from hpsvid.types import Array
from tools.people.assets import find_assets
from tools.people.character import Wardrobe
from tools.people.film import filmed
from tools.people.lens import draw_sensor
from tools.people.mix import arms_of, posture_of
from tools.people.staging import Scene, draw_scene
from tools.people.truth import PersonTruth, truth_of
from tools.people.watch import Sight, Watcher, watched

STEP = 2  # of a scene's frames one is filmed: 15 a second, as often as hpsvid looks
FILM_FPS = FPS / STEP
LENGTH = 32  # frames of a film
SCENES = 6  # a shard; a stopped run loses at most one


def row_of(scene: Scene, which: int, truth: PersonTruth, sight: Sight) -> dict[str, Array]:
    """One person of one scene: arrays over the film's T frames, and single facts."""
    actor, shot = scene.actors[which], scene.shot
    rotvec = matrix_to_axis_angle(torch.from_numpy(truth.params.rotmats)).numpy()
    row = {
        # what was seen
        "image": sight.image,  # (T, 33, 2) px
        "world": sight.world,  # (T, 33, 3) m
        "visibility": sight.visibility.astype(np.float16),  # (T, 33)
        "presence": sight.presence.astype(np.float16),  # (T, 33)
        "score": sight.score.astype(np.float16),  # (T,) 0: nothing seen
        "inner": sight.inner,  # (T, 19, 352) samples of the inner maps
        "crop": sight.crop,  # (T, 4) centre x, y, side px; angle rad
        "boxes": sight.boxes,  # (T, 4) px
        "shows": sight.shows,  # (T,) int8, person of the scene whom the landmarks lie on, -1 none
        # what is true, camera axes
        "rotvec": rotvec.astype(np.float32),  # (T, 24, 3) rad
        "betas": np.asarray(truth.params.betas, np.float32),  # (16,)
        "transl": truth.params.transl,  # (T, 3) m
        "joints": truth.joints,  # (T, 29, 3) m
        "landmarks": truth.landmarks,  # (T, 33, 3) m
        "joint_state": truth.joint_state,  # (T, 29) uint8, see tools.people.truth
        "landmark_state": truth.landmark_state,  # (T, 33) uint8
        "K": shot.K.astype(np.float32),  # (3, 3) px
        "size": np.array([shot.width, shot.height], np.int32),  # px
        # world (y up) to camera: (T, 3, 3) and (T, 3) m
        "camera_rotation": shot.rotation[::STEP].astype(np.float32),
        "camera_translation": shot.translation[::STEP].astype(np.float32),
        "person": np.array(which, np.int8),  # its number in the scene
        "kind": np.array(actor.motion.kind),
        "posture": np.array(posture_of(actor.joints)),
        "arms": np.array(arms_of(actor.joints, shot.eyes)),
        "layout": np.array(scene.layout),
        "camera_move": np.array(shot.move),
        "sex": np.array(actor.character.outfit.sex),
    }
    for name, values in sight.mirrored.items():
        short = values.ndim == 2  # chances
        row[f"mirror_{name}"] = values.astype(np.float16) if short else values
    return row


def make_shard(
    seed: tuple[int, int], source: MotionSource, wardrobe: Wardrobe, network: Watcher
) -> dict[str, Array]:
    """All arrays of one shard: rows (N, ...), and `scene` (N,), the number of a row's scene.

    seed: the run's seed and the shard's number.
    """
    rows, scenes = [], []
    for number in range(SCENES):
        rng = np.random.default_rng([*seed, number])
        whole = draw_scene(rng, source, wardrobe)
        scene, sensor = whole.every(STEP), draw_sensor(rng)
        sensor = replace(sensor, shutter=sensor.shutter / STEP)  # is open as long as it was
        pictures, frames = filmed(scene, sensor, rng)
        truths = truth_of(scene, frames, wardrobe.body)
        sights = watched(network, pictures, truths, rng, FILM_FPS)
        for which, (truth, sight) in enumerate(zip(truths, sights, strict=True)):
            rows.append(row_of(whole, which, truth, sight))
            scenes.append(number)
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]} | {
        "scene": np.array(scenes, np.int16)
    }


def missing_shards(folder: Path, count: int) -> list[int]:
    """The numbers below `count` whose shards are not in `folder` yet."""
    return [number for number in range(count) if not shard_path(folder, number).exists()]


def shard_path(folder: Path, number: int) -> Path:
    """Where a shard lies."""
    return folder / f"shard_{number:05d}.npz"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for: shards in a folder, and what they are made of."""

    out: Path
    shards: int
    seed: int
    wardrobe: Wardrobe
    clips: tuple[MotionCapture, ...]


def requested(description: str) -> Request:
    """The options of a tool that renders shards, its folder made. Bad input ends the program."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--mocap", type=Path, required=True, help="folder of AMASS-format npz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=100, help="how many there are to be")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        wardrobe = Wardrobe(find_assets())
        clips = tuple(read_mocap_folder(options.mocap, wardrobe.body))
    except InputError as error:
        raise SystemExit(str(error)) from None
    options.out.mkdir(parents=True, exist_ok=True)
    return Request(
        out=options.out, shards=options.shards, seed=options.seed, wardrobe=wardrobe, clips=clips
    )


def main() -> None:
    """Render the shards asked for."""
    request = requested("Render training pairs of clothed people.")
    source, network = MotionSource(request.clips, LENGTH * STEP), Watcher()
    for number in missing_shards(request.out, request.shards):
        started = time.perf_counter()
        arrays = make_shard((request.seed, number), source, request.wardrobe, network)
        write_npz(shard_path(request.out, number), arrays)
        seconds = time.perf_counter() - started
        frames = SCENES * LENGTH
        print(
            f"{shard_path(request.out, number).name}: {len(arrays['scene'])} people, followed in "
            f"{np.mean(arrays['score'] > 0):.2f}, {frames / seconds:.1f} frames/s",
            flush=True,
        )


if __name__ == "__main__":
    main()
