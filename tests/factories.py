"""Valid data made of random numbers, and a short clip of a person who can be found."""

from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from hpsvid.body.model import Body
from hpsvid.common.geometry import axis_angle_to_matrix, project
from hpsvid.types import (
    N_BETAS,
    N_JOINTS,
    N_ROTATIONS,
    Array,
    BodyParams,
    Camera,
    Clip,
    Motion,
    Person,
    Provenance,
    Track,
)
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from hpsvid.video.writer import VideoWriter

K = np.array([[1000.0, 0, 640], [0, 1000, 360], [0, 0, 1]])
SAMPLES = Path(__file__).resolve().parents[1] / "samples"
WALK = SAMPLES / "studio_walk.mp4"
WALK_FIRST = 60  # of its frames: from here on the person is large and well seen


def write_walk(path: Path, frames: int) -> Path:
    """A few frames of the sample, from WALK_FIRST on, as a clip of their own that starts at 0."""
    source = probe(WALK)
    pictures = (rgb for chunk in read_frames(source) for rgb in chunk.rgb)
    with VideoWriter(path, width=source.width, height=source.height, fps=source.fps) as writer:
        for t, rgb in enumerate(islice(pictures, WALK_FIRST, WALK_FIRST + frames)):
            writer.write(rgb, float(t / source.fps))
    return path


def make_params(frames: int, seed: int, turn: float = 0.6) -> BodyParams:
    """A random walk of poses (`turn`: rad, the angles' spread) a few metres before the camera."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 0.1 * turn, (frames, N_ROTATIONS, 3))
    angles = rng.normal(0, turn, (N_ROTATIONS, 3)) + steps.cumsum(0)
    angles[:, 0] += [np.pi, 0, 0]  # upright before a camera whose y points down
    transl = rng.normal([0, 0, 4], 0.3, 3) + rng.normal(0, 0.02, (frames, 3)).cumsum(0)
    return BodyParams(
        rotmats=axis_angle_to_matrix(torch.from_numpy(angles)).float().numpy(),
        betas=rng.normal(0, 1, N_BETAS).astype(np.float32),
        transl=transl.astype(np.float32),
    )


def make_person(
    body: Body, params: BodyParams, *, person_id: int = 0, start: int = 0, seed: int = 0
) -> Person:
    """Everything else of a person who moves like `params` from the clip's frame `start` on."""
    rng = np.random.default_rng(seed)
    n = len(params)
    joints = body.joints_of(params)
    joints2d = project(torch.from_numpy(joints), torch.from_numpy(K).float()).numpy()
    detected = rng.random(n) > 0.2
    reprojection = rng.uniform(1, 9, n).astype(np.float32)
    reprojection[~detected] = np.nan
    return Person(
        track=Track(
            id=person_id,
            frame_index=np.arange(start, start + n, dtype=np.int64),
            boxes=np.concatenate([joints2d.min(1), joints2d.max(1)], 1),
            scores=np.where(detected, 0.9, 0).astype(np.float32),
            detected=detected,
        ),
        body=params,
        joints=joints,
        joints2d=joints2d,
        sigma=rng.uniform(0.01, 0.2, (n, N_JOINTS)).astype(np.float32),
        valid=detected,
        reprojection_px=reprojection,
        evidence_error=rng.uniform(0, 0.2, (n, N_JOINTS)).astype(np.float32),
    )


def make_motion(
    body: Body,
    people: int = 2,
    frames: int = 12,
    seed: int = 0,
    fps: Fraction = Fraction(30000, 1001),
    pts_s: Array | None = None,
) -> Motion:
    """A clip in which person i (id 3 i) appears at frame i and stays to the end.

    pts_s: the clip's time stamps; None spaces `frames` of them evenly.
    """
    pts_s = np.arange(frames) / float(fps) if pts_s is None else pts_s
    return Motion(
        clip=Clip(
            path=Path("clips/two people.mp4"),
            width=1280,
            height=720,
            fps=fps,
            rotation=90,
            audio=True,
            frame_count=len(pts_s),
        ),
        pts_s=pts_s,
        camera=Camera(K=K, source="guessed"),
        people=tuple(
            make_person(
                body,
                make_params(len(pts_s) - i, seed + i),
                person_id=3 * i,
                start=i,
                seed=seed + i,
            )
            for i in range(people)
        ),
        provenance=Provenance(
            solver="hybrik",
            backbone={"name": "blazepose_full"},
            weights={"free_body": "0" * 64},
            seed=seed,
            hpsvid_version="0.1.0",
        ),
    )
