"""One followed person: a Kalman filter on the box and the colours of the clothes."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from hpsvid.types import Array

LEARN_RATE = 0.1  # of the running mean, from boxes nearer than LEARN_BELOW: not from a neighbour
LEARN_BELOW = 0.4

# Kalman filter: box centre and size, constant velocity driven by white noise.
MEASUREMENT_SD = 0.05  # heights; ByteTrack's 1/20
START_SPEED_SD = 1.5  # heights/s
MOVE_NOISE = 1.0  # heights^2/s^3; ByteTrack's 1/160 of a height a frame at 30 fps
SIZE_NOISE = 0.2  # the same for width and height, which change more slowly


@dataclass(frozen=True, eq=False)
class Sighting:
    """One detection."""

    frame: int
    box: Array  # (4,) float64 x0 y0 x1 y1 px
    score: float
    clothes: Array | None  # see `_clothes`; None without a picture

    @property
    def centre_size(self) -> Array:
        """(4,) centre x, centre y, width, height, px."""
        return np.concatenate([(self.box[:2] + self.box[2:]) / 2, self.box[2:] - self.box[:2]])


@dataclass(eq=False)
class Follow:
    """One person while being followed."""

    mean: Array  # (4, 2) position and speed of centre x, centre y, width, height; px, px/s
    covariance: Array  # (4, 2, 2)
    clothes: Array | None
    seen: list[Sighting]  # without clothes, which would be a kilobyte a frame
    best_score: float
    number: int  # the how manieth person ever started


def clothes_histograms(rgb: Array, box: Array) -> Array | None:
    """Histograms in CIE Lab of the upper and lower half of a box's middle; each sums to 1/2.

    None when the box lies outside the picture.
    """
    inset = (box[2] - box[0]) / 4
    x0, x1 = int(max(box[0] + inset, 0)), math.ceil(box[2] - inset)
    y0, y1 = int(max(box[1], 0)), math.ceil(box[3])
    step = max(1, (y1 - y0) // 64)  # finer detail only costs time
    part = rgb[y0:y1:step, x0:x1:step]
    if not part.size:
        return None
    lab = cv2.cvtColor(cv2.resize(part, (16, 32), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    halves = (lab[3:16], lab[16:30])  # without hair and ground
    lab[..., 1:] = lab[..., 1:].clip(80, 175)  # few clothes are more colourful than that
    ranges = [0, 256, 80, 176, 80, 176]
    counts = [cv2.calcHist([half], [0, 1, 2], None, [4, 6, 6], ranges) for half in halves]
    return np.concatenate([count.ravel() / (2 * count.sum()) for count in counts])


def clothes_distances(follows: list[Follow], offered: list[Sighting]) -> Array:
    """(tracks, detections) in 0..1: 1 - the histograms' intersection; 0 where unknown."""
    distance = np.zeros((len(follows), len(offered)))
    for row, follow in enumerate(follows):
        for column, seen in enumerate(offered):
            if follow.clothes is not None and seen.clothes is not None:
                distance[row, column] = 1 - np.minimum(follow.clothes, seen.clothes).sum()
    return distance


def box_corners(centre_size: Array) -> Array:
    """Boxes (B, 4) x0 y0 x1 y1 px of boxes (B, 4) centre x, centre y, width, height px."""
    half = centre_size[:, 2:].clip(1) / 2
    return np.concatenate([centre_size[:, :2] - half, centre_size[:, :2] + half], axis=1)


def start_follow(seen: Sighting, number: int) -> Follow:
    """A person who was seen once; number: the running number of this person."""
    box = seen.centre_size
    mean = np.stack([box, np.zeros(4)], axis=1)
    spread = np.array([MEASUREMENT_SD, START_SPEED_SD]) * box[3]
    covariance = np.broadcast_to(np.diag(spread**2), (4, 2, 2)).copy()
    kept = replace(seen, clothes=None)
    return Follow(mean, covariance, seen.clothes, [kept], seen.score, number)


def predict(follow: Follow, seconds: float, *, lost: bool) -> None:
    """Kalman prediction; x, y, width and height are independent of each other.

    lost: the person was not seen at the last look, and shrinks no more: it was what hides them
    that cut their box.
    """
    if lost:
        follow.mean[2:, 1] = follow.mean[2:, 1].clip(min=0)
    step = np.array([[1, seconds], [0, 1]])
    noise = np.array([[seconds**3 / 3, seconds**2 / 2], [seconds**2 / 2, seconds]])
    strength = np.array([MOVE_NOISE, MOVE_NOISE, SIZE_NOISE, SIZE_NOISE]) * follow.mean[3, 0] ** 2
    follow.mean = follow.mean @ step.T
    follow.covariance = step @ follow.covariance @ step.T + strength[:, None, None] * noise


def observe(follow: Follow, seen: Sighting) -> None:
    """Kalman update, and the running mean of the clothes."""
    measured = seen.centre_size
    variance = (MEASUREMENT_SD * measured[3]) ** 2
    gain = follow.covariance[:, :, 0] / (follow.covariance[:, :1, 0] + variance)
    follow.mean = follow.mean + gain * (measured - follow.mean[:, 0])[:, None]
    follow.covariance = follow.covariance - gain[:, :, None] * follow.covariance[:, :1, :]
    if clothes_distances([follow], [seen]) < LEARN_BELOW:
        follow.clothes = _learn(follow.clothes, seen.clothes)
    follow.seen.append(replace(seen, clothes=None))
    follow.best_score = max(follow.best_score, seen.score)


def _learn(known: Array | None, seen: Array | None) -> Array | None:
    if known is None or seen is None:
        return seen if known is None else known
    return known + LEARN_RATE * (seen - known)
