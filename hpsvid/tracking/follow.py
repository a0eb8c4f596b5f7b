"""One followed person: a Kalman filter on the box and the colours of the clothes."""

import math
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from hpsvid.types import Array

SURE_SCORE = 0.35  # detections from here on start tracks and take part in the first rounds
LEARN_RATE = 0.1  # of the running mean, from boxes nearer than LEARN_BELOW: not from a neighbour
LEARN_BELOW = 0.4
NEW_SPELL = 3  # sightings of other clothes that begin a spell

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
    clothes: Array | None  # see `clothes_histograms`; None without a picture
    turn: int = 0  # quarter turns clockwise of the body, as far as the detector noticed
    met: bool = False  # the box lies partly on another; see `relink`

    @property
    def centre_size(self) -> Array:
        """(4,) centre x, centre y, width, height, px."""
        return np.concatenate([(self.box[:2] + self.box[2:]) / 2, self.box[2:] - self.box[:2]])


@dataclass(eq=False)
class Spell:
    """Sightings on end in which a track's clothes are much the same."""

    first: int  # frame
    last: int
    clothes: Array  # their mean, see `clothes_histograms`
    met: bool  # among others
    count: int = 1


@dataclass(eq=False)
class Follow:
    """One person while being followed."""

    mean: Array  # (4, 2) position and speed of centre x, centre y, width, height; px, px/s
    covariance: Array  # (4, 2, 2)
    clothes: Array | None
    sightings: list[Sighting]  # without clothes, which would be a kilobyte a frame
    best_score: float
    number: int  # running number of this person
    sure: int = 0  # how many of the sightings were
    spells: list[Spell] = field(default_factory=list)  # for `relink`
    odd: Spell | None = None  # may become the next one: clothes unlike the last one's


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


def unlikeness(clothes: Array, others: Array) -> float:
    """How unlike two histograms are, 0..1: 1 - their intersection."""
    return float(1 - np.minimum(clothes, others).sum())


def clothes_distances(follows: list[Follow], offered: list[Sighting]) -> Array:
    """(tracks, detections) of `unlikeness`; 0 where unknown."""
    distance = np.zeros((len(follows), len(offered)))
    for row, follow in enumerate(follows):
        for column, sighting in enumerate(offered):
            if follow.clothes is not None and sighting.clothes is not None:
                distance[row, column] = unlikeness(follow.clothes, sighting.clothes)
    return distance


def box_corners(centre_size: Array) -> Array:
    """Boxes (B, 4) x0 y0 x1 y1 px of boxes (B, 4) centre x, centre y, width, height px."""
    half = centre_size[:, 2:].clip(1) / 2
    return np.concatenate([centre_size[:, :2] - half, centre_size[:, :2] + half], axis=1)


def start_follow(sighting: Sighting, number: int) -> Follow:
    """A person with one detection; number: the running number of this person."""
    box = sighting.centre_size
    mean = np.stack([box, np.zeros(4)], axis=1)
    spread = np.array([MEASUREMENT_SD, START_SPEED_SD]) * box[3]
    covariance = np.broadcast_to(np.diag(spread**2), (4, 2, 2)).copy()
    kept = replace(sighting, clothes=None)
    sure = int(sighting.score >= SURE_SCORE)
    follow = Follow(mean, covariance, sighting.clothes, [kept], sighting.score, number, sure)
    _add_to_spells(follow, sighting)
    return follow


def predict(follow: Follow, seconds: float, *, lost: bool) -> None:
    """Kalman prediction; x, y, width and height are independent of each other.

    lost: the last look did not detect the person. Their box no longer shrinks: what hides them
    had cut it.
    """
    if lost:
        follow.mean[2:, 1] = follow.mean[2:, 1].clip(min=0)
    step = np.array([[1, seconds], [0, 1]])
    noise = np.array([[seconds**3 / 3, seconds**2 / 2], [seconds**2 / 2, seconds]])
    strength = np.array([MOVE_NOISE, MOVE_NOISE, SIZE_NOISE, SIZE_NOISE]) * follow.mean[3, 0] ** 2
    follow.mean = follow.mean @ step.T
    follow.covariance = step @ follow.covariance @ step.T + strength[:, None, None] * noise


def observe(follow: Follow, sighting: Sighting) -> None:
    """Kalman update, and the running mean of the clothes."""
    measured = sighting.centre_size
    variance = (MEASUREMENT_SD * measured[3]) ** 2
    gain = follow.covariance[:, :, 0] / (follow.covariance[:, :1, 0] + variance)
    follow.mean = follow.mean + gain * (measured - follow.mean[:, 0])[:, None]
    follow.covariance = follow.covariance - gain[:, :, None] * follow.covariance[:, :1, :]
    if clothes_distances([follow], [sighting]) < LEARN_BELOW:
        follow.clothes = _learn(follow.clothes, sighting.clothes)
    _add_to_spells(follow, sighting)
    follow.sightings.append(replace(sighting, clothes=None))
    follow.best_score = max(follow.best_score, sighting.score)
    follow.sure += sighting.score >= SURE_SCORE


def _add_to_spells(follow: Follow, sighting: Sighting) -> None:
    """Add a sighting to the spell that it belongs to, or begin one."""
    clothes, frame = sighting.clothes, sighting.frame
    if clothes is None:
        return
    fresh = Spell(frame, frame, clothes, sighting.met)
    if not follow.spells or follow.spells[-1].met != sighting.met:
        follow.spells.append(fresh)
        follow.odd = None
    elif _belongs(follow.spells[-1], clothes):
        _add(follow.spells[-1], clothes, frame)
        follow.odd = None
    elif follow.odd is None or not _belongs(follow.odd, clothes):
        follow.odd = fresh
    else:
        _add(follow.odd, clothes, frame)
        if follow.odd.count >= NEW_SPELL:
            follow.spells.append(follow.odd)
            follow.odd = None


def _belongs(spell: Spell, clothes: Array) -> bool:
    return unlikeness(spell.clothes, clothes) < LEARN_BELOW


def _add(spell: Spell, clothes: Array, frame: int) -> None:
    spell.last, spell.count = frame, spell.count + 1
    spell.clothes = spell.clothes + (clothes - spell.clothes) / spell.count


def _learn(mean: Array | None, clothes: Array | None) -> Array | None:
    if mean is None or clothes is None:
        return clothes if mean is None else mean
    return mean + LEARN_RATE * (clothes - mean)
