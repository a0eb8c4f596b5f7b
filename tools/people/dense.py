"""Make crops with dense truth: film clothed people, cut them out, keep what of the body shows.

Crops are taken as hpsvid takes them: one about a detector's box, from which the landmark network
tells the next one, turned along the body. Most rows show the second; the rest the first.

    python -m tools.people.dense --mocap DIR --out DIR --shards N --seed S

A shard holds SCENES scenes of FRAMES frames, far apart in time, and a row for each of their people
in each frame who shows in it. As with `tools.people.pairs` it is a function of the seed and its
number, written whole or not at all; shards that exist are skipped. Nothing made here is committed.
`hpsvid.training.dense_data` reads it.
"""

import time
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from hpsvid.backbone.blazepose import HIPS, MIN_SCORE, RIM
from hpsvid.backbone.crop import Crop, crop_along_axis, crop_around_box
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
from tools.people.watch import Watcher, detector_boxes

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
ALONG = 0.75  # of the crops lie along the body, where the landmark network sees one
UNREST = 0.4  # of such a crop's deviations over those of a first one: the network errs by itself


def draw_crop(
    rng: np.random.Generator, box: Array, picture: Array, network: Watcher
) -> tuple[Crop, bool]:
    """A crop of a picture (H, W, 3) about a box (4,) px, its size, place and lean a little off.

    And whether it is a second one, along the body.
    """
    crop = crop_around_box(box, int(rng.integers(1, 4)) if rng.random() < QUARTERS else 0)
    if rng.random() >= ALONG:
        return _roughly(rng, crop, 1), False
    points, _, _, score, *_ = network.network(crop.cut(picture)[None])
    if score[0] < MIN_SCORE:
        return _roughly(rng, crop, 1), False
    along = crop_along_axis(*crop.to_image(points[0, [HIPS, RIM]]))
    return _roughly(rng, along, UNREST), True


def _roughly(rng: np.random.Generator, crop: Crop, share: float) -> Crop:
    lean = share * np.radians(LEAN_DEG) * rng.normal() if rng.random() < 0.5 else 0.0
    across, down = share * ROUGH_PLACE * crop.side * rng.normal(size=2)
    return Crop(
        x=crop.x + float(across),
        y=crop.y + float(down),
        side=crop.side * float(np.exp(share * ROUGH_SIDE * rng.normal())),
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
        "betas": np.asarray(truth.params.betas, np.float32),  # (16,)
        "transl": truth.params.transl[t],  # (3,) m
        "joint_state": truth.joint_state[t],  # (29,) uint8, see tools.people.truth
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """What every scene is made with."""

    wardrobe: Wardrobe
    surface: BodySurface
    network: Watcher


def make_shard(seed: tuple[int, int], source: MotionSource, stage: Stage) -> dict[str, Array]:
    """All arrays of one shard: rows (N, ...); `file` end to end and `ends` (N,) of its pieces;
    `K` (N, 3, 3) px; `along` (N,), whether a crop lies along the body; `scene`, `person`, `frame`
    (N,), where the row is from.

    seed: the run's seed and the shard's number.
    """
    rows = []
    for number in range(SCENES):
        rng = np.random.default_rng([*seed, number])
        scene, sensor = draw_scene(rng, source, stage.wardrobe).every(STEP), draw_sensor(rng)
        sensor = replace(sensor, shutter=sensor.shutter / STEP)  # is open as long as it was
        pictures, frames = filmed(scene, sensor, rng)
        staged = Staged(scene, stage.surface)
        for which, truth in enumerate(truth_of(scene, frames, stage.wardrobe.body)):
            boxes = detector_boxes(rng, truth, scene.shot.width, scene.shot.height)
            for t, (picture, box) in enumerate(zip(pictures, boxes, strict=True)):
                crop, along = draw_crop(rng, box, picture, stage.network)
                row = row_of(staged, picture, t, which, truth, crop)
                if row is not None:
                    place = {"scene": number, "person": which, "frame": t}
                    row |= {key: np.array(value, np.int16) for key, value in place.items()}
                    row |= {"K": scene.shot.K.astype(np.float32), "along": np.array(along)}
                    rows.append(row)
    files = [row.pop("file") for row in rows]
    arrays = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    ends = np.cumsum([len(file) for file in files])
    return arrays | {"file": np.concatenate(files), "ends": ends}


def main() -> None:
    """Render the shards asked for."""
    request = requested("Render crops of people with dense truth.")
    source = MotionSource(request.clips, FRAMES * STEP)
    bare = read_bare_body()
    stage = Stage(
        wardrobe=request.wardrobe,
        surface=BodySurface(bare.template, bare.faces),
        network=Watcher(),
    )
    for number in missing_shards(request.out, request.shards):
        started = time.perf_counter()
        arrays = make_shard((request.seed, number), source, stage)
        write_npz(shard_path(request.out, number), arrays)
        rate = len(arrays["face"]) / (time.perf_counter() - started)
        print(f"{shard_path(request.out, number).name}: {rate:.1f} crops/s", flush=True)


if __name__ == "__main__":
    main()
