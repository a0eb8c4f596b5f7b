"""Find frames in which the landmark network swapped left and right, and swap them back."""

from dataclasses import replace

import numpy as np

from hpsvid.backbone.inner_maps import MIRROR as SWAP
from hpsvid.backbone.landmarks import Landmarks
from hpsvid.body.skeleton import BLAZEPOSE, LANDMARK, LIMB_LANDMARKS
from hpsvid.types import N_LANDMARKS, Array

FLIP_MEMORY_S = 0.3  # nobody turns round faster, so older frames say nothing about left and right
FLIP_RATIO = 0.5  # swapped landmarks must be twice as near to the past, in picture and in space

MIRROR = np.array(BLAZEPOSE.mirror)
BY_LANDMARK = ("image", "world", "visibility", "presence")  # what `Landmarks` has 33 of a frame
TORSO = np.array(
    [LANDMARK[name] for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")]
)


def unflip(landmarks: Landmarks, pts_s: Array) -> Landmarks:
    """Undo the network's swaps of left and right.

    pts_s: (T,) s. A frame is a swap against the frames of the last 0.3 s when the mirrored
    labels lie twice as near to them both in the picture and, for shoulders and hips, in space:
    legs that pass each other keep their order in depth. Whichever labelling most frames of an
    unbroken stretch have is taken for the right one.
    """
    swapped = find_flips(landmarks.image, landmarks.world, landmarks.score, pts_s)
    order = np.where(swapped[:, None], MIRROR, np.arange(N_LANDMARKS))
    rows = np.arange(len(landmarks))[:, None]
    inner = landmarks.inner
    if inner is not None and swapped.any():  # 4 kB a frame: one copy, and only where need be
        inner = inner.copy()
        inner[swapped] = inner[swapped][:, SWAP]
    return replace(
        landmarks,
        **{name: getattr(landmarks, name)[rows, order] for name in BY_LANDMARK},
        inner=inner,
    )


def find_flips(image: Array, world: Array, score: Array, pts_s: Array) -> Array:
    """Frames (T,) bool whose left and right are swapped against the rest of their stretch.

    image: (T, 33, 2) px; world: (T, 33, 3) m; score: (T,), 0 = not seen; pts_s: (T,) s.
    """
    swapped = np.zeros(len(score), bool)
    start = None  # first frame of the unbroken stretch
    past: list[int] = []
    centred = image - image[:, TORSO].mean(1, keepdims=True)
    for now in np.flatnonzero(score > 0).tolist():
        past = [t for t in past if pts_s[now] - pts_s[t] <= FLIP_MEMORY_S]
        if not past:
            if start is not None:
                _settle(swapped[start:now], score[start:now])
            start = now
        else:
            swapped[now] = _is_swap(centred, LIMB_LANDMARKS, now, past, swapped) and _is_swap(
                world, TORSO, now, past, swapped
            )
        past.append(now)
    if start is not None:
        _settle(swapped[start:], score[start:])
    return swapped


def _is_swap(
    points: Array, which: Array | list[int], now: int, past: list[int], swapped: Array
) -> bool:
    before = np.mean([points[t][MIRROR[which] if swapped[t] else which] for t in past], axis=0)
    keep = np.linalg.norm(points[now][which] - before, axis=-1).mean()
    swap = np.linalg.norm(points[now][MIRROR[which]] - before, axis=-1).mean()
    return bool(swap < FLIP_RATIO * keep)


def _settle(swapped: Array, score: Array) -> None:
    """Let the labelling that most seen frames of a stretch have count as unswapped."""
    if swapped[score > 0].mean() > 0.5:
        swapped[:] = ~swapped
