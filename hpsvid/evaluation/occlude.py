"""3DPW-XOCC's occlusions and truncations, for any clip (NIKI, Li et al., CVPR 2023, supplement I).

At key frames a side of the picture may be cut off so that part of the person lies outside, and a
square of noise covers some of what is left; in between both move linearly. The picture keeps its
size (what is cut off is black), so that the truth of the clip remains true.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpsvid.common.boxes import areas
from hpsvid.common.series import interpolate
from hpsvid.errors import NoPersonError
from hpsvid.pipeline.stages import Progress, StageClock, find_people
from hpsvid.tracking import load_detector
from hpsvid.types import Array, Clip, Track
from hpsvid.video.reader import read_frames
from hpsvid.video.writer import check_output, open_writer

KEY_EVERY = 8  # frames from one key frame to the next
CUT_CHANCE = 2 / 3  # of a key frame to have a side cut off
PATCH_SHARE = 0.3  # of the person's visible picture, at most
# share of the person's box beyond the cut: below 0.15 all of a head may still be in
CUT_SHARE = (0.15, 0.5)
MARGIN = 1.25  # the person's picture, a square: this times the box's longer side
NOISE_MEAN, NOISE_SPREAD = 128, 64  # of 255


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Occlusion:
    """What is taken from each frame."""

    window: Array  # (F, 4) x0 y0 x1 y1 px, the part of the picture that stays
    patch: Array  # (F, 4) px, the square of noise


def plan(boxes: Array, width: int, height: int, seed: int) -> Occlusion:
    """Windows and patches for a clip in which the person is at `boxes` (F, 4) px, NaN = nowhere.

    Key frames are every eighth and the last.
    """
    rng = np.random.default_rng(seed)
    last = len(boxes) - 1
    keys = np.array(sorted({*range(0, last, KEY_EVERY), last}))
    picture = np.array([0, 0, width, height], np.float64)
    drawn = [_key(boxes[key].astype(np.float64), picture, rng) for key in keys]
    window, patch = (np.stack(parts) for parts in zip(*drawn, strict=True))
    frames = np.arange(len(boxes))

    return Occlusion(
        window=interpolate(frames, keys, window), patch=interpolate(frames, keys, patch)
    )


def _key(box: Array, picture: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Window and patch (4,) px of one key frame."""
    window, person = picture.copy(), picture
    cut, side, depth = rng.random() < CUT_CHANCE, rng.integers(4), rng.uniform(*CUT_SHARE)
    if np.isfinite(box).all():
        person = _picture_of(box, picture)
        if cut:
            axis = side % 2  # 0 left, 1 top, 2 right, 3 bottom
            inwards = depth * (box[axis + 2] - box[axis])
            window[side] = box[side] + (inwards if side < 2 else -inwards)
    low, high = np.maximum(person[:2], window[:2]), np.minimum(person[2:], window[2:])
    room = np.maximum(high - low, 1)
    length = min(np.sqrt(rng.uniform(0, PATCH_SHARE) * room.prod()), room.min())
    corner = low + rng.random(2) * (room - length)
    return window, np.concatenate([corner, corner + length])


def _picture_of(box: Array, picture: Array) -> Array:
    """The part (4,) of the picture that shows the person of a box (4,) px."""
    middle, half = (box[:2] + box[2:]) / 2, MARGIN * (box[2:] - box[:2]).max() / 2
    return np.concatenate(
        [np.maximum(middle - half, picture[:2]), np.minimum(middle + half, picture[2:])]
    )


def occluded(rgb: Array, window: Array, patch: Array, rng: np.random.Generator) -> Array:
    """A copy of the picture (H, W, 3) uint8, black outside the window, noise in the patch."""
    out = np.zeros_like(rgb)
    x0, y0, x1, y1 = _pixels(patch, rgb)
    noise = rng.normal(NOISE_MEAN, NOISE_SPREAD, (y1 - y0, x1 - x0, 3)).clip(0, 255)
    shown = rgb.copy()
    shown[y0:y1, x0:x1] = noise
    x0, y0, x1, y1 = _pixels(window, rgb)
    out[y0:y1, x0:x1] = shown[y0:y1, x0:x1]
    return out


def _pixels(box: Array, rgb: Array) -> list[int]:
    height, width = rgb.shape[:2]
    return np.round(box).clip(0, [width, height, width, height]).astype(int).tolist()


def occlude_clip(clip: Clip, out: Path, seed: int, progress: Progress) -> Occlusion:
    """Write the clip with its people occluded; returns what was taken from each frame.

    At every key frame it is the largest person who is hit. The same seed gives the same file.
    Raises NoPersonError when there is nobody, InputError when the clip or `out` cannot be used.
    """
    check_output(out, clip)
    detector = load_detector("embedded")
    tracks, pts_s = find_people(clip, detector, StageClock(progress))
    if not tracks:
        raise NoPersonError(f"{clip.path}: no person found in {len(pts_s)} frames; nobody to hide")
    taken = plan(largest_boxes(tracks, len(pts_s)), clip.width, clip.height, seed)
    with open_writer(out, clip) as writer:
        for frames in read_frames(clip):
            for rgb, index, pts in zip(frames.rgb, frames.index, frames.pts_s, strict=True):
                rng = np.random.default_rng([seed, int(index)])
                hidden = occluded(rgb, taken.window[index], taken.patch[index], rng)
                writer.write(hidden, float(pts))
            progress("write", int(frames.index[-1]) + 1, len(pts_s))
    return taken


def largest_boxes(tracks: list[Track], frames: int) -> Array:
    """The box (F, 4) px of the largest person in each frame, NaN where there is nobody."""
    boxes = np.full((frames, 4), np.nan)
    largest = np.zeros(frames)
    for track in tracks:
        size = areas(track.boxes)
        larger = size > largest[track.frame_index]
        at = track.frame_index[larger]
        boxes[at], largest[at] = track.boxes[larger], size[larger]
    return boxes
