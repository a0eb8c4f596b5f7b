"""Windows of captured motion: drawn at random, mirrored, with other people's arms."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hpsvid.body.skeleton import JOINT, SMPL
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.errors import InputError
from hpsvid.mocap.amass import MotionCapture, resample
from hpsvid.types import Array

FPS = 30.0
UPPER = [JOINT[name] for name in ("spine1", "spine2", "spine3", "neck", "head")] + [
    joint for joint in range(JOINT["left_collar"], SMPL.n_rotations) if SMPL.names[joint] != "head"
]
ARMS = tuple(
    [JOINT[f"{side}_{part}"] for part in ("collar", "shoulder", "elbow", "wrist", "hand")]
    for side in ("left", "right")
)


def mirror(rotmats: Array) -> Array:
    """The motion (T, 24, 3, 3) with left and right exchanged."""
    flip = np.diag([-1.0, 1, 1])
    return (flip @ rotmats[:, SMPL.mirror_rotations] @ flip).astype(np.float32)


@dataclass(frozen=True)
class MotionSource:
    """Draws windows of motion from clips, varied in speed, limbs, stiffness and handedness."""

    clips: Sequence[MotionCapture]
    length: int

    def plain(self, rng: np.random.Generator) -> MotionCapture:
        """A window of one clip at 30 Hz and a random speed; long clips are drawn more often.

        Raises InputError when no clip is long enough.
        """
        share = np.array([len(clip) for clip in self.clips]) ** 0.7
        for _ in range(200):
            clip = self.clips[rng.choice(len(self.clips), p=share / share.sum())]
            played = replace(clip, fps=clip.fps * float(rng.uniform(0.6, 1.4)))
            need = int(np.ceil((self.length - 1) * played.fps / FPS)) + 2
            if len(played) < need:
                continue
            start = int(rng.integers(0, len(played) - need + 1))
            return _part(resample(_part(played, start, need), FPS), 0, self.length)
        raise _too_short(self.clips, self.length)

    def varied(self, rng: np.random.Generator) -> MotionCapture:
        """As `plain`; in some windows the upper body or an arm comes from another motion."""
        motion = self.plain(rng)
        rotmats, transl = motion.rotmats.copy(), motion.transl
        if rng.random() < 0.3:
            rotmats[:, UPPER] = self.plain(rng).rotmats[:, UPPER]
        for arm in ARMS:
            if rng.random() < 0.15:
                rotmats[:, arm] = self.plain(rng).rotmats[:, arm]
        # a constant small turn of every joint makes poses that are in no capture
        angle = rng.normal(size=(SMPL.n_rotations, 3)) * np.radians(rng.choice([0, 3, 8]))
        angle[0] = 0
        rotmats = rotmats @ axis_angle_to_matrix(torch.from_numpy(angle)).numpy()
        if rng.random() < 0.5:
            rotmats, transl = mirror(rotmats), transl * np.array([-1, 1, 1], np.float32)
        return replace(motion, rotmats=rotmats.astype(np.float32), transl=transl)


def _part(clip: MotionCapture, start: int, count: int) -> MotionCapture:
    """`count` frames of a clip."""
    frames = slice(start, start + count)
    return replace(clip, rotmats=clip.rotmats[frames], transl=clip.transl[frames])


def _too_short(clips: Sequence[MotionCapture], length: int) -> InputError:
    return InputError(
        f"none of {len(clips)} motion captures lasts {length} frames at 30 Hz; give longer ones"
    )


def even_windows(clips: Sequence[MotionCapture], length: int, most: int) -> Tensor:
    """Up to `most` windows (N, T, 24, 3, 3) spread evenly over clips, at 30 fps, as performed."""
    windows = []
    for clip in clips:
        rotmats = resample(clip, FPS).rotmats
        windows += [rotmats[i : i + length] for i in range(0, len(rotmats) - length + 1, length)]
    if not windows:
        raise _too_short(clips, length)
    chosen = np.linspace(0, len(windows) - 1, min(most, len(windows))).round().astype(int)
    return torch.from_numpy(np.stack([windows[i] for i in chosen]))
