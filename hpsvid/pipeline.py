"""The only file that strings the stages together: video -> Motion -> overlay or files.

Pass 1 decodes, detects and tracks; pass 2 decodes again and reads landmarks inside the tracks;
then each track is lifted, solved, placed and smoothed. Pixels are held a chunk at a time.
"""

import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

import hpsvid
from hpsvid.backbone import LIFTERS, Lift
from hpsvid.backbone.blazepose import BlazePose
from hpsvid.body.model import Body
from hpsvid.choices import BackboneName, LifterName, SolverName, WeightsName
from hpsvid.common.records import take_frames
from hpsvid.common.threads import prefetch
from hpsvid.common.weights import imported_source, shipped_hashes
from hpsvid.errors import InputError, NoPersonError
from hpsvid.ik import OFFICIAL, Solver, load_solver
from hpsvid.ik.windows import solve
from hpsvid.motion.camera import guess_camera
from hpsvid.motion.person import make_person, person_betas
from hpsvid.motion.smoothing import steady
from hpsvid.official.hybrik_evidence import HybrIKBackbone, network_name
from hpsvid.render import Renderer
from hpsvid.render.overlay import Overlay
from hpsvid.tracking import Detector, load_detector
from hpsvid.tracking.tracker import MIN_SECONDS, Tracker, select_tracks
from hpsvid.types import Camera, Clip, Frames, Landmarks, Motion, Observations, Person, Track
from hpsvid.video.cuts import CutDetector
from hpsvid.video.reader import read_frames
from hpsvid.video.writer import open_writer

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a motion is made."""

    detector: str = "embedded"
    backbone: BackboneName = "blazepose"
    lifter: LifterName = "geometric"
    solver: SolverName = "niki-temporal"
    weights: WeightsName = "hpsvid"
    fast: bool = False
    focal_px: float | None = None
    person: int | None = None
    max_people: int | None = None
    threads: int | None = None


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


@one_torch_thread()
def make_motion(
    clip: Clip, body: Body, options: Options, clock: StageClock, progress: Progress
) -> Motion:
    """Every person of the clip as a smooth track.

    Raises InputError when the clip cannot be read to its end, NoPersonError when nobody is in
    it, WeightsError when a network's file is missing or damaged.
    """
    check_official(body, options)
    camera = guess_camera(clip, options.focal_px)
    detector = load_detector(options.detector, threads=options.threads)
    lift = LIFTERS[options.lifter]
    solver = load_solver(options.solver, body, options.weights)
    tracks, pts_s = find_people(clip, detector, clock, progress)
    tracks = select_tracks(tracks, person=options.person, max_people=options.max_people)
    if not tracks:
        raise NoPersonError(_nobody(clip, len(pts_s), options))
    evidence, network = read_evidence(clip, tracks, camera, body, options, clock, progress)
    people = []
    for found, seen in zip(tracks, evidence, strict=True):
        trimmed = trim(found, seen, float(clip.fps))
        if trimmed is not None:
            people.append(solve_track(*trimmed, pts_s, body, camera, lift, solver, clock))
    if not people:
        raise NoPersonError(_nobody(clip, len(pts_s), options))
    return Motion(
        clip=clip,
        pts_s=pts_s,
        camera=camera,
        people=tuple(people),
        provenance=provenance(detector, network, solver, body, options),
    )


def provenance(
    detector: Detector,
    backbone: dict[str, str],
    solver: Solver,
    body: Body,
    options: Options,
) -> dict[str, Any]:
    """What a motion is made with; backbone: the landmark network's own provenance."""
    return {
        "hpsvid_version": hpsvid.__version__,
        "detector": detector.provenance,
        "backbone": backbone,
        "lifter": options.lifter if options.backbone == "blazepose" else None,
        "solver": solver.name,
        "weights": _hashes(solver, options),
        "body": {"name": body.name, "sha256": body.sha256},
        "seed": 0,  # nothing in the pipeline is random
    }


def silent(stage: str, done: int, total: int | None) -> None:
    """Progress that nobody is told of."""


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
    network = BlazePose(tracks, threads=options.threads, looks_hz=looks_hz)
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
    network = HybrIKBackbone(tracks, camera, body, fast=options.fast)
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


def _nobody(clip: Clip, frames: int, options: Options) -> str:
    asked = "" if options.person is None else f" with --person {options.person}"
    return (
        f"{clip.path}: no person found{asked} in {frames} frames of {clip.width}x{clip.height} "
        "px; expected at least one person of about 40 px height or more"
    )


def _hashes(solver: Solver, options: Options) -> dict[str, str]:
    """The sha256 of the weights of lifter and solver; of the authors', that of their file."""
    lifter = "lifter" if options.lifter == "learned" and options.backbone == "blazepose" else ""
    if options.weights == "official":
        name = OFFICIAL[solver.name]
        return shipped_hashes(lifter) | {name: imported_source(name)["sha256"]}
    return shipped_hashes(lifter, solver.name.replace("-", "_"))


def check_official(body: Body, options: Options) -> None:
    """Refuse, before any work, to run the authors' networks without a SMPL body or weights.

    Their shapes are SMPL's, which mean nothing on another body, and their twists and rotations
    are about its rest pose: on another the person would come out bent, and nobody would know.
    Raises InputError, WeightsError.
    """
    if body.free and (options.backbone == "hybrik" or options.weights == "official"):
        raise InputError(
            f"body {body.name}: the authors' networks (--backbone hybrik, --weights official) "
            "speak of SMPL's skeleton; give your own SMPL file with --smpl or $HPSVID_SMPL"
        )
    if options.backbone == "hybrik":
        imported_source(network_name(fast=options.fast))


def check_body(result: Motion, body: Body) -> None:
    """Refuse to give a saved motion another body than it was made with.

    Betas of one body say nothing on another. A motion that does not name its body passes.
    Raises InputError.
    """
    made_with = result.provenance.get("body")
    if isinstance(made_with, dict) and made_with.get("sha256") != body.sha256:
        raise InputError(
            f"{result.clip.path}: the result was made with the body {made_with.get('name')}, the "
            f"body chosen now is {body.name}; choose the same one with --smpl or $HPSVID_SMPL"
        )


def keep_people(result: Motion, options: Options) -> Motion:
    """A saved motion with only the people that `options` ask for.

    Raises InputError when there is no such person, NoPersonError when there is nobody at all.
    """
    if not result.people:
        raise NoPersonError(f"{result.clip.path}: the result holds no person; nothing to write")
    kept = select_tracks(
        [person.track for person in result.people],
        person=options.person,
        max_people=options.max_people,
    )
    ids = {found.id for found in kept}
    return replace(result, people=tuple(p for p in result.people if p.track.id in ids))


@one_torch_thread()
def render_overlay(
    result: Motion,
    body: Body,
    out: Path,
    *,
    renderer: Renderer,
    alpha: float,
    clock: StageClock,
    progress: Progress,
) -> None:
    """Draw every person's mesh over the clip and write it to `out`, whole or not at all.

    Raises InputError when the clip no longer matches the motion.
    """
    clip = result.clip
    overlay = Overlay(result, body, renderer, alpha=alpha)
    done = 0
    with closing(clock.read(clip)) as chunks, open_writer(out, clip) as writer:
        for frames in chunks:
            with clock.stage("render", len(frames)):
                pictures = list(overlay.draw(frames))
            with clock.stage("encode", len(frames)):
                for picture, pts in zip(pictures, frames.pts_s, strict=True):
                    writer.write(picture, float(pts))
            done += len(frames)
            progress("render", done, len(result.pts_s))
        if done != len(result.pts_s):
            raise InputError(
                f"{clip.path}: has {done} frames, the motion was made from {len(result.pts_s)}; "
                "give the clip that the motion came from"
            )
