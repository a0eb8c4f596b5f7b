"""A detector that says what another program found, and looks at no picture."""

import numpy as np

from hpsvid.body.keypoints import People2D
from hpsvid.types import Detections, Frames, Source


class GivenDetector:
    """`hpsvid.tracking.Detector` by the people that the user gives."""

    name = "given"

    def __init__(self, people: People2D) -> None:
        self._boxes = people.box_of
        frames = sorted(self._boxes)
        self.every = max(1, round(float(np.median(np.diff(frames))))) if len(frames) > 1 else 1
        self.provenance: Source = {"name": self.name, "sha256": people.sha256}

    def looked_at(self, index: np.ndarray) -> np.ndarray:
        """Which of the frames `index` (N,) the other program looked at, (N,) bool."""
        return np.isin(index, list(self._boxes))

    def __call__(self, frames: Frames) -> list[Detections]:
        """One Detections for each frame."""
        nobody = np.zeros((0, 5), np.float32)
        found = [(int(index), self._boxes.get(int(index), nobody)) for index in frames.index]
        return [
            Detections(frame_index=index, boxes=rows[:, :4], scores=rows[:, 4])
            for index, rows in found
        ]
