"""What networks answered, call by call, so that a run that goes on need not ask them again."""

import zlib
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from hpsvid.tracking import Detector
from hpsvid.types import Array, Detections, Frames

if TYPE_CHECKING:
    from hpsvid.pipeline.store import Store

Answer = tuple[Array, ...]
"""What a network says about one picture or one batch of crops; the arrays have equal lengths."""


def mark(pixels: Array) -> int:
    """A number that tells pictures (..., H, W, 3) uint8 apart, from every 4th pixel each way."""
    return zlib.crc32(pixels[..., ::4, ::4, :].tobytes())


class Answers:
    """A network's answers in the order of its calls, each with the mark of what was asked about.

    Stored answers are handed out as long as the marks agree; from the first that does not, or
    where the stored ones end, the network is asked and the answers are stored.
    """

    def __init__(self, store: "Store", name: str) -> None:
        self._store, self._name = store, name
        self._part = 0  # number of the file that holds `_told` and `_waiting`
        self._told: list[tuple[int, Answer]] = []  # of this part
        self._waiting: deque[tuple[int, Answer]] = deque(self._read(0))
        self._replaying = bool(self._waiting)

    def __call__(self, marks: list[int], ask: Callable[[], list[Answer]]) -> list[Answer]:
        """The answers to what has these marks; ask: the network, about all of them."""
        if self._store.folder is None:
            return ask()
        told = self._next(len(marks)) if self._replaying else []
        if [known for known, _ in told] == marks:
            self._told += told
            return [answer for _, answer in told]
        self._replaying = False
        self._waiting.clear()
        answers = ask()
        self._told += zip(marks, answers, strict=True)
        if self._told and self._store.save_after_a_while(self._file(self._part), self._packed):
            self._part += 1
            self._told = []
        return answers

    def _next(self, count: int) -> list[tuple[int, Answer]]:
        """The next stored answers; fewer where these end. A call's are always in one part."""
        if count and not self._waiting and (part := self._read(self._part + 1)):
            self._part, self._told, self._waiting = self._part + 1, [], deque(part)
        return [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]

    def _file(self, part: int) -> str:
        return f"{self._name}_{part:06d}"

    def _packed(self) -> dict[str, Array]:
        marks, answers = zip(*self._told, strict=True)
        columns = [np.concatenate(column) for column in zip(*answers, strict=True)]
        return {
            "marks": np.array(marks, np.uint32),
            "rows": np.array([len(answer[0]) for answer in answers], np.int64),
            **{f"column_{i}": column for i, column in enumerate(columns)},
        }

    def _read(self, part: int) -> list[tuple[int, Answer]]:
        """The answers in a part; none where it is missing, damaged or not of this form."""
        arrays = self._store.load(self._file(part))
        if arrays is None or not arrays.keys() >= {"marks", "rows", "column_0"}:
            return []
        marks, rows = arrays["marks"], arrays["rows"]
        columns = [arrays[f"column_{i}"] for i in range(len(arrays) - 2) if f"column_{i}" in arrays]
        whole = (
            marks.ndim == rows.ndim == 1
            and len(marks) == len(rows)
            and (rows >= 0).all()
            and all(column.ndim and len(column) == rows.sum() for column in columns)
        )
        if not whole:
            return []
        ends = np.concatenate([[0], np.cumsum(rows)])
        return [
            (int(known), tuple(column[begin:end] for column in columns))
            for known, (begin, end) in zip(marks, pairwise(ends), strict=True)
        ]


class KeptDetector:
    """A `Detector` whose answers about earlier frames are known."""

    def __init__(self, detector: Detector, answers: Answers) -> None:
        self._detector, self._answers = detector, answers
        self.name, self.provenance = detector.name, detector.provenance
        self.known_frames = detector.known_frames

    def __call__(self, frames: Frames) -> list[Detections]:
        """See `hpsvid.tracking.Detector`."""
        answers = self._answers(
            [mark(rgb[::4, ::4]) for rgb in frames.rgb],
            lambda: [(found.boxes, found.scores) for found in self._detector(frames)],
        )
        return [
            Detections(frame_index=int(index), boxes=boxes, scores=scores)
            for index, (boxes, scores) in zip(frames.index, answers, strict=True)
        ]
