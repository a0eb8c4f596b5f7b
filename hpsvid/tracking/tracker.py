"""Follow people through a clip: ByteTrack's association over a Kalman filter.

ByteTrack (Zhang et al., ECCV 2022): sure detections are matched to tracks first; the tracks left
over may take weak ones, which are mostly people half hidden. Added here: a round by distance for
people who move further between two frames than their box is wide (few frames a second), the
colours of clothes for people who cross, and an end to every track at a scene cut. Sizes are in
body heights and times in seconds, so that one set of numbers serves every resolution and frame
rate.
"""

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from hpsvid.common.boxes import areas, iou, shared_areas
from hpsvid.common.series import interpolate
from hpsvid.errors import InputError
from hpsvid.tracking.follow import (
    SURE_SCORE,
    Follow,
    Sighting,
    box_corners,
    clothes_distances,
    clothes_histograms,
    observe,
    predict,
    start_follow,
)
from hpsvid.tracking.relink import met, relinked
from hpsvid.types import Array, Detections, Track

PICTURE_SCORE = 0.15  # the same for a single picture without any sure detection; below, chance
PERSON_SCORE = 0.5  # what a finished track must have reached in MIN_SECONDS of its frames
MIN_IOU_SURE = 0.2  # ByteTrack's gates
MIN_IOU_WEAK = 0.5
BRIEF_S = 0.2  # longest gap that a weak or distant detection may end
FASTEST = 6.0  # heights/s; a sprinter covers 10 m/s
MAX_REACH = 1.0  # heights; the distance round's limits after a brief gap
LONG_REACH = 0.5  # and after a long gap, when the expected place is vague
MAX_SIZE_CHANGE = 1.6  # ratio of heights that the distance round accepts

# One box around several people: this share of each lies inside, and they fill this share of it.
GROUP_INSIDE = 0.7
GROUP_FILLED = 0.6

# Clothes: colour histograms of the upper and lower half of a box's middle.
CLOTHES_WEIGHT = 0.5  # of their distance (0..1) beside 1 - IoU
MAX_CLOTHES = 0.6  # distance from which a detection after a long gap is another person

CALM_IOU = 0.7  # of a person's boxes in two looks on end; from here every second look will do
FEWER = 2  # the longest way between two looks, in the usual ones

MIN_SECONDS = 0.25  # of detections that a track needs to count as a person
MIN_SURE_SHARE = 0.3  # of a track's detections; a post that looks like a person stays below


class Tracker:
    """Turns a stream of detections into tracks; memory grows with people, not with pixels."""

    def __init__(
        self,
        *,
        fps: float,
        every: int = 1,
        max_gap_s: float = 1.5,
        picture: tuple[int, int] | None = None,
    ) -> None:
        """fps: nominal frame rate. max_gap_s: how long a person may stay unseen, s.

        every: detections come for every `every`-th frame, and for the first frame of a shot.
        picture: width and height, px; with it, a person who enters is not matched to one who left.
        """
        if not (fps > 0 and max_gap_s >= 0):
            raise InputError(
                f"tracker: fps {fps} must be above 0, max_gap_s {max_gap_s} at least 0"
            )
        self._fps = fps
        self._every = every
        self._max_gap = max_gap_s
        self._picture = picture
        self._brief = BRIEF_S
        self._active: list[Follow] = []
        self._ended: list[Follow] = []  # of this shot
        self._started = itertools.count()
        self._done: list[Track] = []
        self._doubtful: list[Track] = []
        self._weak: list[Sighting] = []  # of the last frame
        self._pictured: list[Track] = []  # weak detections of shots of one frame
        self._looks: list[int] = []  # frames of this shot that were looked at
        self._longest_shot = 0  # frames
        self._shot_start = 0
        self._now = -1

    def update(
        self,
        detections: Detections,
        *,
        cut: bool = False,
        rgb: Array | None = None,
        sure: float = SURE_SCORE,
    ) -> None:
        """Add the detections of the next frame; `cut`: it starts a shot, so all tracks end.

        rgb: (H, W, 3) uint8, the frame; with it clothes tell apart people who cross.
        sure: score from which a detection starts a track.
        """
        if detections.frame_index <= self._now:
            raise ValueError(f"frame {detections.frame_index} comes after frame {self._now}")
        if cut:
            self._end_shot(detections.frame_index)
        last, self._now = self._now, detections.frame_index
        self._looks.append(self._now)
        step = (self._now - last) / self._fps if self._active else 0.0
        # a live stream may skip more frames than `every`: one missed look still counts as brief
        self._brief = max(BRIEF_S, self._every / self._fps, step) + 1e-9
        kept = []
        for follow in self._active:
            predict(follow, step, lost=follow.sightings[-1].frame < last)
            if self._has_ended(follow):
                self._ended.append(follow)
            else:
                kept.append(follow)
        self._active = kept
        self._associate(_read(detections, rgb), sure)

    def misses(self, detections: Detections, *, cut: bool = False) -> bool:
        """Whether to search the next frame for more people than these detections.

        cut: as for `update`. True where nobody is followed and nobody is surely a person, or where
        somebody who is followed is not among the detections; people who were mostly seen surely
        may be weak.
        """
        people = [
            follow
            for follow in self._active
            # not who was seen a moment: a hand may look like a person once
            if follow.best_score >= PERSON_SCORE and follow.sure >= self._needed and not cut
        ]
        if not people:
            return not bool((detections.scores >= PERSON_SCORE).any())
        sure = detections.scores >= SURE_SCORE
        turned = any(follow.sightings[-1].turn for follow in people)
        if sure.sum() >= len(people) and not (turned and detections.turns is None):
            return False
        ahead = np.array([1, (detections.frame_index - self._now) / self._fps])
        expected = box_corners(np.stack([follow.mean @ ahead for follow in people]))
        steady = np.array([[self._is_steady(follow)] for follow in people])
        overlap = iou(expected, detections.boxes.astype(np.float64))
        found = (overlap >= MIN_IOU_SURE) & sure | (overlap >= MIN_IOU_WEAK) & steady
        if detections.turns is None:  # where somebody lies, upright people are doubtful
            upright = np.array([[follow.sightings[-1].turn == 0] for follow in people])
            found &= upright | (overlap >= MIN_IOU_WEAK) & (detections.scores >= PERSON_SCORE)
        return not bool(found.any(1).all())

    def may_skip(self, frame_index: int) -> bool:
        """Whether this frame need not be looked at: one person alone is surely seen, and hardly
        moved between the last two looks. Of looks that are due every second one is made.
        """
        if len(self._active) != 1 or frame_index - self._now >= FEWER * self._every:
            return False
        (person,) = self._active
        if len(person.sightings) <= self._needed or person.best_score < PERSON_SCORE:
            return False
        before, last = person.sightings[-2:]
        if last.frame < self._now or last.score < SURE_SCORE or last.turn:
            return False
        others = [weak.box for weak in self._weak if weak.score >= PICTURE_SCORE]
        beside = np.reshape(others, (-1, 4))
        apart = shared_areas(beside, last.box[None])[:, 0] < GROUP_INSIDE * areas(beside)
        return not apart.any() and bool(iou(before.box[None], last.box[None])[0, 0] >= CALM_IOU)

    def _is_steady(self, follow: Follow) -> bool:
        """Whether weak detections cannot cost a person their track."""
        return follow.sure >= max(self._needed, 2 * MIN_SURE_SHARE * len(follow.sightings))

    @property
    def _needed(self) -> int:
        """Detections that a track needs to count as a person."""
        return math.ceil(MIN_SECONDS * self._fps / self._every)

    def finish(self, frames: int) -> list[Track]:
        """All tracks of a clip of `frames` frames without false alarms, by first appearance.

        Numbered from 0. A track covers the frames before its first and after its last detection
        in which the detector did not run. Of people who appear in the same frame the larger comes
        first. When no track is surely a person, the doubtful ones are returned, and for photos
        (every shot is one frame) the weak detections of those without a sure one: the landmark
        network decides.
        """
        self._end_shot(frames)
        if self._longest_shot <= 1:
            kept = self._done + self._pictured
        else:
            kept = self._done or self._doubtful
        kept.sort(key=lambda track: (track.frame_index[0], -areas(track.boxes)[0]))
        return [replace(track, id=k) for k, track in enumerate(kept)]

    def following(self, frame_index: int) -> dict[int, Array]:
        """The people followed now, for a live stream: running number -> box (4,) px.

        Boxes are predicted for frame `frame_index`, at or after the last update's. Some may be
        false alarms: `confirm` those that the landmark network finds. Finished tracks and all
        but the last detection are dropped, so memory does not grow and `finish` returns nothing.
        """
        self._done, self._doubtful, self._ended, self._looks = [], [], [], []
        ahead = np.array([1, (frame_index - self._now) / self._fps])
        boxes = {}
        for follow in self._active:
            follow.sightings, follow.spells = follow.sightings[-1:], []
            (boxes[follow.number],) = box_corners((follow.mean @ ahead)[None])
        return boxes

    def confirm(self, number: int, box: Array, frame_index: int) -> None:
        """Count person `number` of `following` as surely a person: another network found them.

        box: (4,) px, where that network sees them in frame `frame_index`; it replaces the
        detection that the last update's frame lacked.
        """
        for follow in self._active:
            if follow.number != number:
                continue
            follow.best_score = max(follow.best_score, PERSON_SCORE)
            if follow.sightings[-1].frame < self._now:
                moved = follow.mean[:2, 1] * (frame_index - self._now) / self._fps
                follow.mean[:2, 0] = (box[:2] + box[2:]) / 2 - moved
                follow.sightings = [replace(follow.sightings[-1], frame=self._now)]

    def _has_ended(self, follow: Follow) -> bool:
        unseen = self._unseen_s(follow) - self._every / self._fps
        centre = follow.mean[:2, 0]
        outside = self._picture and ((centre < 0) | (centre > self._picture)).any()
        return unseen > self._max_gap + 1e-9 or bool(outside and unseen > 1e-9)

    def _unseen_s(self, follow: Follow) -> float:
        return (self._now - follow.sightings[-1].frame) / self._fps

    def _associate(self, sightings: list[Sighting], limit: float) -> None:
        """Match detections to tracks in rounds; the sure detections left over start tracks."""
        sure = [s for s in sightings if s.score >= limit]
        weak = self._weak = [s for s in sightings if s.score < limit]
        # Weak boxes, and tracks that may yet be no person, bridge no long gaps.
        people = [f for f in self._active if f.best_score >= PERSON_SCORE]
        recent = [f for f in self._active if self._unseen_s(f) <= self._brief]
        lost, sure = self._match(people, sure, _overlap_cost, 1 - MIN_IOU_SURE)
        lost, sure = self._match(lost, sure, self._distance_cost, 1.0)
        lost = [f for f in lost if f in recent]
        self._match(lost, weak, _overlap_cost, 1 - MIN_IOU_WEAK)
        doubtful = [f for f in recent if f not in people]
        _, sure = self._match(doubtful, sure, _overlap_cost, 1 - MIN_IOU_WEAK)
        groups = _covers_a_group(people, sure)
        self._active += [
            start_follow(sighting, next(self._started))
            for sighting, group in zip(sure, groups, strict=True)
            if not group
        ]

    def _match(
        self,
        follows: list[Follow],
        offered: list[Sighting],
        cost: Callable[[list[Follow], list[Sighting]], Array],
        limit: float,
    ) -> tuple[list[Follow], list[Sighting]]:
        """Give detections to tracks at the lowest total cost; returns the rest of both.

        cost: (tracks, detections), of place alone; pairs above `limit` are never matched.
        """
        if not follows or not offered:
            return follows, offered
        place = cost(follows, offered)
        clothes = clothes_distances(follows, offered)
        long_lost = np.array([[self._unseen_s(follow) > self._brief] for follow in follows])
        possible = (place <= limit) & ~(long_lost & (clothes > MAX_CLOTHES))
        total = np.where(possible, place + CLOTHES_WEIGHT * clothes, _NEVER)
        pairs = cheapest_pairs(total)
        for row, column in pairs:
            observe(follows[row], offered[column])
        rows, columns = pairs.T
        return (
            [follow for row, follow in enumerate(follows) if row not in rows],
            [sighting for column, sighting in enumerate(offered) if column not in columns],
        )

    def _distance_cost(self, follows: list[Follow], offered: list[Sighting]) -> Array:
        """Distance of the centres as a share of what a person can cover."""
        expected = np.stack([follow.mean[:, 0] for follow in follows])[:, None]
        detected = np.stack([sighting.centre_size for sighting in offered])[None]
        tall = np.maximum(expected[..., 3], detected[..., 3])
        low = np.minimum(expected[..., 3], detected[..., 3])
        unseen = np.array([[self._unseen_s(follow)] for follow in follows])
        limit = np.where(unseen <= self._brief, MAX_REACH, LONG_REACH)
        reach = np.minimum(FASTEST * unseen, limit) * tall
        distance = np.linalg.norm(expected[..., :2] - detected[..., :2], axis=-1) / reach
        return np.where(tall <= MAX_SIZE_CHANGE * low, distance, _NEVER)

    def _end_shot(self, end: int) -> None:
        """End every track; frame `end` belongs to the next shot."""
        self._longest_shot = max(self._longest_shot, end - self._shot_start)
        if self._longest_shot == 1 and not self._active:
            weak = [s for s in self._weak if s.score >= PICTURE_SCORE]
            follows = [start_follow(sighting, next(self._started)) for sighting in weak]
            self._pictured += [self._gap_free(follow, end) for follow in follows]
        for follow in relinked(self._ended + self._active, self._fps, self._max_gap):
            self._close(follow, end)
        self._active, self._ended, self._looks = [], [], []
        self._shot_start = end

    def _close(self, follow: Follow, end: int) -> None:
        """Keep a finished track if enough of it was surely a person, or may have been one."""
        scores = np.array([sighting.score for sighting in follow.sightings])
        share = np.mean(scores >= SURE_SCORE)
        needed = self._needed
        looks = math.ceil((end - self._shot_start) / self._every)
        if looks < needed:  # an image or a very short shot: no time to make sure
            sure = 2 * len(scores) >= looks
        else:
            sure = np.sum(scores >= PERSON_SCORE) >= needed
        if share >= MIN_SURE_SHARE and sure:
            self._done.append(self._gap_free(follow, end))
        elif share >= MIN_SURE_SHARE and len(scores) >= needed:
            self._doubtful.append(self._gap_free(follow, end))

    def _gap_free(self, follow: Follow, end: int) -> Track:
        """The track with a box for each frame, interpolated linearly between detections.

        It covers the frames before the first and after the last detection in which the detector
        did not run, at most to the longest way between two looks.
        """
        detected = np.array([sighting.frame for sighting in follow.sightings])
        looks, reach = [self._shot_start - 1, *self._looks, end], FEWER * self._every
        before = looks[bisect_left(looks, detected[0]) - 1]
        after = looks[bisect_right(looks, detected[-1])]
        first = max(before + 1, int(detected[0]) - reach + 1)
        frames = np.arange(first, min(after, int(detected[-1]) + reach))
        scores = np.zeros(len(frames), np.float32)
        scores[detected - first] = [sighting.score for sighting in follow.sightings]
        turns = np.array([sighting.turn for sighting in follow.sightings])
        latest = np.searchsorted(detected, frames, side="right") - 1
        return Track(
            id=-1,
            frame_index=frames,
            boxes=interpolate(frames, detected, _boxes(follow.sightings), np.float32),
            scores=scores,
            detected=np.isin(frames, detected),
            shot_start=self._shot_start,
            turns=turns[latest.clip(0)],
        )


_NEVER = 1e6  # the cost of a pair that must not be matched; all others are far below


def cheapest_pairs(cost: Array) -> Array:
    """Pairs (P, 2) of a row and a column of `cost` (R, C), in the order of the rows.

    Each row and column is in one pair at most. As many pairs as possible, at the lowest total
    cost, without those of cost _NEVER.
    """
    rows, columns = linear_sum_assignment(cost)
    return np.stack([rows, columns], axis=1)[cost[rows, columns] < _NEVER]


def _read(detections: Detections, rgb: Array | None) -> list[Sighting]:
    """The detections that have an area, with their clothes when there is a picture."""
    boxes = detections.boxes.astype(np.float64)
    turns = np.zeros(len(boxes)) if detections.turns is None else detections.turns
    among = met(boxes, detections.scores)
    return [
        Sighting(
            detections.frame_index,
            box,
            float(score),
            None if rgb is None else clothes_histograms(rgb, box),
            int(turn),
            bool(meets),
        )
        for box, score, turn, meets in zip(boxes, detections.scores, turns, among, strict=True)
        if (box[2:] > box[:2]).all()
    ]


def _covers_a_group(follows: list[Follow], offered: list[Sighting]) -> list[bool]:
    """For each detection whether it is one box around two or more people already followed."""
    if not follows or not offered:
        return [False] * len(offered)
    expected, boxes = _expected_boxes(follows), _boxes(offered)
    shared = shared_areas(expected, boxes)
    inside = shared > GROUP_INSIDE * areas(expected)[:, None]
    filled = (shared * inside).sum(axis=0) > GROUP_FILLED * areas(boxes)
    return list((inside.sum(axis=0) >= 2) & filled)


def _overlap_cost(follows: list[Follow], offered: list[Sighting]) -> Array:
    """1 - IoU (tracks, detections) of expected and detected boxes."""
    return 1 - iou(_expected_boxes(follows), _boxes(offered))


def _expected_boxes(follows: list[Follow]) -> Array:
    """Boxes (F, 4) px where the followed people are expected."""
    return box_corners(np.stack([follow.mean[:, 0] for follow in follows]))


def _boxes(sightings: list[Sighting]) -> Array:
    """Boxes (D, 4) px of the detections."""
    return np.stack([sighting.box for sighting in sightings])


def track_in_one_frame(
    id: int, index: int, box: Array, *, score: float = 1.0, detected: bool = True
) -> Track:
    """A track of the frame `index` alone; box: (4,) x0 y0 x1 y1 px."""
    return Track(
        id=id,
        frame_index=np.array([index]),
        boxes=box[None].astype(np.float32),
        scores=np.array([score], np.float32),
        detected=np.array([detected]),
    )
