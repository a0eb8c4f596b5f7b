"""Make crops with dense truth: film clothed people, cut them out, keep what of the body shows.

    python -m tools.people.dense --mocap DIR --out DIR --shards N --seed S

A shard holds SCENES scenes of FRAMES frames, far apart in time, and a row for each of their people
in each frame who shows in it. As with `tools.people.pairs` it is a function of the seed and its
number, written whole or not at all; shards that exist are skipped. Nothing made here is committed.
`hpsvid.training.dense_data` reads it.
"""

import time
from dataclasses import replace

import cv2
import numpy as np
import torch

from hpsvid.backbone.crop import Crop, crop_around_box
from hpsvid.common.files import write_npz
from hpsvid.common.geometry import matrix_to_axis_angle
from hpsvid.mocap.sources import MotionSource
from hpsvid.types import Array
from tools.people.beneath import BodySurface, Staged
from tools.people.character import Wardrobe, read_bare_body
from tools.people.film import filmed
from tools.people.lens import draw_sensor
from tools.people.pairs import missing_shards, requested, shard_path
from tools.people.staging import draw_scene
from tools.people.truth import PersonTruth, truth_of
from tools.people.watch import detector_boxes

STEP = 8  # of a scene's 30 frames a second one is filmed
FRAMES = 6
SCENES = 12  # a shard; a stopped run loses at most one
CELLS = 64  # a side of the truth's maps, over the crop's 256 px
LEAST_CELLS = 60  # of a person who shows
JPEG = 92
ROUGH_SIDE = 0.1  # spread of a crop's side (log), of its place (share of its side)
ROUGH_PLACE = 0.04
LEAN_DEG = 15.0  # spread of its lean, in half of the crops
QUARTERS = 0.05  # of the crops are turned by quarters besides


def draw_crop(rng: np.random.Generator, box: Array) -> Crop:
    """The crop about a box (4,) px, its size, place and lean a little off."""
    crop = crop_around_box(box, int(rng.integers(1, 4)) if rng.random() < QUARTERS else 0)
    lean = np.radians(LEAN_DEG) * rng.normal() if rng.random() < 0.5 else 0.0
    across, down = ROUGH_PLACE * crop.side * rng.normal(size=2)
    return Crop(
        x=crop.x + float(across),
        y=crop.y + float(down),
        side=crop.side * float(np.exp(ROUGH_SIDE * rng.normal())),
        angle=crop.angle + float(lean),
    )


def row_of(
    staged: Staged, picture: Array, t: int, which: int, truth: PersonTruth, crop: Crop
) -> dict[str, Array] | None:
    """What a crop shows of a person of the scene, and what is true; None where hardly any."""
    mask, places = staged.shown(t, crop, which, CELLS)
    if mask.sum() < LEAST_CELLS:
        return None
    face = np.full((CELLS, CELLS), -1, np.int16)
    weights = np.zeros((CELLS, CELLS, 2), np.uint8)
    face[mask] = places.face
    weights[mask] = np.floor(places.weights[:, :2] * 255)  # the third is what is left of 1
    done, file = cv2.imencode(
        ".jpg", crop.cut(picture)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG]
    )
    assert done
    rotvec = matrix_to_axis_angle(torch.from_numpy(truth.params.rotmats[t])).numpy()
    return {
        "file": np.asarray(file).ravel(),  # a JPEG of the crop's 256 px
        "face": face,  # (64, 64) int16, the body's face beneath each cell's middle; -1 not this one
        "weights": weights,  # (64, 64, 2) uint8, of the face's first two corners, over 255
        "crop": np.array([crop.x, crop.y, crop.side, crop.angle], np.float32),  # px, rad
        "rotvec": rotvec.astype(np.float32),  # (24, 3) rad, camera axes
        "betas": np.asarray(truth.params.betas, np.float32),  # (10,)
        "transl": truth.params.transl[t],  # (3,) m
        "joint_state": truth.joint_state[t],  # (29,) uint8, see tools.people.truth
    }


def make_shard(
    seed: tuple[int, int], source: MotionSource, wardrobe: Wardrobe, surface: BodySurface
) -> dict[str, Array]:
    """All arrays of one shard: rows (N, ...); `file` end to end and `ends` (N,) of its pieces;
    `K` (N, 3, 3) px; `scene`, `person`, `frame` (N,), where the row is from.

    seed: the run's seed and the shard's number.
    """
    rows = []
    for number in range(SCENES):
        rng = np.random.default_rng([*seed, number])
        scene, sensor = draw_scene(rng, source, wardrobe).every(STEP), draw_sensor(rng)
        sensor = replace(sensor, shutter=sensor.shutter / STEP)  # is open as long as it was
        pictures, frames = filmed(scene, sensor, rng)
        staged = Staged(scene, surface)
        for which, truth in enumerate(truth_of(scene, frames, wardrobe.body)):
            boxes = detector_boxes(rng, truth, scene.shot.width, scene.shot.height)
            for t, (picture, box) in enumerate(zip(pictures, boxes, strict=True)):
                row = row_of(staged, picture, t, which, truth, draw_crop(rng, box))
                if row is not None:
                    place = {"scene": number, "person": which, "frame": t}
                    row |= {key: np.array(value, np.int16) for key, value in place.items()}
                    rows.append(row | {"K": scene.shot.K.astype(np.float32)})
    files = [row.pop("file") for row in rows]
    arrays = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    ends = np.cumsum([len(file) for file in files])
    return arrays | {"file": np.concatenate(files), "ends": ends}


def main() -> None:
    """Render the shards asked for."""
    request = requested("Render crops of people with dense truth.")
    source = MotionSource(request.clips, FRAMES * STEP)
    bare = read_bare_body()
    surface = BodySurface(bare.template, bare.faces)
    for number in missing_shards(request.out, request.shards):
        started = time.perf_counter()
        arrays = make_shard((request.seed, number), source, request.wardrobe, surface)
        write_npz(shard_path(request.out, number), arrays)
        rate = len(arrays["face"]) / (time.perf_counter() - started)
        print(f"{shard_path(request.out, number).name}: {rate:.1f} crops/s", flush=True)


if __name__ == "__main__":
    main()
