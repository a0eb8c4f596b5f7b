"""The stages that the pipeline strings together: find people, observe them, solve a track."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from hpsvid.backbone import Backbone
from hpsvid.backbone.dense_maps import DenseBackbone
from hpsvid.backbone.lifting import BlazePoseBackbone
from hpsvid.body.keypoints import People2D
from hpsvid.body.model import Body
from hpsvid.common.records import take_frames
from hpsvid.common.series import bridged
from hpsvid.common.threads import prefetch
from hpsvid.errors import InputError
from hpsvid.ik import Solver, load_solver
from hpsvid.ik.windows import solve
from hpsvid.motion.camera import guess_camera
from hpsvid.motion.person import make_person, person_betas, shape_of
from hpsvid.motion.smoothing import smoothed
from hpsvid.official.hybrik_evidence import HybrIKBackbone
from hpsvid.official.niki_network import load_released
from hpsvid.options import Options
from hpsvid.pipeline.fused import FusedBackbone
from hpsvid.pipeline.store import Store
from hpsvid.tracking import Detector, load_detector
from hpsvid.tracking.given import GivenDetector
from hpsvid.tracking.search import Searcher
from hpsvid.tracking.tracker import MIN_SECONDS, Tracker
from hpsvid.types import Camera, Clip, Frames, Observations, Person, Track
from hpsvid.video.cuts import CutDetector
from hpsvid.video.egomotion import BackgroundWatch, CameraTurn, Steps, camera_turn
from hpsvid.video.reader import read_frames

# A track in which the backbone saw a person in fewer frames than this was a false alarm.
MIN_SEEN_SHARE = 0.2
# People are looked for this often, or in every frame of a slower clip: of eleven test clips ten had
# the same tracks as with every frame. Half as often while one person alone is plainly seen.
DETECTIONS_HZ = 15.0

Progress = Callable[[str, int, int | None], None]
"""Called as progress(stage, frames done, frames in all or None)."""


def silent(stage: str, done: int, total: int | None) -> None:
    """Progress that is shown nowhere."""


@dataclass
class StageClock:
    """Seconds spent in each stage and the frames it handled; shows the progress."""

    progress: Progress = silent
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Context:
    """What all stages need to know of one run over one clip."""

    clip: Clip
    body: Body
    camera: Camera
    options: Options
    clock: StageClock
    store: Store = field(default_factory=Store)  # for `make`; the stages know nothing of it
    people: People2D | None = None  # whom the user gives, in place of the detector
    travels: bool = False  # the camera is carried about


def make_context(
    clip: Clip, body: Body, options: Options, clock: StageClock, store: Store | None = None,
    people: People2D | None = None,
) -> Context:  # fmt: skip
    """The context of a run; its camera is stated by the options or the file, or guessed.

    store: what the run keeps until its output is there; None keeps nothing. people: whom the user
    gives, in place of the detector.
    """
    if people is not None and people.keypoints is not None and options.backbone != "blazepose":
        raise InputError(f"People2D: --backbone {options.backbone} has no use for keypoints")
    camera = guess_camera(clip, options.focal_px)
    return Context(
        clip=clip, body=body, camera=camera, options=options, clock=clock, store=store or Store(),
        people=people,
    )  # fmt: skip


def detector_of(context: Context) -> Detector:
    """What finds the people: the detector that the options name, or whom the user gives."""
    if context.people is not None:
        return GivenDetector(context.people)
    options = context.options
    return load_detector(options.detector, threads=options.threads, device=options.device)


def with_turn(context: Context, steps: Steps) -> tuple[Context, CameraTurn]:
    """How the camera turns, and the context with the focal length that its turning tells."""
    K, source = context.camera.K, context.camera.source
    turn = camera_turn(steps, float(K[0, 0]), focal_known=source != "guessed")
    context = replace(context, travels=turn.parallax)
    if turn.focal_px is None:
        return context, turn
    told = guess_camera(context.clip, turn.focal_px)
    return replace(context, camera=replace(told, source="turning")), turn


def load_chosen_solver(body: Body, options: Options) -> Solver:
    """The solver and weights that the options name. Raises InputError, WeightsError."""
    load = load_solver if options.weights == "hpsvid" else load_released
    return load(options.solver, body)


def find_people(
    clip: Clip, detector: Detector, clock: StageClock, watch: BackgroundWatch | None = None
) -> tuple[list[Track], np.ndarray]:
    """Pass 1: all tracks of the clip, and every frame's time (F,) s; `watch` sees each frame."""
    rate = DETECTIONS_HZ if clip.photos else float(clip.fps)  # photos have no rate of their own
    known = detector.known_frames
    steps = [rate / DETECTIONS_HZ] if known is None else list(np.diff(known)) or [1]
    every = max(1, round(float(np.median(steps))))
    tracker = Tracker(fps=rate, every=every, picture=(clip.width, clip.height))
    is_cut, searcher = CutDetector(clip), Searcher(detector)
    times = []
    done = 0
    with closing(clock.read(clip)) as chunks:
        for frames in chunks:
            with clock.stage("track"):
                cuts = np.array(
                    [is_cut(*frame) for frame in zip(frames.rgb, frames.pts_s, strict=True)]
                )
            due = frames.index % every == 0 if known is None else np.isin(frames.index, known)
            detections = []
            for place in np.flatnonzero(cuts | due):
                cut, index = bool(cuts[place]), int(frames.index[place])
                if not cut and known is None and tracker.may_skip(index):
                    continue
                look = take_frames(frames, slice(place, place + 1))
                with clock.stage("detect"):
                    (people,) = detector(look)
                    detections.append(people)
                    if known is None:
                        missing = partial(tracker.misses, cut=cut)
                        people = searcher.complete(look.rgb[0], people, missing, cut=cut)
                with clock.stage("track"):
                    tracker.update(people, cut=cut, rgb=look.rgb[0])
            for stage in ("detect", "track"):
                clock.frames[stage] += len(frames)
            if watch is not None:
                with clock.stage("background", len(frames)):
                    watch.see(frames, cuts, detections)
            times.append(frames.pts_s)
            done += len(frames)
            clock.progress("find people", done, clip.frame_count)
    return tracker.finish(done), np.concatenate(times)


def load_backbone(tracks: list[Track], context: Context) -> Backbone:
    """The backbone that the options name, for these tracks; WeightsError without its network."""
    loaders = {
        "blazepose": BlazePoseBackbone, "dense": DenseBackbone, "fused": FusedBackbone,
        "hybrik": HybrIKBackbone,
    }  # fmt: skip
    load = loaders[context.options.backbone]
    backbone = load(tracks, context.camera, context.body, context.options)
    if isinstance(backbone, BlazePoseBackbone) and context.people is not None:
        backbone.people = context.people
    return backbone


def observe_people(tracks: list[Track], backbone: Backbone, context: Context) -> list[Observations]:
    """Pass 2: what the backbone sees of each track."""
    clip, clock = context.clip, context.clock
    last = max(int(track.frame_index[-1]) for track in tracks)
    done = 0
    with closing(clock.read(clip)) as chunks:
        for frames in chunks:
            with clock.stage("landmarks", len(frames)):
                backbone.observe(frames)
            done += len(frames)
            clock.progress("read landmarks", done, clip.frame_count)
            if int(frames.index[-1]) >= last:
                break
    with clock.stage("lift"):
        return backbone.observations()


def trim(track: Track, obs: Observations, fps: float) -> tuple[Track, Observations] | None:
    """Cut both where the person was first and last seen; None for hardly any sight of a person."""
    hits = obs.frame_index[obs.valid]
    brief = min(len(track), math.ceil(MIN_SECONDS * fps))  # seen throughout
    if len(hits) < max(brief, MIN_SEEN_SHARE * len(track)):
        return None
    of_track, of_obs = (
        (frames >= hits[0]) & (frames <= hits[-1])
        for frames in (track.frame_index, obs.frame_index)
    )
    return take_frames(track, of_track), take_frames(obs, of_obs)


def solve_track(
    track: Track, obs: Observations, pts_s: np.ndarray, solver: Solver, context: Context
) -> Person:
    """Smooth, solve and place one track; pts_s: (F,) s of the clip's frames."""
    clock = context.clock
    times = bridged(pts_s[track.frame_index])
    with clock.stage("lift", len(track)):
        evidence = smoothed(obs, times, carried=context.travels)
    with clock.stage("solve", len(track)), torch.inference_mode():
        rotmats = solve(evidence.obs, times, person_betas(evidence.obs), solver)
        betas = shape_of(evidence.obs, context.options, context.body)
    with clock.stage("place", len(track)), torch.inference_mode():
        return make_person(track, evidence, rotmats, betas, context.body, context.camera)
