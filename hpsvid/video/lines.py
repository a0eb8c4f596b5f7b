"""Straight lines of the scene, outside the people: what is built stands upright.

Line segments (LSD; Grompone von Gioi et al., PAMI 2010) of a few pictures of each shot. With the
camera known, a segment and the lens span a plane; of an upright edge that plane holds up.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from hpsvid.common.boxes import resized
from hpsvid.common.records import take_frames
from hpsvid.types import Array

SIDE_PX = 480  # longer side of the pictures that are searched
LEAST_PX = 12.0  # length of a segment there
LONGEST = 75  # segments that are kept of a picture
EVERY_S = 1.0  # between two pictures that are searched
MOST_PICTURES = 6  # of a shot
MARGIN = 0.1  # of a box's size: clothes and limbs reach out of it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneLines:
    """Segments as directions in the axes of their shot's first frame."""

    normals: Array  # (S, 3) unit, of the plane through lens and segment
    middles: Array  # (S, 3) unit, towards the segment's middle
    length_px: Array  # (S,) of a picture of SIDE_PX
    frame: Array  # (S,) int64 of the clip


NO_LINES = SceneLines(
    normals=np.zeros((0, 3)),
    middles=np.zeros((0, 3)),
    length_px=np.zeros(0),
    frame=np.zeros(0, int),
)


@dataclass
class LineWatch:
    """Finds the lines of a few of the pictures that it is shown."""

    segments: list[Array] = field(default_factory=list)  # (S, 4) px of the clip
    frames: list[Array] = field(default_factory=list)  # (S,)
    _next_s: float = -np.inf
    _left: int = 0

    def look(self, rgb: Array, boxes: Array, frame: int, pts_s: float, *, cut: bool) -> None:
        """One more picture (H, W, 3) uint8 with people's boxes (D, 4) px; cut: a shot begins."""
        if cut or not self.segments:
            self._next_s, self._left = pts_s, MOST_PICTURES
        if pts_s < self._next_s or not self._left:
            return
        self._next_s, self._left = pts_s + EVERY_S, self._left - 1
        found = line_segments(rgb, boxes)
        self.segments.append(found)
        self.frames.append(np.full(len(found), frame))


def line_segments(rgb: Array, boxes: Array) -> Array:
    """The longest segments x0 y0 x1 y1 (S, 4) px of a picture that reach into none of the boxes."""
    scale = min(1.0, SIDE_PX / max(rgb.shape[:2]))
    green = cv2.extractChannel(rgb, 1)
    small = cv2.resize(green, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = cv2.createLineSegmentDetector().detect(small)[0]
    segments = np.zeros((0, 4)) if found is None else found.reshape(-1, 4).astype(np.float64)
    length = np.linalg.norm(segments[:, 2:] - segments[:, :2], axis=1)
    segments = segments[np.argsort(-length)[: int((length >= LEAST_PX).sum())]] / scale
    free = np.ones(len(segments), bool)
    for box in resized(boxes, 1 + 2 * MARGIN):
        low, high = box[:2], box[2:]
        for at in (segments[:, :2], segments[:, 2:], (segments[:, :2] + segments[:, 2:]) / 2):
            free &= ~((at > low) & (at < high)).all(1)
    return segments[free][:LONGEST]


def lines_within(lines: SceneLines, begin: int, end: int) -> SceneLines:
    """The lines of the frames from `begin` to before `end`."""
    return take_frames(lines, (lines.frame >= begin) & (lines.frame < end))


def scene_lines(
    segments: Array, frame: Array, turns: Array, focal_px: float, size: tuple[int, int]
) -> SceneLines:
    """Segments (S, 4) px of these frames (S,) as directions of a camera with this focal length.

    turns: (F, 3, 3), from a frame's axes to those of its shot's first; size: width, height px.
    """
    middle = np.array(size) / 2
    ends = [
        np.concatenate([segments[:, k : k + 2] - middle, np.full((len(segments), 1), focal_px)], 1)
        for k in (0, 2)
    ]
    directions = [np.cross(ends[0], ends[1]), ends[0] + ends[1]]
    turned = [
        (turns[frame] @ (d / np.linalg.norm(d, axis=1, keepdims=True))[..., None])[..., 0]
        for d in directions
    ]
    scale = min(1.0, SIDE_PX / max(size))
    length = np.linalg.norm(segments[:, 2:] - segments[:, :2], axis=1)
    return SceneLines(normals=turned[0], middles=turned[1], length_px=length * scale, frame=frame)
