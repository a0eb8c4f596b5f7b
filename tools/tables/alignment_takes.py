"""Rendered takes with the true mask of each person: clothed people who do what was captured.

A take is a function of its seed: LENGTH frames at 15 fps. Beside the clip lies a file of masks, of
every EVERY-th frame: whose surface most samples of a pixel show.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from hpsvid.common.files import write_npz, written_whole
from hpsvid.mocap.sources import FPS, MotionSource
from hpsvid.types import Array
from tools.people.character import Wardrobe
from tools.people.film import Frame, filmed
from tools.people.lens import draw_sensor, h264_file
from tools.people.staging import draw_scene
from tools.tables.takes import Takes

STREAM = 15  # of the random numbers: no other tool's seeds
STEP = 2  # of the capture's frames one is filmed
RATE = round(FPS / STEP)  # Hz
LENGTH = 24  # frames of a take
EVERY = 6  # frames from one with masks to the next
LEAST_PX = 400  # of a person whose mask counts
CRF = 14  # x264's, of the stored clip; the sensor's own compression comes before


def render(seed: int, folder: Path, source: MotionSource, wardrobe: Wardrobe) -> None:
    """Write a take's clip and, last, its masks."""
    rng = np.random.default_rng([STREAM, seed])
    scene, sensor = draw_scene(rng, source, wardrobe).every(STEP), draw_sensor(rng)
    pictures, frames = filmed(scene, replace(sensor, shutter=sensor.shutter / STEP), rng)
    with written_whole(folder / f"{seed:03d}.mp4") as stream:
        stream.write(h264_file(pictures, CRF, RATE))
    write_npz(folder / f"{seed:03d}.npz", masks_of(frames, len(scene.actors), scene.shot.K))


def masks_of(frames: list[Frame], people: int, K: Array) -> dict[str, Array]:
    """`mask` (N, H, W) bool of people who show, `frame` and `person` (N,), `K` (3, 3) px."""
    rows = []
    for t in range(EVERY // 2, len(frames), EVERY):
        for person in range(people):
            mask = (frames[t].owner == person).mean(0) > 0.5
            if mask.sum() >= LEAST_PX:
                rows.append((t, person, mask))
    return {
        "frame": np.array([t for t, _, _ in rows]),
        "person": np.array([person for _, person, _ in rows]),
        "mask": np.stack([mask for _, _, mask in rows]),
        "K": K,
    }


TAKES = Takes(frames=LENGTH * STEP, render=render)
