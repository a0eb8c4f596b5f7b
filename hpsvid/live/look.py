"""What the networks see in the newest frame: people found, followed and looked at."""

from dataclasses import dataclass

import numpy as np

from hpsvid.backbone.blazepose import BlazePose, Look, hull
from hpsvid.backbone.crop import Crop
from hpsvid.backbone.lifting import reader_for
from hpsvid.common.boxes import areas
from hpsvid.options import Options
from hpsvid.tracking import load_detector
from hpsvid.tracking.tracker import PICTURE_SCORE, SURE_SCORE, Tracker, track_in_one_frame
from hpsvid.types import Array, Clip, Frames, Track
from hpsvid.video.cuts import CutDetector

DETECTIONS_HZ = 5.0  # how often the detector runs; the landmark network follows in between
MIN_LOOKS = 2  # of the landmark network before somebody is shown; one may be a false alarm
HOLD_S = 0.5  # how long somebody who is no longer seen keeps the last pose


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spot:
    """One person in one frame."""

    track: Track
    look: Look | None  # None: not seen now
    shown: bool  # whether it is certain enough that this is a person


@dataclass
class _Followed:
    """What is remembered of one person."""

    id: int
    crop: Crop | None = None
    looks: int = 0
    seen_s: float = 0.0


class Looker:
    """Finds and follows people from frame to frame; memory does not grow with time."""

    def __init__(self, clip: Clip, options: Options) -> None:
        """Raises as `load_detector` and `BlazePose` do."""
        self.clip = clip
        self.detector = load_detector(
            options.detector, threads=options.threads, device=options.device
        )
        self.network = BlazePose(
            [],
            fast=options.small_network,
            threads=options.threads,
            device=options.device,
            reader=reader_for(options.lifter_in_use),
        )
        self._max_people = options.max_people
        self._every = max(1, round(float(clip.fps) / DETECTIONS_HZ))
        self._tracker = Tracker(
            fps=float(clip.fps), every=self._every, picture=(clip.width, clip.height)
        )
        self._is_cut = CutDetector()
        self._looked_at: int | None = None
        self._people: dict[int, _Followed] = {}  # by the tracker's numbers
        self._met = 0

    def look(self, rgb: Array, index: int, pts_s: float) -> list[Spot]:
        """Everybody in the next frame; frames may be left out between two calls.

        rgb: (H, W, 3) uint8; index: the frame's number at the nominal rate; pts_s: its time, s.
        """
        self._find(rgb, index, pts_s)
        boxes = self._tracker.following(index)
        # with --max-people whoever is in stays in, then the largest come
        first = sorted(boxes, key=lambda n: (n not in self._people, -areas(boxes[n][None])[0]))
        chosen = sorted(first[: self._max_people])
        for gone in self._people.keys() - chosen:
            del self._people[gone]
        if not chosen:
            return []
        crops = [self._people[n].crop if n in self._people else None for n in chosen]
        looks = self.network.follow(rgb, np.stack([boxes[n] for n in chosen]), crops)
        spots = [
            self._spot(number, look, boxes[number], index, pts_s)
            for number, look in zip(chosen, looks, strict=True)
        ]
        return [spot for spot in spots if spot is not None]

    def _find(self, rgb: Array, index: int, pts_s: float) -> None:
        """Detect and track, at a scene cut or when it is time."""
        cut = self._is_cut(rgb)
        if not cut and self._looked_at is not None and index - self._looked_at < self._every:
            return
        self._looked_at = index
        frames = Frames(rgb=rgb[None], index=np.array([index]), pts_s=np.array([pts_s]))
        (detections,) = self.detector(frames)
        # where nobody is followed, weak detections are tried: the landmark network tells
        sure = SURE_SCORE if self._people else PICTURE_SCORE
        self._tracker.update(detections, cut=cut, rgb=rgb, sure=sure)

    def _spot(
        self, number: int, look: Look | None, box: Array, index: int, pts_s: float
    ) -> Spot | None:
        """One person now; None for somebody who is not, or no longer, there."""
        person = self._people.get(number)
        if look is not None:
            bounds = hull(look, self.clip.width, self.clip.height)
            self._tracker.confirm(number, bounds, index)
            if person is None:
                person = self._people[number] = _Followed(self._met)
                self._met += 1
            person.crop, person.looks, person.seen_s = look.next_crop(), person.looks + 1, pts_s
        elif person is None or person.looks < MIN_LOOKS or pts_s - person.seen_s > HOLD_S:
            self._people.pop(number, None)
            return None
        else:
            person.crop = None
        track = track_in_one_frame(
            person.id, index, box, score=look.score if look else 0, detected=look is not None
        )
        return Spot(track=track, look=look, shown=person.looks >= MIN_LOOKS)
