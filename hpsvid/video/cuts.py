"""Where a scene ends and the next begins: cuts, pauses of the recording, photos of their own."""

import cv2
import numpy as np

from hpsvid.common.pictures import resampled
from hpsvid.types import Array, Clip

# Found in a small picture of each frame. Over the test clips, neighbouring frames have a
# correlation of 0.79 or more and frames a second apart 0.58 or more; across joined clips it is
# below 0.6 and the shared colours below 0.65. Both must fall: a person who fills the picture
# changes the first, light only the second.
SIZE = (64, 36)  # px
SHIFT = (8, 4)  # px of camera movement that is looked for
MIN_CORRELATION = 0.62
MIN_COLOURS = 0.68
FLAT_SD = 4.0  # grey levels; below, a frame is a blank (flash, black frame) and decides nothing

# A longer step between two frames is a pause of the recording, after which nobody is the same. A
# clip of variable rate may hold a picture for some seconds while a person stands still; of a time
# lapse every step is long.
PAUSE_S = 30.0
PAUSE_STEPS = 10  # nominal steps


class CutDetector:
    """Tells the first frame of a new scene; a dissolve is not seen."""

    def __init__(self, clip: Clip | None = None) -> None:
        """clip: with it, pauses are found and photos of their own are scenes of their own."""
        self._last: tuple[Array, Array] | None = None
        self._last_s: float | None = None
        self._photos = clip is not None and clip.photos
        self._pause_s = np.inf if clip is None else max(PAUSE_S, PAUSE_STEPS / float(clip.fps))

    def __call__(self, rgb: Array, pts_s: float = 0.0) -> bool:
        """True when the next frame, rgb (H, W, 3) uint8 at pts_s s, belongs to another scene."""
        last_s, self._last_s = self._last_s, pts_s
        paused = last_s is not None and (self._photos or pts_s - last_s > self._pause_s)
        return self._looks_other(rgb) or paused

    def _looks_other(self, rgb: Array) -> bool:
        small = resampled(rgb, *SIZE)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        if grey.std() < FLAT_SD:
            return False
        hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
        colours = cv2.calcHist([hsv], [0, 1], None, [12, 8], [0, 180, 0, 256]) / grey.size
        last, self._last = self._last, (grey, colours)
        if last is None or np.minimum(colours, last[1]).sum() >= MIN_COLOURS:
            return False
        right, down = SHIFT
        core = last[0][down:-down, right:-right]
        correlation = cv2.matchTemplate(grey, core, cv2.TM_CCOEFF_NORMED).max()
        return bool(correlation < MIN_CORRELATION)
