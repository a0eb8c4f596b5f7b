"""People in pictures as other programs find them: boxes, or keypoints in one of four layouts."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from hpsvid.body.skeleton import BLAZEPOSE
from hpsvid.errors import InputError
from hpsvid.types import Array

LayoutName = Literal["coco17", "openpose25", "halpe26", "mediapipe33"]
COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
BODY_25 = (  # OpenPose's
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
    "left_wrist", "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee",
    "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear", "left_big_toe",
    "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip
HALPE_26 = (
    *COCO, "head", "neck", "mid_hip", "left_big_toe", "right_big_toe", "left_small_toe",
    "right_small_toe", "left_heel", "right_heel",
)  # fmt: skip
LAYOUTS: dict[LayoutName, tuple[str, ...]] = {
    "coco17": COCO,
    "openpose25": BODY_25,
    "halpe26": HALPE_26,
    "mediapipe33": BLAZEPOSE.names,
}
SURE = 0.3  # confidence from which a keypoint counts
# a box reaches beyond the keypoints by so much of their height or width: above, below, each side
_ABOVE, _BELOW, _BESIDE = 0.12, 0.05, 0.1

PerFrame = Mapping[int, Any] | Sequence[Any]
"""Something for each frame: a list over all of the clip's frames, or a dictionary of some."""


@dataclass(frozen=True, kw_only=True, eq=False)
class People2D:
    """Everybody whom another program found in a clip's frames, in place of hpsvid's own detector.

    boxes: for each frame (D, 4) x0 y0 x1 y1 px, or (D, 5) with a score in [0, 1]. keypoints: for
    each frame (D, K, 3): x and y px and confidence in [0, 1], of the K points of `layout`; boxes
    follow from them, so give one of the two. Frames are counted from 0 at the clip's first frame
    (with --start: at the part's first); frames left out of a dictionary were not looked at. Nobody
    needs to be tracked: rows may come in any order.
    Raises InputError when the shapes do not fit.

    >>> people = hpsvid.People2D(keypoints=[points for points in per_frame], layout="openpose25")
    >>> motion = hpsvid.run("clip.mp4", people=people)
    """

    boxes: PerFrame | None = None
    keypoints: PerFrame | None = None
    layout: LayoutName = "coco17"

    def __post_init__(self) -> None:
        if (self.boxes is None) == (self.keypoints is None):
            raise InputError("People2D: expected boxes or keypoints, one of the two")
        if self.layout not in get_args(LayoutName):
            raise InputError(
                f"layout {self.layout!r}: unknown; known are {', '.join(get_args(LayoutName))}"
            )
        if not self.box_of:
            raise InputError("People2D: holds no frames")

    @cached_property
    def points_of(self) -> dict[int, Array]:
        """Keypoints (D, K, 3) float32 by frame; without keypoints there are none."""
        count = len(LAYOUTS[self.layout])
        return {
            frame: _checked(rows, (count, 3), f"keypoints of frame {frame} ({self.layout})")
            for frame, rows in _frames(self.keypoints)
        }

    @cached_property
    def box_of(self) -> dict[int, Array]:
        """Boxes and scores (D, 5) float32 by frame."""
        if self.keypoints is not None:
            return {frame: _boxes_about(points) for frame, points in self.points_of.items()}
        boxes = {}
        for frame, rows in _frames(self.boxes):
            given = np.asarray(rows, np.float32)
            if given.ndim == 2 and given.shape[1] == 4:
                given = np.concatenate([given, np.ones((len(given), 1), np.float32)], 1)
            boxes[frame] = _checked(given, (5,), f"boxes of frame {frame}")
            if np.any(boxes[frame][:, 2:4] <= boxes[frame][:, :2]):
                raise InputError(f"boxes of frame {frame}: expected x0 < x1 and y0 < y1")
        return boxes

    @cached_property
    def sha256(self) -> str:
        """Of everything that was given."""
        digest = hashlib.sha256(self.layout.encode())
        for frame, rows in (*sorted(self.box_of.items()), *sorted(self.points_of.items())):
            digest.update(f"{frame} {rows.shape}".encode() + rows.tobytes())
        return digest.hexdigest()


def _frames(given: PerFrame | None) -> Iterator[tuple[int, Any]]:
    """(frame, rows) of what was given."""
    if isinstance(given, Mapping):
        yield from ((int(frame), rows) for frame, rows in given.items())
    elif given is not None:
        yield from enumerate(given)


def _checked(rows: Any, shape: tuple[int, ...], what: str) -> Array:
    """Rows as (D, *shape) float32. Raises InputError when they are not, or not finite."""
    array = np.asarray(rows, np.float32)
    if array.size == 0:
        return np.zeros((0, *shape), np.float32)
    if array.ndim != 1 + len(shape) or array.shape[1:] != shape:
        expected = ", ".join(["people", *map(str, shape)])
        raise InputError(f"{what}: expected an array of ({expected}), found {array.shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{what}: holds numbers that are not finite; give what is missing as 0")
    return array


def _boxes_about(points: Array) -> Array:
    """Boxes (B, 5) around the sure ones of keypoints (D, K, 3), their mean confidence the score.

    A person of fewer than three sure points has none.
    """
    boxes = []
    for person in points:
        sure = person[person[:, 2] >= SURE]
        if len(sure) < 3:
            continue
        (x0, y0), (x1, y1) = sure[:, :2].min(0), sure[:, :2].max(0)
        wide, tall = max(x1 - x0, 1), max(y1 - y0, 1)
        beside = max(_BESIDE * wide, _BELOW * tall)
        boxes.append([x0 - beside, y0 - _ABOVE * tall, x1 + beside, y1 + _BELOW * tall,
                      min(float(sure[:, 2].mean()), 1)])  # fmt: skip
    return np.array(boxes, np.float32).reshape(-1, 5)
