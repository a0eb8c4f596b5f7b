"""Look again at frames in which the detector missed a person: with a border, then turned.

A detector scores some sizes low: NanoDet gives upright people of 67-82 % of the picture's longer
side 0.2-0.5, and 0.85 when a border makes them smaller. Nearly all people that it was trained on
are upright: those who lie or hang upside down are found in the turned picture.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hpsvid.common.boxes import areas, shared_areas, suppress
from hpsvid.tracking import Detector
from hpsvid.tracking.tracker import SURE_SCORE
from hpsvid.types import Array, Detections, Frames

BORDER = 0.2  # of the picture's longer side, on all four sides
TURNS = (3, 1, 2)  # quarter turns counter-clockwise
PART = 0.7  # of a box: what lies inside another is a part of its person
SAME = 0.5  # IoU from which boxes of two looks show one person
LONGEST_REST = 15  # frames; after a vain search the next ones are as the detector sees them


class Searcher:
    """Searches on where people are missing; frames come in order.

    The way that found somebody last is tried first. After a vain search it rests for 1, 3, 7, then
    15 frames, so that empty scenes and hidden people cost little.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._ways: list[int | None] = [None, *TURNS]  # None: the border
        self._rest = self._rested = 0

    def complete(
        self,
        rgb: Array,
        detections: Detections,
        missing: Callable[[Detections], bool],
        *,
        cut: bool = False,
    ) -> Detections:
        """The detections of a frame (H, W, 3) with those of further looks, where any are needed.

        missing: whether somebody is missing from these; cut: the frame starts a shot. Detections
        in a turned picture only count when they end the search: a turned background looks like a
        person more often.
        """
        complete = not missing(detections)
        if cut or complete:
            self._rest = self._rested = 0
        if complete:
            return detections
        if self._rested < self._rest:
            self._rested += 1
            return detections
        for place, turn in enumerate(self._ways):
            offered = merged(detections, self._look(rgb, detections.frame_index, turn))
            if not missing(offered):
                self._ways.insert(0, self._ways.pop(place))
                self._rest = self._rested = 0
                return offered
            if turn is None:
                detections = offered
        self._rest, self._rested = min(2 * self._rest + 1, LONGEST_REST), 0
        return detections

    def _look(self, rgb: Array, index: int, turn: int | None) -> Detections:
        """What the detector sees with a border, or turned; boxes in px of the picture itself."""
        height, width = rgb.shape[:2]
        if turn is None:
            border = round(BORDER * max(height, width))
            sides = [(border, border), (border, border), (0, 0)]
            picture = np.pad(rgb, sides)
        else:
            picture = np.ascontiguousarray(np.rot90(rgb, turn))
        (found,) = self._detector(
            Frames(rgb=picture[None], index=np.array([index]), pts_s=np.zeros(1))
        )
        if turn is not None:
            found = _those(found, found.scores >= SURE_SCORE)
            boxes = turned_back(found.boxes, turn, width, height)
            return replace(found, boxes=boxes, turns=np.full(len(boxes), turn))
        boxes = (found.boxes - border).clip(0, [width, height] * 2)
        whole = replace(found, boxes=boxes.astype(np.float32))
        return _those(whole, np.all(boxes[:, 2:] > boxes[:, :2], axis=1))


def turned_back(boxes: Array, turn: int, width: int, height: int) -> Array:
    """Boxes (D, 4) px of a picture turned by `np.rot90(picture, turn)`, in the picture's own px.

    width, height: the picture's own, px.
    """
    x0, y0, x1, y1 = boxes.T
    corners = {
        1: (width - y1, x0, width - y0, x1),
        2: (width - x1, height - y1, width - x0, height - y0),
        3: (y0, height - x1, y1, height - x0),
    }[turn]
    return np.stack(corners, 1).astype(np.float32)


def merged(detections: Detections, others: Detections) -> Detections:
    """Two looks at one frame as one: of boxes that show one person the strongest.

    A weaker box of the first look that lies inside a sure one of the other is a part of a person.
    """
    inside = shared_areas(detections.boxes, others.boxes) > PART * areas(detections.boxes)[:, None]
    stronger = np.maximum(SURE_SCORE, detections.scores[:, None]) < others.scores
    detections = _those(detections, ~np.any(inside & stronger, axis=1))
    both = replace(
        detections,
        boxes=np.concatenate([detections.boxes, others.boxes]),
        scores=np.concatenate([detections.scores, others.scores]),
        turns=np.concatenate([_turns(detections), _turns(others)]),
    )
    return _those(both, suppress(both.boxes, both.scores, SAME))


def _turns(detections: Detections) -> Array:
    none = np.zeros(len(detections.scores), np.int64)
    return none if detections.turns is None else detections.turns


def _those(detections: Detections, which: Array) -> Detections:
    turns = detections.turns
    return replace(
        detections,
        boxes=detections.boxes[which],
        scores=detections.scores[which],
        turns=None if turns is None else turns[which],
    )
