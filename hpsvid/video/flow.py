"""How the background flows: features of one picture that are found again a little later.

Before a camera that is carried about, what is near moves otherwise than what is far. Kept are the
places of a bounded number of features, spread over the picture, at both ends of short steps.
"""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from hpsvid.common.boxes import resized
from hpsvid.types import Array

STEP_S = 0.06  # between two pictures that are compared, or one frame of a slower clip
CELLS = (4, 4)  # of a picture, across and down
EACH = 6  # features of a cell
ENOUGH = 32  # features of a picture
APART_PX = 5  # of the small picture
BACK_PX = 0.5  # a feature that is followed there and back ends where it began
BOX_SIZES = (1.1, 0.6)  # of people's: what fills the picture leaves little around it
EDGE_PX = 2  # of the small picture, where nothing is followed
STORED = 64  # parts of a pixel
NONE = np.iinfo(np.int16).min  # where a step has no more features
_WINDOW = (21, 21)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flow:
    """Features of the background at both ends of each step."""

    frames: Array  # (S, 2) int64, of the clip
    stored: Array  # (S, N, 4) int16, as `FlowWatch.steps` has it
    size: tuple[float, float]  # width, height of the pictures that were compared, px
    focal_px: float  # of these

    def points(self, which: slice) -> Array:
        """x/z, y/z at both ends of these steps (S, N, 2, 2); NaN where there are fewer."""
        stored = self.stored[which]
        points = (stored / STORED).reshape(*stored.shape[:2], 2, 2)
        points[stored[..., 0] == NONE] = np.nan
        return (points - (np.array(self.size) - 1) / 2) / self.focal_px


NO_FLOW = Flow(
    frames=np.zeros((0, 2), np.int64), stored=np.zeros((0, 0, 4), np.int16), size=(1, 1), focal_px=1
)


def flow_within(flow: Flow, begin: int, end: int) -> Flow:
    """The steps from frame `begin` to before `end`."""
    kept = (flow.frames[:, 0] >= begin) & (flow.frames[:, 1] < end)
    return replace(flow, frames=flow.frames[kept], stored=flow.stored[kept])


@dataclass
class FlowWatch:
    """Compares small grey pictures a step apart."""

    frames: list[tuple[int, int]] = field(default_factory=list)
    points: list[Array] = field(default_factory=list)  # (N, 4) int16 x0 y0 x1 y1, px * STORED
    _before: tuple[int, float, Array, Array] | None = None  # frame, s, picture, features

    def look(self, grey: Array, boxes: Array, frame: int, pts_s: float) -> None:
        """One more picture (H, W) uint8, with people's boxes (D, 4) px of it."""
        if self._before is not None:
            first, since, picture, features = self._before
            if pts_s < since + STEP_S:
                return
            found = _followed(picture, grey, features, boxes)
            if len(found):
                self.frames.append((first, frame))
                self.points.append(np.round(found * STORED).astype(np.int16))
        self._before = (frame, pts_s, grey, _features(grey, boxes))

    def pause(self) -> None:
        """What comes next is not compared with what was before."""
        self._before = None

    def steps(self) -> tuple[Array, Array]:
        """Frames (S, 2) and features (S, N, 4) int16 of all steps, NONE where there are fewer."""
        most = max((len(of) for of in self.points), default=0)
        whole = np.full((len(self.points), most, 4), NONE, np.int16)
        for row, of in zip(whole, self.points, strict=True):
            row[: len(of)] = of
        return np.array(self.frames, np.int64).reshape(-1, 2), whole


def _features(grey: Array, boxes: Array) -> Array:
    """The best features (N, 1, 2) float32 of each cell, outside people's boxes."""
    features = np.zeros((0, 1, 2), np.float32)
    for size in BOX_SIZES:
        mask = np.full(grey.shape, 255, np.uint8)
        for x0, y0, x1, y1 in resized(boxes, size).clip(0).astype(int):
            mask[y0 : y1 + 1, x0 : x1 + 1] = 0
        features = np.concatenate([_of_cell(grey, mask, cell) for cell in np.ndindex(*CELLS)])
        if len(features) > ENOUGH:
            break
    return features


def _of_cell(grey: Array, mask: Array, cell: tuple[int, ...]) -> Array:
    (x0, y0), (x1, y1) = (
        [size * (at + end) // n for at, size, n in zip(cell, grey.shape[::-1], CELLS, strict=True)]
        for end in (0, 1)
    )
    there = np.s_[y0:y1, x0:x1]
    best = cv2.goodFeaturesToTrack(
        grey[there].copy(), EACH, 0.02, APART_PX, mask=mask[there].copy(), blockSize=5
    )
    return (
        np.zeros((0, 1, 2), np.float32) if best is None else best + np.array([x0, y0], np.float32)
    )


def _followed(before: Array, after: Array, features: Array, boxes: Array) -> Array:
    """Where features (N, 1, 2) are found again, x0 y0 x1 y1 (M, 4) float32 px."""
    if not len(features):
        return np.zeros((0, 4), np.float32)
    moved, there, _ = cv2.calcOpticalFlowPyrLK(
        before, after, features, np.empty_like(features), winSize=_WINDOW, maxLevel=3
    )
    back, again, _ = cv2.calcOpticalFlowPyrLK(
        after, before, moved, features.copy(), winSize=_WINDOW, maxLevel=3,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )  # fmt: skip
    kept = np.logical_and(there, again)[:, 0]
    kept &= np.linalg.norm(back - features, axis=-1)[:, 0] < BACK_PX
    moved, far = moved[:, 0], np.array(after.shape[::-1]) - 1 - EDGE_PX
    kept &= ((moved > EDGE_PX) & (moved < far)).all(-1)
    for box in resized(boxes, BOX_SIZES[-1]):
        kept &= ~((moved > box[:2]) & (moved < box[2:])).all(-1)
    return np.concatenate([features[:, 0], moved], 1)[kept]
