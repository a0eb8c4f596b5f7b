"""The detector that ships with hpsvid: NanoDet on onnxruntime, nothing to download.

NanoDet (github.com/RangiLyu/nanodet, Apache-2.0) is an anchor-free one-stage detector: in every
cell of three grids it scores the classes and gives a distribution over the distances to the four
edges of the box (Generalized Focal Loss, Li et al., NeurIPS 2020). Here only people are read.
`tools/networks/convert_detector.py` made the weights.
"""

from dataclasses import dataclass

import numpy as np

from hpsvid.common.boxes import suppress
from hpsvid.common.pictures import resampled
from hpsvid.common.weights import load_onnx, read_manifest
from hpsvid.types import Array, Detections, Frames

WEIGHTS = "nanodet"
LONG_SIDE = 416  # px of the network's picture; trained at 416
STRIDES = (8, 16, 32)  # px per cell of the three grids
DISTANCE_BINS = 11  # an edge lies 0..10 cells away
PERSON = 0  # class of COCO
MIN_SCORE = 0.1  # the floor of ByteTrack's second association (Zhang et al., ECCV 2022)


@dataclass(frozen=True)
class Letterbox:
    """How a picture was put into the network's: scaled, then moved; px."""

    scale: float
    left: int
    top: int


class NanoDet:
    """The embedded detector; `hpsvid.tracking.Detector`."""

    name = "nanodet_416"
    known_frames = None

    def __init__(self, *, threads: int | None = None, device: str = "auto") -> None:
        self._session = load_onnx(WEIGHTS, threads, device)
        self.provenance = {"name": self.name, "sha256": read_manifest()[WEIGHTS].sha256}

    def __call__(self, frames: Frames) -> list[Detections]:
        """See `hpsvid.tracking.Detector`. One frame at a time: a CPU gains nothing from batches."""
        return [
            self._detect(rgb, int(index))
            for rgb, index in zip(frames.rgb, frames.index, strict=True)
        ]

    def _detect(self, rgb: Array, frame_index: int) -> Detections:
        picture, placed = letterbox(rgb)
        outputs = self._session.run(None, {"rgb": picture[None]})
        levels = [np.asarray(output)[0] for output in outputs]
        boxes, scores = decode(levels[:3], levels[3:], picture.shape[0], picture.shape[1])
        boxes = (boxes - [placed.left, placed.top] * 2) / placed.scale
        height, width = rgb.shape[:2]
        boxes = boxes.clip(0, [width, height, width, height])
        kept = suppress(boxes, scores)
        return Detections(
            frame_index=frame_index,
            boxes=boxes[kept].astype(np.float32),
            scores=scores[kept].astype(np.float32),
        )


def letterbox(rgb: Array) -> tuple[Array, Letterbox]:
    """Fit a picture into one with sides that the coarsest stride divides.

    rgb: (H, W, 3) uint8. Returns (h, w, 3) uint8 with max(h, w) = LONG_SIDE, black where nothing
    is, and how the picture lies in it.
    """
    scale = LONG_SIDE / max(rgb.shape[:2])
    height, width = (max(1, round(side * scale)) for side in rgb.shape[:2])
    coarsest = STRIDES[-1]
    canvas = np.zeros((_up(height, coarsest), _up(width, coarsest), 3), np.uint8)
    top, left = (canvas.shape[0] - height) // 2, (canvas.shape[1] - width) // 2
    canvas[top : top + height, left : left + width] = resampled(rgb, width, height)
    return canvas, Letterbox(scale, left, top)


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def decode(
    scores: list[Array], distances: list[Array], height: int, width: int
) -> tuple[Array, Array]:
    """Boxes (D, 4) px of the network's picture and scores (D,), of people above MIN_SCORE.

    scores: per stride (cells, classes) in [0, 1]; distances: per stride (cells, 4 * bins) logits of
    the distances to left, top, right and bottom. Cells run row by row over `height` x `width` px.
    """
    boxes, people = [], []
    for stride, score, logits in zip(STRIDES, scores, distances, strict=True):
        cells = np.flatnonzero(score[:, PERSON] > MIN_SCORE)
        rows, columns = np.divmod(cells, width // stride)
        centre = np.stack([columns, rows], axis=1) * stride + (stride - 1) / 2
        weights = np.exp(logits[cells].reshape(-1, 4, DISTANCE_BINS).astype(np.float64))
        edges = stride * (weights @ np.arange(DISTANCE_BINS)) / weights.sum(-1)
        boxes.append(np.concatenate([centre - edges[:, :2], centre + edges[:, 2:]], axis=1))
        people.append(score[cells, PERSON])
    return np.concatenate(boxes), np.concatenate(people)
