"""Everybody's pose now from what was seen up to now.

Each frame worked on ends a window of a person's last frames, which is lifted, smoothed and solved
as a clip that ends there; its last pose counts. Nothing waits for a later frame.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from hpsvid.backbone.blazepose import Look
from hpsvid.backbone.flips import unflip
from hpsvid.backbone.landmarks import Landmarks
from hpsvid.backbone.lifting import LIFTERS
from hpsvid.body.model import Body
from hpsvid.body.people import whole_shape
from hpsvid.common.records import concatenate, take_frames
from hpsvid.common.series import RATE_HZ, at_times
from hpsvid.ik import Solver, windows
from hpsvid.ik.networks import NikiSolver
from hpsvid.live.look import Looker, Spot
from hpsvid.motion.camera import guess_camera
from hpsvid.motion.person import person_betas, with_joints
from hpsvid.motion.placing import place, refine
from hpsvid.motion.smoothing import FILLED_WEIGHT, smooth_path, steady_so_far
from hpsvid.options import Options
from hpsvid.pipeline.make import provenance
from hpsvid.pipeline.stages import load_chosen_solver
from hpsvid.types import (
    N_BETAS,
    N_LANDMARKS,
    Array,
    BodyParams,
    Motion,
    Observations,
    Person,
    Track,
    Window,
)

WINDOW_FRAMES = 32  # as many as the temporal model is trained on


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sight:
    """One person in one frame."""

    track: Track
    raw: Observations  # as it was seen; not valid where the last pose is held
    params: BodyParams


Kept = tuple[float, Sequence[Sight]]
"""A frame's time, s, and everybody in it: some 5 kB a person."""


@dataclass(eq=False)
class _Past:
    """What is remembered of one person."""

    landmarks: deque[Landmarks] = field(default_factory=lambda: deque(maxlen=WINDOW_FRAMES))
    pts_s: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW_FRAMES))
    path: deque[Array] = field(default_factory=lambda: deque(maxlen=WINDOW_FRAMES))  # pelvis, m
    betas: Array = field(default_factory=lambda: np.zeros(N_BETAS, np.float32))
    looks: int = 0
    last: Sight | None = None


class Poser:
    """Solves what a `Looker` saw; memory does not grow with time."""

    def __init__(self, looker: Looker, body: Body, options: Options) -> None:
        """Raises as `load_chosen_solver` and `guess_camera` do."""
        self.clip = looker.clip
        self.body = body
        self.camera = guess_camera(looker.clip, options.focal_px)
        self._lift = LIFTERS[options.lifter_in_use]
        self._solver = load_chosen_solver(body, options)
        self._past: dict[int, _Past] = {}
        self.provenance = provenance(
            looker.detector, looker.network.provenance, self._solver, body, options
        )

    def pose(self, spots: Sequence[Spot], pts_s: float) -> list[Sight]:
        """Those of `spots`, all people of the frame at pts_s (s), that are to be shown."""
        for gone in self._past.keys() - {spot.track.id for spot in spots}:
            del self._past[gone]
        looked = [(spot.track, spot.look) for spot in spots if spot.look is not None]
        for track, look in looked:
            past = self._past.setdefault(track.id, _Past())
            past.landmarks.append(_landmarks(track, look))
            past.pts_s.append(pts_s)
        solved = self._solve([self._past[track.id] for track, _ in looked]) if looked else []
        for (track, _), (raw, params) in zip(looked, solved, strict=True):
            self._past[track.id].last = Sight(track=track, raw=raw, params=params)
        sights = []
        for spot in spots:
            last = self._past[spot.track.id].last
            assert last is not None  # a spot without a look comes after one with it
            if spot.look is None:
                held = replace(last.raw, valid=np.array([False]))
                last = Sight(track=spot.track, raw=held, params=last.params)
            if spot.shown:
                sights.append(last)
        return sights

    def _read(self, past: _Past) -> tuple[Observations, Observations]:
        """The last frame's evidence as seen, and the window's made steady; the shape settles."""
        pts_s = np.array(past.pts_s)
        raw = self._lift(unflip(concatenate(past.landmarks), pts_s), pts_s, self.camera, self.body)
        obs = steady_so_far(raw, pts_s)
        past.looks += 1
        past.betas = past.betas + (person_betas(obs) - past.betas) / past.looks
        # by a list of places, which copies: a slice would keep the whole window in memory
        return take_frames(raw, np.array([-1])), obs

    @torch.inference_mode()
    def _solve(self, people: Sequence[_Past]) -> list[tuple[Observations, BodyParams]]:
        """The last frame of each person's window: its evidence as seen, and its pose."""
        raws, steady = zip(*(self._read(past) for past in people), strict=True)
        now = [take_frames(obs, slice(-1, None)) for obs in steady]
        seen = np.stack([past.betas for past in people])
        betas = np.stack([whole_shape(of_one, self.body) for of_one in seen])
        if self._solver.window_length is None:
            split = [next(windows.split(last, None)) for last in now]
        else:
            times = [np.array(past.pts_s) for past in people]
            even = map(_at_model_rate, steady, times)
            split = [next(windows.split(obs, WINDOW_FRAMES)) for obs in even]
        rotmats = newest_rotations(self._solver, split, seen)
        placed = [
            place(self.body, rotmats[i : i + 1], betas[i], now[i], self.camera)
            for i in range(len(people))
        ]
        rotmats, transl = refine(
            self.body, rotmats, betas, np.concatenate(placed), concatenate(now), self.camera
        )
        pelvis = self.body.rest_joints(torch.from_numpy(betas)).numpy()[:, 0]
        params = []
        for i, past in enumerate(people):
            past.path.append(transl[i] + pelvis[i])
            visible = steady[i].landmarks2d[..., 2].mean(1).clip(FILLED_WEIGHT, 1)
            # the end of the zero-phase path lags behind no steady walk
            path = smooth_path(np.stack(past.path), visible, np.array(past.pts_s))
            params.append(
                BodyParams(rotmats=rotmats[i : i + 1], betas=betas[i], transl=path[-1:] - pelvis[i])
            )
        return list(zip(raws, params, strict=True))

    def as_motion(self, kept: Sequence[Kept]) -> Motion:
        """The frames that were worked on, and only those, as a motion of so many frames."""
        people: dict[int, list[tuple[int, Sight]]] = {}
        for frame, (_, sights) in enumerate(kept):
            for sight in sights:
                people.setdefault(sight.track.id, []).append((frame, sight))
        return Motion(
            clip=self.clip,
            pts_s=np.array([pts_s for pts_s, _ in kept], np.float64),
            camera=self.camera,
            people=tuple(self._person(placed) for _, placed in sorted(people.items())),
            provenance=self.provenance,
        )

    def _person(self, placed: Sequence[tuple[int, Sight]]) -> Person:
        sights = [sight for _, sight in placed]
        params = BodyParams(
            rotmats=np.concatenate([sight.params.rotmats for sight in sights]),
            betas=sights[-1].params.betas,
            transl=np.concatenate([sight.params.transl for sight in sights]),
        )
        # the tracks' frames count what was captured; a motion's, what was worked on
        tracks = [replace(sight.track, frame_index=np.array([place])) for place, sight in placed]
        with torch.inference_mode():
            return with_joints(
                concatenate(tracks),
                concatenate([sight.raw for sight in sights]),
                params,
                self.body,
                self.camera,
            )


def newest_rotations(solver: Solver, split: Sequence[Window], betas: Array) -> Array:
    """Rotations (P, 24, 3, 3) of the last valid frame of a window of each of P people.

    betas: (P, 10).
    """
    if isinstance(solver, NikiSolver):
        return solver.newest(split, betas)
    solved = [solver(window, shape) for window, shape in zip(split, betas, strict=True)]
    lasts = [part.rotmats[window.valid][-1] for part, window in zip(solved, split, strict=True)]
    return np.stack(lasts)


def _at_model_rate(obs: Observations, pts_s: Array) -> Observations:
    """The last of a window at windows.RATE_HZ, ending with it: a slow machine leaves frames out.

    On the studio walk at 5 fps this takes the position error from 105 to 94 mm.
    """
    length = min(WINDOW_FRAMES, 1 + int((pts_s[-1] - pts_s[0]) * RATE_HZ + 1e-6))
    return at_times(obs, pts_s, pts_s[-1] - np.arange(length)[::-1] / RATE_HZ)


def _landmarks(track: Track, look: Look) -> Landmarks:
    return Landmarks(
        track_id=track.id,
        frame_index=track.frame_index,
        image=look.image[None, :N_LANDMARKS].astype(np.float32),
        world=look.world[None].astype(np.float32),
        visibility=look.visibility[None].astype(np.float32),
        presence=look.presence[None].astype(np.float32),
        score=np.array([look.score], np.float32),
        lean=None if look.inner is None else np.array([look.crop.angle], np.float32),
        inner=None if look.inner is None else look.inner[None].astype(np.float16),
    )
