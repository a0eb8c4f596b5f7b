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
from collections.abc import Callable
from dataclasses import replace

import lap
import numpy as np

from hpsvid.common.boxes import areas, shared_areas
from hpsvid.errors import InputError
from hpsvid.tracking.follow import (
    Follow,
    Sighting,
    box_corners,
    clothes_distances,
    clothes_histograms,
    observe,
    predict,
    start_follow,
)
from hpsvid.types import Array, Detections, Track

SURE_SCORE = 0.35  # detections from here on start tracks and take part in the first rounds
PICTURE_SCORE = 0.15  # the same where all there is is one picture, and nobody in it is sure
PERSON_SCORE = 0.5  # what a finished track must have reached in MIN_SECONDS of its frames
MIN_IOU_SURE = 0.2  # ByteTrack's gates
MIN_IOU_WEAK = 0.5
BRIEF_S = 0.2  # a gap that a weak or distant detection may end
FASTEST = 6.0  # heights/s; a sprinter covers 10 m/s
MAX_REACH = 1.0  # heights; the distance round's limits after a brief gap
LONG_REACH = 0.5  # and after a long one, when the expected place is vague
MAX_SIZE_CHANGE = 1.6  # ratio of heights that the distance round accepts

# One box around several people: each lies inside it by this share, together they fill it so far.
GROUP_INSIDE = 0.7
GROUP_FILLED = 0.6

# Clothes: colour histograms of the upper and lower half of a box's middle.
CLOTHES_WEIGHT = 0.5  # of their distance (0..1) beside 1 - IoU
MAX_CLOTHES = 0.6  # distance from which somebody seen again after a long gap is somebody else

MIN_SECONDS = 0.25  # of detections, or of sight, before somebody counts
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

        every: detections come for each so manieth frame, and for the first frame of a shot.
        picture: width and height, px; with it, who walks out is not taken for the next to enter.
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
        self._started = itertools.count()
        self._done: list[Track] = []
        self._doubtful: list[Track] = []
        self._weak: list[Sighting] = []  # of the last frame
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
        """Take the next frame looked at; with `cut` nobody seen before is followed into it.

        rgb: (H, W, 3) uint8, the frame; with it people who cross are told apart by their clothes.
        sure: score from which a detection starts a track.
        """
        if detections.frame_index <= self._now:
            raise ValueError(f"frame {detections.frame_index} comes after frame {self._now}")
        if cut:
            self._end_shot(detections.frame_index)
        last, self._now = self._now, detections.frame_index
        step = (self._now - last) / self._fps if self._active else 0.0
        # a live stream may leave more out than `every`: one look missed is brief all the same
        self._brief = max(BRIEF_S, self._every / self._fps, step) + 1e-9
        kept = []
        for follow in self._active:
            predict(follow, step, lost=follow.seen[-1].frame < last)
            if self._has_ended(follow):
                self._close(follow, self._now + 1)
            else:
                kept.append(follow)
        self._active = kept
        self._associate(_read(detections, rgb), sure)

    def finish(self, frames: int) -> list[Track]:
        """All tracks of a clip of `frames` frames, false alarms left out, by first appearance.

        Numbered from 0. A track begins and ends where the person may have been between two looks.
        Of people who appear in the same frame the larger comes first. Where nobody was surely a
        person, those who may be one are returned, in a single picture the weak detections, too:
        whoever looks closer at them can tell.
        """
        weak = [seen for seen in self._weak if frames == 1 and seen.score >= PICTURE_SCORE]
        maybe = [self._gap_free(start_follow(seen, next(self._started)), 1) for seen in weak]
        self._end_shot(frames)
        kept = self._done or self._doubtful or maybe
        kept.sort(key=lambda track: (track.frame_index[0], -areas(track.boxes)[0]))
        return [replace(track, id=k) for k, track in enumerate(kept)]

    def following(self, frame_index: int) -> dict[int, Array]:
        """Who may be a person now, for a stream without end: a lasting number -> box (4,) px.

        Boxes are where they are expected in frame `frame_index`, at or after the last update's.
        Whoever looks closer at them can tell, and should `confirm`. Finished tracks and all but
        the last look are let go of, so memory does not grow and `finish` knows nobody.
        """
        self._done, self._doubtful = [], []
        ahead = np.array([1, (frame_index - self._now) / self._fps])
        found = {}
        for follow in self._active:
            follow.seen = follow.seen[-1:]
            (found[follow.number],) = box_corners((follow.mean @ ahead)[None])
        return found

    def confirm(self, number: int, box: Array, frame_index: int) -> None:
        """Take another network's word that whom `following` calls `number` is a person.

        box: (4,) px, where it sees them in frame `frame_index`; where the last update's detections
        missed them, they are followed there.
        """
        for follow in self._active:
            if follow.number != number:
                continue
            follow.best_score = max(follow.best_score, PERSON_SCORE)
            if follow.seen[-1].frame < self._now:
                moved = follow.mean[:2, 1] * (frame_index - self._now) / self._fps
                follow.mean[:2, 0] = (box[:2] + box[2:]) / 2 - moved
                follow.seen = [replace(follow.seen[-1], frame=self._now)]

    def _has_ended(self, follow: Follow) -> bool:
        unseen = self._unseen_s(follow) - self._every / self._fps
        centre = follow.mean[:2, 0]
        outside = self._picture and ((centre < 0) | (centre > self._picture)).any()
        return unseen > self._max_gap + 1e-9 or bool(outside and unseen > 1e-9)

    def _unseen_s(self, follow: Follow) -> float:
        return (self._now - follow.seen[-1].frame) / self._fps

    def _associate(self, found: list[Sighting], limit: float) -> None:
        """Three rounds; then the sure detections that nobody took start tracks."""
        sure = [seen for seen in found if seen.score >= limit]
        weak = self._weak = [seen for seen in found if seen.score < limit]
        # Weak boxes, and tracks that may yet be no person, bridge no long gaps.
        people = [f for f in self._active if f.best_score >= PERSON_SCORE]
        recent = [f for f in self._active if self._unseen_s(f) <= self._brief]
        lost, sure = self._match(people, sure, _overlap_cost, 1 - MIN_IOU_SURE)
        lost, sure = self._match(lost, sure, self._distance_cost, 1.0)
        lost = [f for f in lost if f in recent]
        self._match(lost, weak, _overlap_cost, 1 - MIN_IOU_WEAK)
        others = [f for f in recent if f not in people]
        _, sure = self._match(others, sure, _overlap_cost, 1 - MIN_IOU_WEAK)
        groups = _covers_a_group(people, sure)
        self._active += [
            start_follow(seen, next(self._started))
            for seen, group in zip(sure, groups, strict=True)
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
        _, column_of, row_of = lap.lapjv(total, extend_cost=True, cost_limit=_NEVER / 2)
        for follow, column in zip(follows, column_of, strict=True):
            if column >= 0:
                observe(follow, offered[column])
        left = [follow for follow, column in zip(follows, column_of, strict=True) if column < 0]
        return left, [seen for seen, row in zip(offered, row_of, strict=True) if row < 0]

    def _distance_cost(self, follows: list[Follow], offered: list[Sighting]) -> Array:
        """Distance of the centres as a share of what a person can cover."""
        expected = np.stack([follow.mean[:, 0] for follow in follows])[:, None]
        found = np.stack([seen.centre_size for seen in offered])[None]
        tall = np.maximum(expected[..., 3], found[..., 3])
        low = np.minimum(expected[..., 3], found[..., 3])
        unseen = np.array([[self._unseen_s(follow)] for follow in follows])
        limit = np.where(unseen <= self._brief, MAX_REACH, LONG_REACH)
        reach = np.minimum(FASTEST * unseen, limit) * tall
        distance = np.linalg.norm(expected[..., :2] - found[..., :2], axis=-1) / reach
        return np.where(tall <= MAX_SIZE_CHANGE * low, distance, _NEVER)

    def _end_shot(self, end: int) -> None:
        """End every track; frame `end` belongs to the next shot."""
        for follow in self._active:
            self._close(follow, end)
        self._active = []
        self._shot_start = end

    def _close(self, follow: Follow, end: int) -> None:
        """Keep a finished track if enough of it was surely a person, or may have been one."""
        scores = np.array([seen.score for seen in follow.seen])
        share = np.mean(scores >= SURE_SCORE)
        needed = math.ceil(MIN_SECONDS * self._fps / self._every)
        looks = math.ceil((end - self._shot_start) / self._every)
        if looks < needed:  # an image or a very short shot: no time to make sure
            known = 2 * len(scores) >= looks
        else:
            known = np.sum(scores >= PERSON_SCORE) >= needed
        if share >= MIN_SURE_SHARE and known:
            self._done.append(self._gap_free(follow, end))
        elif share >= MIN_SURE_SHARE and len(scores) >= needed:
            self._doubtful.append(self._gap_free(follow, end))

    def _gap_free(self, follow: Follow, end: int) -> Track:
        """The track with a box for each frame, those between detections on straight lines.

        Frames up to the looks before and after are in it, where the person may have been.
        """
        seen = np.array([seen.frame for seen in follow.seen])
        first = max(seen[0] - self._every + 1, self._shot_start)
        frames = np.arange(first, min(seen[-1] + self._every, end))
        boxes = np.stack([seen.box for seen in follow.seen])
        scores = np.zeros(len(frames), np.float32)
        scores[seen - first] = [seen.score for seen in follow.seen]
        return Track(
            id=-1,
            frame_index=frames,
            boxes=np.stack([np.interp(frames, seen, side) for side in boxes.T], axis=1).astype(
                np.float32
            ),
            scores=scores,
            detected=np.isin(frames, seen),
        )


_NEVER = 1e6  # a cost above every limit


def _read(detections: Detections, rgb: Array | None) -> list[Sighting]:
    """The detections that have an area, with their clothes when there is a picture."""
    boxes = detections.boxes.astype(np.float64)
    return [
        Sighting(
            detections.frame_index,
            box,
            float(score),
            None if rgb is None else clothes_histograms(rgb, box),
        )
        for box, score in zip(boxes, detections.scores, strict=True)
        if (box[2:] > box[:2]).all()
    ]


def _covers_a_group(follows: list[Follow], offered: list[Sighting]) -> list[bool]:
    """For each detection whether it is one box around two or more people already followed."""
    if not follows or not offered:
        return [False] * len(offered)
    expected, boxes, shared = _expected_and_found(follows, offered)
    inside = shared > GROUP_INSIDE * areas(expected)[:, None]
    filled = (shared * inside).sum(axis=0) > GROUP_FILLED * areas(boxes)
    return list((inside.sum(axis=0) >= 2) & filled)


def _overlap_cost(follows: list[Follow], offered: list[Sighting]) -> Array:
    """1 - IoU of expected and found boxes."""
    expected, boxes, shared = _expected_and_found(follows, offered)
    return 1 - shared / (areas(expected)[:, None] + areas(boxes) - shared)


def _expected_and_found(
    follows: list[Follow], offered: list[Sighting]
) -> tuple[Array, Array, Array]:
    """Expected boxes (F, 4), found boxes (D, 4) and the areas that they share (F, D), px."""
    expected = box_corners(np.stack([follow.mean[:, 0] for follow in follows]))
    boxes = np.stack([seen.box for seen in offered])
    return expected, boxes, shared_areas(expected, boxes)
