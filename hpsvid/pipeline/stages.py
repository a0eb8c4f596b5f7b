"""The stages that the pipeline strings together: find people, read evidence, solve a track."""

import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from hpsvid.backbone import Lift
from hpsvid.backbone.blazepose import BlazePose
from hpsvid.body.model import Body
from hpsvid.common.records import take_frames
from hpsvid.common.threads import prefetch
from hpsvid.ik import Solver, load_solver
from hpsvid.ik.windows import solve
from hpsvid.motion.person import make_person, person_betas
from hpsvid.motion.smoothing import steady
from hpsvid.official.hybrik_evidence import HybrIKBackbone
from hpsvid.official.niki_network import load_released
from hpsvid.options import Options
from hpsvid.tracking import Detector
from hpsvid.tracking.tracker import MIN_SECONDS, Tracker
from hpsvid.types import Camera, Clip, Frames, Landmarks, Observations, Person, Track
from hpsvid.video.cuts import CutDetector
from hpsvid.video.reader import read_frames

# A track in which the landmark network saw a person in fewer frames than this was a false alarm.
MIN_SEEN_SHARE = 0.2
# People are looked for this often, or in every frame of a slower clip. Of eleven test clips ten
# have the same tracks as with every frame.
DETECTIONS_HZ = 15.0
# The landmark network looks at people this often; what lies between follows from both sides.
# Bodies move at a few Hz and the evidence is smoothed below 5 Hz anyway: poses are as accurate as
# with every frame, and with FAST_LOOKS_HZ within 2.5 mm (docs/measurements.md). The smaller
# network, which takes as long for every frame, is 6 to 18 mm worse.
LOOKS_HZ = 15.0
FAST_LOOKS_HZ = 7.5

Evidence = TypeVar("Evidence", Landmarks, Observations)
Progress = Callable[[str, int, int | None], None]
"""Called as progress(stage, frames done, frames in all or None)."""


@dataclass
class StageClock:
    """Seconds spent in each stage, and the frames it handled."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    frames: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @contextmanager
    def stage(self, name: str, frames: int = 0) -> Iterator[None]:
        """Add the time spent inside the block, and `frames`, to stage `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start
            self.frames[name] += frames

    def read(self, clip: Clip) -> Generator[Frames]:
        """The clip's chunks, decoded one ahead beside the other stages."""
        return prefetch(self._decode(clip))

    def _decode(self, clip: Clip) -> Iterator[Frames]:
        chunks = read_frames(clip)
        while True:
            start = time.perf_counter()
            frames = next(chunks, None)
            self.seconds["decode"] += time.perf_counter() - start
            if frames is None:
                return
            self.frames["decode"] += len(frames)
            yield frames


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run torch on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# Our own tensors are small, and a second thread only makes them wait: on two free cores the
# difference is nil, on a busy machine one thread is ten times as fast.
one_torch_thread = partial(torch_threads, 1)


def silent(stage: str, done: int, total: int | None) -> None:
    """Progress that nobody is told of."""


def load_chosen_solver(body: Body, options: Options) -> Solver:
    """The solver that `options` name, with our weights or its authors'.

    Raises InputError, WeightsError.
    """
    load = load_solver if options.weights == "hpsvid" else load_released
    return load(options.solver, body)


def find_people(
    clip: Clip, detector: Detector, clock: StageClock, progress: Progress
) -> tuple[list[Track], np.ndarray]:
    """Pass 1: all tracks of the clip, and every frame's time (F,) s."""
    every = max(1, round(float(clip.fps) / DETECTIONS_HZ))
    tracker = Tracker(fps=float(clip.fps), every=every, picture=(clip.width, clip.height))
    is_cut = CutDetector()
    times = []
    done = 0
    with closing(clock.read(clip)) as chunks:
        for frames in chunks:
            with clock.stage("track"):
                cuts = np.array([is_cut(rgb) for rgb in frames.rgb])
            looked_at = np.flatnonzero(cuts | (frames.index % every == 0))
            looks = take_frames(frames, looked_at)
            with clock.stage("detect", len(frames)):
                found = detector(looks)
            with clock.stage("track", len(frames)):
                for rgb, cut, detections in zip(looks.rgb, cuts[looked_at], found, strict=True):
                    tracker.update(detections, cut=bool(cut), rgb=rgb)
            times.append(frames.pts_s)
            done += len(frames)
            progress("find people", done, clip.frame_count)
    return tracker.finish(done), np.concatenate(times)


def read_landmarks(
    clip: Clip,
    tracks: list[Track],
    options: Options,
    clock: StageClock,
    progress: Progress,
) -> tuple[list[Landmarks], dict[str, str]]:
    """Pass 2: the landmarks of every track, and the network's provenance."""
    looks_hz = FAST_LOOKS_HZ if options.fast else LOOKS_HZ
    network = BlazePose(
        tracks, fast=options.small_network, threads=options.threads, looks_hz=looks_hz
    )
    _show(network, clip, tracks, clock, progress)
    return network.landmarks(), network.provenance


def read_evidence(
    clip: Clip,
    tracks: list[Track],
    camera: Camera,
    body: Body,
    options: Options,
    clock: StageClock,
    progress: Progress,
) -> tuple[Sequence[Any], dict[str, str]]:
    """Pass 2: every track's Landmarks or, from the authors' networks, Observations at once.

    Returns the network's provenance too.
    """
    if options.backbone == "blazepose":
        return read_landmarks(clip, tracks, options, clock, progress)
    network = HybrIKBackbone(tracks, camera, body, fast=options.small_network)
    with torch_threads(options.threads or os.cpu_count() or 1):
        _show(network, clip, tracks, clock, progress)
    return network.observations(), network.provenance


def _show(
    network: BlazePose | HybrIKBackbone,
    clip: Clip,
    tracks: list[Track],
    clock: StageClock,
    progress: Progress,
) -> None:
    """Let a backbone look at the clip up to the end of the last track."""
    last = max(int(found.frame_index[-1]) for found in tracks)
    done = 0
    with closing(clock.read(clip)) as chunks:
        for frames in chunks:
            with clock.stage("landmarks", len(frames)):
                network.observe(frames)
            done += len(frames)
            progress("read landmarks", done, clip.frame_count)
            if int(frames.index[-1]) >= last:
                break


def trim(found: Track, seen: Evidence, fps: float) -> tuple[Track, Evidence] | None:
    """Cut a track's ends where the network saw nobody; None when it hardly ever saw anybody."""
    hits = np.flatnonzero(seen.valid if isinstance(seen, Observations) else seen.score > 0)
    brief = min(len(found), math.ceil(MIN_SECONDS * fps))  # seen throughout
    if len(hits) < max(brief, MIN_SEEN_SHARE * len(found)):
        return None
    span = slice(int(hits[0]), int(hits[-1]) + 1)
    return take_frames(found, span), take_frames(seen, span)


def solve_track(
    found: Track,
    seen: Landmarks | Observations,
    pts_s: np.ndarray,
    body: Body,
    camera: Camera,
    lift: Lift,
    solver: Solver,
    clock: StageClock,
) -> Person:
    """Lift, smooth, solve and place one track; pts_s: (F,) s of the clip's frames."""
    times = pts_s[found.frame_index]
    with clock.stage("lift", len(found)):
        raw = seen if isinstance(seen, Observations) else lift(seen, times, camera, body)
        obs = steady(raw, times)
    with clock.stage("solve", len(found)), torch.inference_mode():
        betas = person_betas(obs)
        rotmats = solve(obs, times, betas, solver)
    with clock.stage("place", len(found)), torch.inference_mode():
        return make_person(found, obs, rotmats, betas, times, body, camera, raw=raw)
