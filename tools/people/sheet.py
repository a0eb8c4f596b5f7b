"""Contact sheet to look at: characters from three sides, and frames of scenes with the truth on.

python -m tools.people.sheet --out sheet.png
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from hpsvid.body.skeleton import JOINT, SMPL
from hpsvid.mocap.amass import read_mocap_folder
from hpsvid.mocap.sources import MotionSource
from hpsvid.types import Array
from tools.people.assets import find_assets, shared_folder
from tools.people.camera import UPRIGHT
from tools.people.character import Character, Wardrobe
from tools.people.film import filmed
from tools.people.lens import draw_sensor
from tools.people.lighting import draw_lamp, room_lighting
from tools.people.outfit import draw_outfit
from tools.people.shading import SAMPLES, draw_layer, sunlight
from tools.people.staging import draw_scene
from tools.people.truth import SEEN, truth_of

TILE = 320  # px
GREY = 120
ARM_DROP_DEG = 60  # from the T-pose
COLOURS = ((60, 255, 60), (255, 80, 80), (80, 160, 255))  # of the people of a scene
HIDDEN_COLOUR = (255, 220, 0)
FRAMES = 8  # of a scene, of which the middle one is shown


def standing(character: Character, yaw_deg: float, seed: int) -> Array:
    """A character at ease before grey, turned by `yaw_deg`: (400, 200, 3) uint8."""
    width, height = TILE // 2 + 40, TILE * 5 // 4
    pose = np.tile(np.eye(3), (SMPL.n_rotations, 1, 1))
    for side, sign in (("left", -1), ("right", 1)):
        drop = Rotation.from_euler("z", sign * ARM_DROP_DEG, degrees=True)
        pose[JOINT[f"{side}_shoulder"]] = drop.as_matrix()
    pose[0] = Rotation.from_euler("y", yaw_deg, degrees=True).as_matrix()
    with torch.inference_mode():
        points = character.body.vertices(
            torch.from_numpy(pose).float(), torch.from_numpy(character.outfit.betas), torch.zeros(3)
        ).numpy().astype(np.float64)  # fmt: skip
    points[:, 1] -= points[:, 1].min()
    rng = np.random.default_rng(seed)
    light = room_lighting(rng, draw_lamp(rng))
    shift = np.array([0, 0.92, 3.4])
    camera = points @ UPRIGHT.T + shift
    K = np.array([[1.6 * height, 0, width / 2], [0, 1.6 * height, height / 2], [0, 0, 1.0]])
    sun = sunlight(points, character.surface, light, (UPRIGHT, shift))
    layer = draw_layer(
        [camera] * len(SAMPLES),
        character.surface,
        K,
        (width, height),
        light.in_camera(UPRIGHT),
        sun,
    )
    picture = layer.rgb + GREY * (1 - layer.cover[..., None])
    return picture.clip(0, 255).astype(np.uint8)


def with_truth(
    picture: Array, joints2d: Array, state: Array, colour: tuple[int, int, int]
) -> Array:
    """The picture (H, W, 3) with a skeleton: its colour where seen, yellow where hidden."""
    out = picture.copy()
    points = [(round(float(x)), round(float(y))) for x, y in joints2d]
    for child in range(1, len(SMPL.parents)):
        cv2.line(out, points[SMPL.parents[child]], points[child], colour, 1, cv2.LINE_AA)
    for point, how in zip(points, state, strict=True):
        cv2.circle(out, point, 2, colour if how == SEEN else HIDDEN_COLOUR, -1)
    return out


def fitted(picture: Array) -> Array:
    """The picture at the size of a tile, its proportions kept."""
    height, width = picture.shape[:2]
    scale = TILE / max(height, width)
    size = (round(width * scale), round(height * scale))
    tile = np.full((TILE, TILE, 3), 24, np.uint8)
    tile[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return tile


def scene_tile(rng: np.random.Generator, source: MotionSource, wardrobe: Wardrobe) -> Array:
    """The middle frame of a random scene, beside it the same with the truth: (TILE, 2 TILE, 3)."""
    scene = draw_scene(rng, source, wardrobe)
    pictures, frames = filmed(scene, draw_sensor(rng), rng)
    middle = len(pictures) // 2
    marked = pictures[middle]
    for truth, colour in zip(truth_of(scene, frames, wardrobe.body), COLOURS, strict=False):
        marked = with_truth(marked, truth.joints2d[middle], truth.joint_state[middle], colour)
    return np.hstack([fitted(pictures[middle]), fitted(marked)])


def grid(tiles: list[Array], columns: int) -> Array:
    """Tiles of one size in rows of `columns`."""
    tiles = tiles + [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description="Contact sheet of rendered people.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mocap", type=Path, default=None)
    parser.add_argument("--characters", type=int, default=9)
    parser.add_argument("--scenes", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    wardrobe = Wardrobe(find_assets())
    parts = []
    if options.characters:
        trios = []
        for k in range(options.characters):
            rng = np.random.default_rng([options.seed, 1, k])
            character = wardrobe.make(draw_outfit(rng, wardrobe.builds))
            trios.append(np.hstack([standing(character, yaw, k) for yaw in (0, -90, 180)]))
        parts.append(grid(trios, 3))
    if options.scenes:
        mocap = options.mocap or shared_folder() / "data/mocap/free/val"
        source = MotionSource(tuple(read_mocap_folder(mocap, wardrobe.body)), FRAMES)
        tiles = [
            scene_tile(np.random.default_rng([options.seed, 2, k]), source, wardrobe)
            for k in range(options.scenes)
        ]
        parts.append(grid(tiles, 3))
    width = max(part.shape[1] for part in parts)
    whole = np.vstack([
        np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0))) for part in parts
    ])  # fmt: skip
    cv2.imwrite(str(options.out), whole[..., ::-1])


if __name__ == "__main__":
    main()
