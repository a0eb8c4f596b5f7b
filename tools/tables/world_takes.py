"""Rendered takes with the ground's exact truth: clothed people before cameras of every kind.

A take is a function of its seed: 48 frames at 15 fps of one to three people who do what was
captured, before a camera that stands, pans, is held by hand, follows or is carried along a line
(dolly), pitched by -10 to 40 degrees and rolled by up to 20. Beside the clip lies its truth, a
result npz with the world's keys and the feet's contacts, which `hpsvid eval` and `bench` read, too.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from hpsvid import __version__
from hpsvid.body.model import Body
from hpsvid.common.files import written_whole
from hpsvid.common.weights import file_sha256, weights_path
from hpsvid.formats.npz import write_motion
from hpsvid.mocap.sources import FPS, MotionSource
from hpsvid.motion.feet import feet_over_ground
from hpsvid.types import (
    N_JOINTS,
    Array,
    Camera,
    Clip,
    Motion,
    Person,
    Provenance,
    Track,
    World,
)
from tools.people.camera import Mount
from tools.people.character import Wardrobe
from tools.people.film import filmed
from tools.people.lens import draw_sensor, h264_file
from tools.people.staging import Scene, draw_scene
from tools.people.truth import HIDDEN, OUTSIDE, PersonTruth, truth_of
from tools.tables.takes import Takes

STREAM = 12  # of the random numbers: no other tool's seeds
STEP = 2  # of the capture's frames one is filmed
RATE = round(FPS / STEP)  # Hz
LENGTH = 48  # frames of a take
MOVES = ("static", "pan", "hand", "follow", "dolly")  # by turns
COUNTS = (1, 2, 1, 3)  # people, by turns
PITCH_DEG, ROLL_DEG = (-10.0, 40.0), (-20.0, 20.0)
CRF = 14  # x264's, of the stored clip; the sensor's own compression comes before
# A point touches the ground while it is slower and lower than this; heights are over the person's
# own lowest, because shoes have soles, but none is thicker than SOLE_M: feet of who lies on a thing
# or sits with legs in the air touch nothing, however still they are.
TOUCH_M_S, TOUCH_M, SOLE_M = 0.3, 0.035, 0.05


def render(seed: int, folder: Path, source: MotionSource, wardrobe: Wardrobe) -> None:
    """Write a take's clip and, last, its truth."""
    rng = np.random.default_rng([STREAM, seed])
    mount = Mount(
        move=MOVES[seed % len(MOVES)],
        pitch_deg=float(rng.uniform(*PITCH_DEG)),
        roll_deg=float(rng.uniform(*ROLL_DEG)),
    )
    count = COUNTS[seed // len(MOVES) % len(COUNTS)]
    wanted = ("solo" if count == 1 else "beside", count)
    scene = draw_scene(rng, source, wardrobe, wanted=wanted, kind="captured", mount=mount).every(
        STEP
    )
    sensor = draw_sensor(rng)
    pictures, frames = filmed(scene, replace(sensor, shutter=sensor.shutter / STEP), rng)
    truths = truth_of(scene, frames, wardrobe.body)
    with written_whole(folder / f"{seed:03d}.mp4") as stream:
        stream.write(h264_file(pictures, CRF, RATE))
    write_motion(motion_of(scene, truths, wardrobe.body, f"{seed:03d}.mp4"),
                 folder / f"{seed:03d}.npz")  # fmt: skip


def motion_of(scene: Scene, truths: Sequence[PersonTruth], body: Body, name: str) -> Motion:
    """The truth of a filmed scene as a result of the clip of that name."""
    shot = scene.shot
    turns, eyes = shot.rotation.mT.astype(np.float64), shot.eyes
    world = World(
        up=shot.rotation[0] @ [0.0, 1, 0], up_sigma_deg=0.0, R=turns, t=eyes,
        made_from=f"the renderer, camera: {shot.move}",
    )  # fmt: skip
    people = [_person(truth, number, world, body) for number, truth in enumerate(truths)]
    return Motion(
        clip=Clip(
            path=Path(name), width=shot.width, height=shot.height, fps=Fraction(RATE), rotation=0,
            audio=False, frame_count=len(turns),
        ),
        pts_s=np.arange(len(turns)) / RATE,
        camera=Camera(K=shot.K, source="given"),
        people=tuple(people),
        provenance=Provenance(
            other={
                "kind": "ground truth of a rendered clip",
                "renderer": "tools/tables/world_takes.py",
                "body_sha256": file_sha256(weights_path("free_body")),
                "version": __version__,
            }
        ),
        world=world,
    )  # fmt: skip


def _person(truth: PersonTruth, number: int, world: World, body: Body) -> Person:
    frames = len(truth.joints)
    seen = (truth.joint_state < HIDDEN).mean(1)
    inside = truth.joint_state != OUTSIDE
    feet = feet_over_ground(truth.params, world, np.arange(frames), body)
    joints2d = np.where(inside[..., None], truth.joints2d, np.nan)
    boxes = np.full((frames, 4), np.nan)
    some = inside.any(1)
    boxes[some] = np.concatenate([np.nanmin(joints2d[some], 1), np.nanmax(joints2d[some], 1)], 1)
    return Person(
        track=Track(
            id=number,
            frame_index=np.arange(frames),
            boxes=np.nan_to_num(boxes).astype(np.float32),
            scores=seen.astype(np.float32),
            detected=seen > 0.5,
        ),
        body=truth.params,
        joints=truth.joints,
        joints2d=truth.joints2d.astype(np.float32),
        sigma=np.zeros((frames, N_JOINTS), np.float32),
        valid=np.ones(frames, bool),
        reprojection_px=np.zeros(frames, np.float32),
        evidence_error=np.zeros((frames, N_JOINTS), np.float32),
        contacts=true_contacts(feet),
    )


def true_contacts(points: Array) -> Array:
    """Whether heels and balls (T, 4, 3) m, world axes, less their standing heights, touch (T, 4).

    1 or 0, float32: lower than TOUCH_M over the person's own lowest and slower than TOUCH_M_S.
    """
    own = min(float(np.quantile(points[..., 1].min(1), 0.05)), SOLE_M)
    speed = np.linalg.norm(np.gradient(points, 1 / RATE, axis=0), axis=-1)
    height = points[..., 1] - own
    return ((speed < TOUCH_M_S) & (height < TOUCH_M)).astype(np.float32)


TAKES = Takes(frames=LENGTH * STEP, render=render)
