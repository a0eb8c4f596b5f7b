"""Frames that the landmark network misread: left for right, or a body the other way up."""

from dataclasses import replace

import numpy as np

from hpsvid.backbone.inner_maps import MIRROR as SWAP
from hpsvid.backbone.landmarks import Landmarks
from hpsvid.body.skeleton import BLAZEPOSE, LANDMARK, LIMB_LANDMARKS
from hpsvid.types import N_LANDMARKS, Array

FLIP_MEMORY_S = 0.3  # nobody turns round faster, so older frames say nothing about left and right
FLIP_RATIO = 0.5  # swapped landmarks must be twice as near to the past, in picture and in space

# No trunk turns faster than this, and by more, from look to look: somersaults reach 900 degrees a
# second.
FASTEST_TURN, LEAST_TURN = np.radians(1000), np.radians(100)
LEAST_TRUNK = 0.15  # of the body's extent in the picture: a shorter one points anywhere

MIRROR = np.array(BLAZEPOSE.mirror)
BY_LANDMARK = ("image", "world", "visibility", "presence")  # what `Landmarks` has 33 of a frame
TORSO = np.array(
    [LANDMARK[name] for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")]
)


def upright(landmarks: Landmarks, pts_s: Array) -> Landmarks:
    """What was seen without the frames of `find_tumbles`; pts_s: (T,) s."""
    tumbled = find_tumbles(landmarks.image, landmarks.score, pts_s)
    return replace(landmarks, score=np.where(tumbled, 0, landmarks.score).astype(np.float32))


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


def find_tumbles(image: Array, score: Array, pts_s: Array) -> Array:
    """Frames (T,) bool in which the body is, for a moment, the other way up than before or after.

    image: (T, 33, 2) px; score: (T,), 0 = not seen; pts_s: (T,) s. Behind something the network may
    see a body stand on its head for a look or two.
    """
    tumbled, looks = np.zeros(len(score), bool), np.flatnonzero(score > 0)
    if len(looks) < 2:
        return tumbled
    seen = image[looks]
    trunk = seen[:, TORSO[2:]].mean(1) - seen[:, TORSO[:2]].mean(1)
    long = np.linalg.norm(trunk, axis=1) > LEAST_TRUNK * np.ptp(seen, axis=1).max(1)
    turn = np.abs((np.diff(np.arctan2(trunk[:, 1], trunk[:, 0])) + np.pi) % (2 * np.pi) - np.pi)
    most = np.maximum(LEAST_TURN, FASTEST_TURN * np.diff(pts_s[looks]))
    jump = (turn > most) & long[1:] & long[:-1]
    apart = np.flatnonzero(jump | (most > np.pi)) + 1  # in that time it may have turned over
    runs = np.split(looks, apart)
    for before, after, place in zip(runs[:-1], runs[1:], apart, strict=True):
        brief = min(before, after, key=len)
        if jump[place - 1] and pts_s[brief[-1]] - pts_s[brief[0]] < FLIP_MEMORY_S:
            tumbled[brief] = True
    return tumbled


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
