"""People before a running camera, now: only the newest frame, and of time only what is past.

A thread captures and keeps the newest frame alone, so a slow machine shows fewer frames and never
older ones. Each frame worked on ends a window of the last frames, which is lifted, smoothed and
solved as a clip that ends there; its last pose is shown. Nothing waits for a later frame.
"""

import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import torch

from hpsvid import detect, ik, motion, pipeline, smoothing, track, video, windows
from hpsvid.backbone import LIFTERS, BlazePose
from hpsvid.backbone.blazepose import Look, unflip
from hpsvid.backbone.crop import Crop
from hpsvid.body import Body
from hpsvid.boxes import areas
from hpsvid.errors import DependencyError, InputError
from hpsvid.live_page import Numbers, Picture, serving
from hpsvid.newest import Newest
from hpsvid.render import Renderer
from hpsvid.render.overlay import Overlay
from hpsvid.types import (
    N_BETAS,
    N_LANDMARKS,
    Array,
    BodyParams,
    Clip,
    Frames,
    Landmarks,
    Motion,
    Observations,
    PerFrame,
    Person,
    Track,
    take_frames,
)

LOOKS_HZ = 5.0  # how often people are looked for; the landmark network follows them in between
WINDOW_FRAMES = 32  # as many as the temporal model is trained on
MIN_LOOKS = 2  # of the landmark network before somebody is shown; one may be a false alarm
HOLD_S = 0.5  # how long somebody who is no longer seen keeps the last pose
FALLBACK_FPS = 30  # of a camera that does not say, or says nonsense
MAX_FPS = 240
OPEN_TIMEOUT_MS = 10_000  # of a network stream
END_TIMEOUT_S = 2.0  # how long a capture that hangs is waited for at the end
WAIT_S = 0.2  # between two looks at the clock while no frame comes
RECENT = 300  # frames that latency and rate are told of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shot:
    """One captured frame."""

    rgb: Array  # (H, W, 3) uint8
    index: int  # counted from the first captured
    pts_s: float  # the first's is 0
    captured_s: float  # when it was handed over, time.monotonic()


# ---- capture


def open_source(source: str) -> tuple[Clip, Generator[Shot]]:
    """What `source` says of itself, and its frames as they come.

    source: a camera's number, the address of a stream, or a file or folder, which is shown at its
    own pace. Raises InputError when it cannot be opened.
    """
    if source.isdecimal() or "://" in source:
        return _open_camera(source)
    clip = video.probe(Path(source))
    return clip, _paced(clip)


def _paced(clip: Clip) -> Generator[Shot]:
    start = None  # the first frame's, which takes a while to come
    for frames in video.read_frames(clip, chunk=1):
        pts_s = float(frames.pts_s[0])
        start = start or time.monotonic()
        time.sleep(max(0.0, start + pts_s - time.monotonic()))
        yield Shot(
            rgb=frames.rgb[0], index=int(frames.index[0]), pts_s=pts_s, captured_s=time.monotonic()
        )


def _open_camera(source: str) -> tuple[Clip, Generator[Shot]]:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # we say it in one line ourselves
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if source.isdecimal():
        name, hint = f"camera {source}", "is it there (ls /dev/video*), free, and may you read it?"
        camera = cv2.VideoCapture(int(source))
    else:
        address = urlsplit(source)
        host = address.netloc.rpartition("@")[2]  # without a password
        name = f"{address.scheme}://{host}{address.path}"
        hint = "is the address right, and does the stream play with ffplay?"
        wait = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS]
        camera = cv2.VideoCapture(source, cv2.CAP_FFMPEG, wait)
    taken, bgr = camera.read()
    if not taken:
        camera.release()
        raise InputError(f"{name}: no picture comes; {hint}")
    fps = camera.get(cv2.CAP_PROP_FPS)
    if not 1 <= fps <= MAX_FPS:
        fps = FALLBACK_FPS
    height, width = bgr.shape[:2]
    clip = Clip(
        path=Path(name.replace("://", "_")), width=width, height=height, rotation=0, audio=False,
        fps=Fraction(fps).limit_denominator(1001), frame_count=None,
    )  # fmt: skip
    return clip, _taken(camera, float(clip.fps), bgr)


def _taken(camera: cv2.VideoCapture, fps: float, bgr: Array) -> Generator[Shot]:
    """The camera's frames by the clock: dim light makes many slower than they say."""
    start, index, taken = time.monotonic(), 0, True
    try:
        while taken:
            now = time.monotonic()
            rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            yield Shot(rgb=rgb, index=index, pts_s=now - start, captured_s=now)
            taken, bgr = camera.read()
            index = max(index + 1, round((time.monotonic() - start) * fps))
    finally:
        camera.release()


@contextmanager
def capturing(shots: Generator[Shot]) -> Iterator[Newest[Shot]]:
    """The newest of `shots`, taken in a thread of their own, which ends with the block."""
    newest: Newest[Shot] = Newest()
    stopped = threading.Event()

    def work() -> None:
        try:
            with closing(shots):
                for shot in shots:
                    if stopped.is_set():
                        break
                    newest.put(shot)
            newest.close()
        except BaseException as error:  # whoever takes the frames gets to see it
            newest.close(error)

    thread = threading.Thread(target=work, name="capture", daemon=True)
    thread.start()
    try:
        yield newest
    finally:
        stopped.set()
        thread.join(END_TIMEOUT_S)


# ---- people


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sight:
    """One person in one frame."""

    track: Track
    raw: Observations  # as it was seen; not valid where the last pose is held
    params: BodyParams


Kept = tuple[float, Sequence[Sight]]
"""A frame's time, s, and everybody in it: some 5 kB a person."""


@dataclass(eq=False)
class _Followed:
    """What is remembered of one person."""

    id: int
    seen: deque[Landmarks] = field(default_factory=lambda: deque(maxlen=WINDOW_FRAMES))
    pts_s: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW_FRAMES))
    path: deque[Array] = field(default_factory=lambda: deque(maxlen=WINDOW_FRAMES))  # pelvis, m
    betas: Array = field(default_factory=lambda: np.zeros(N_BETAS, np.float32))
    looks: int = 0
    crop: Crop | None = None
    last: Sight | None = None


class Follower:
    """Everybody's pose in each frame from the frames up to it; memory does not grow with time."""

    def __init__(self, clip: Clip, body: Body, options: pipeline.Options) -> None:
        """Raises as `pipeline.make_motion` does for options and weights."""
        self.clip = clip
        self.body = body
        self.camera = motion.guess_camera(clip, options.focal_px)
        self._options = options
        self._detector = detect.load_detector(options.detector, threads=options.threads)
        self._network = BlazePose([], fast=options.fast, threads=options.threads)
        self._lift = LIFTERS[options.lifter]
        self._solver = ik.load_solver(options.solver, body, options.weights)
        self._every = max(1, round(float(clip.fps) / LOOKS_HZ))
        self._tracker = track.Tracker(
            fps=float(clip.fps), every=self._every, picture=(clip.width, clip.height)
        )
        self._is_cut = track.CutDetector()
        self._looked_at: int | None = None
        self._people: dict[int, _Followed] = {}  # by the tracker's numbers
        self._met = 0
        self.provenance = pipeline.provenance(
            self._detector, self._network.provenance, self._solver, body, options
        )

    def observe(self, rgb: Array, index: int, pts_s: float) -> list[Sight]:
        """Everybody in the next frame; frames may be left out between two calls.

        rgb: (H, W, 3) uint8; index: the frame's number at the nominal rate; pts_s: its time, s.
        """
        self._look(rgb, index, pts_s)
        boxes = self._tracker.following(index)
        # with --max-people whoever is in stays in, then the largest come
        first = sorted(boxes, key=lambda n: (n not in self._people, -areas(boxes[n][None])[0]))
        chosen = sorted(first[: self._options.max_people])
        for gone in self._people.keys() - chosen:
            del self._people[gone]
        if not chosen:
            return []
        crops = [self._people[n].crop if n in self._people else None for n in chosen]
        looks = self._network.follow(rgb, np.stack([boxes[n] for n in chosen]), crops)
        sights = []
        for number, look in zip(chosen, looks, strict=True):
            sight = self._sight(number, look, boxes[number], index, pts_s)
            if sight is not None:
                sights.append(sight)
        return sights

    def _look(self, rgb: Array, index: int, pts_s: float) -> None:
        """Detect and track, at a scene cut or when it is time."""
        cut = self._is_cut(rgb)
        if not cut and self._looked_at is not None and index - self._looked_at < self._every:
            return
        self._looked_at = index
        frames = Frames(rgb=rgb[None], index=np.array([index]), pts_s=np.array([pts_s]))
        (found,) = self._detector(frames)
        self._tracker.update(found, cut=cut, rgb=rgb)

    def _sight(
        self, number: int, look: Look | None, box: Array, index: int, pts_s: float
    ) -> Sight | None:
        """One person now; None for somebody who is not, or no longer, seen."""
        one = self._people.get(number)
        if look is None:
            if (
                one is None
                or one.last is None
                or one.looks < MIN_LOOKS
                or pts_s - one.pts_s[-1] > HOLD_S
            ):
                self._people.pop(number, None)
                return None
            one.crop = None
            held = replace(one.last.raw, valid=np.array([False]))
            return Sight(track=_track(one.id, index, box, None), raw=held, params=one.last.params)
        self._tracker.confirm(number)
        if one is None:
            one = self._people[number] = _Followed(self._met)
            self._met += 1
        one.crop = look.next_crop()
        one.seen.append(_landmarks(one.id, look, index))
        one.pts_s.append(pts_s)
        raw, params = self._solve(one)
        one.last = Sight(track=_track(one.id, index, box, look), raw=raw, params=params)
        return one.last if one.looks >= MIN_LOOKS else None

    def _solve(self, one: _Followed) -> tuple[Observations, BodyParams]:
        """The last frame of one person's window: its evidence as seen, and its pose."""
        pts_s = np.array(one.pts_s)
        raw = self._lift(unflip(_joined(one.seen), pts_s), pts_s, self.camera, self.body)
        obs = smoothing.steady_so_far(raw, pts_s)
        one.looks += 1
        one.betas = one.betas + (motion.person_betas(obs) - one.betas) / one.looks
        now = take_frames(obs, slice(-1, None))
        with torch.inference_mode():
            if self._solver.window_length is None:
                (window,) = windows.split(now, None)
            else:
                (window,) = windows.split(_at_model_rate(obs, pts_s), WINDOW_FRAMES)
            solved = self._solver(window, one.betas).rotmats[window.valid][-1:]
            transl, _ = motion.place(self.body, solved, one.betas, now, self.camera)
            rotmats, transl = motion.refine(self.body, solved, one.betas, transl, now, self.camera)
            pelvis = self.body.rest_joints(torch.from_numpy(one.betas)).numpy()[0]
        one.path.append(transl[0] + pelvis)
        seen = obs.landmarks2d[..., 2].mean(1).clip(smoothing.FILLED_WEIGHT, 1)
        # the end of the zero-phase path lags behind no steady walk
        path = smoothing.smooth_path(np.stack(one.path), seen, pts_s)
        params = BodyParams(rotmats=rotmats, betas=one.betas, transl=path[-1:] - pelvis)
        # by a list of places, which copies: a slice would keep the whole window in memory
        return take_frames(raw, np.array([-1])), params

    def as_motion(self, kept: Sequence[Kept]) -> Motion:
        """The frames that were worked on, and only those, as a motion of so many frames."""
        people: dict[int, list[tuple[int, Sight]]] = {}
        for place, (_, sights) in enumerate(kept):
            for sight in sights:
                people.setdefault(sight.track.id, []).append((place, sight))
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
        found = [replace(sight.track, frame_index=np.array([place])) for place, sight in placed]
        with torch.inference_mode():
            return motion.with_joints(
                _joined(found),
                _joined([sight.raw for sight in sights]),
                params,
                self.body,
                self.camera,
            )


def _joined(parts: Sequence[PerFrame]) -> PerFrame:
    """Records of single frames as one of many."""
    last = parts[-1]
    names = [f.name for f in fields(last) if isinstance(getattr(last, f.name), np.ndarray)]
    return replace(last, **{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


def _at_model_rate(obs: Observations, pts_s: Array) -> Observations:
    """The last of a window at windows.RATE_HZ, ending with it: a slow machine leaves frames out.

    On the studio walk at 5 fps this takes the position error from 105 to 94 mm.
    """
    length = min(WINDOW_FRAMES, 1 + int((pts_s[-1] - pts_s[0]) * windows.RATE_HZ + 1e-6))
    return smoothing.at_times(obs, pts_s, pts_s[-1] - np.arange(length)[::-1] / windows.RATE_HZ)


def _landmarks(identity: int, look: Look, index: int) -> Landmarks:
    return Landmarks(
        track_id=identity,
        frame_index=np.array([index]),
        image=look.image[None, :N_LANDMARKS].astype(np.float32),
        world=look.world[None].astype(np.float32),
        visibility=look.visibility[None].astype(np.float32),
        presence=look.presence[None].astype(np.float32),
        score=np.array([look.score], np.float32),
    )


def _track(identity: int, index: int, box: Array, look: Look | None) -> Track:
    return Track(
        id=identity,
        frame_index=np.array([index]),
        boxes=box[None].astype(np.float32),
        scores=np.array([look.score if look else 0], np.float32),
        detected=np.array([look is not None]),
    )


# ---- the loop


Show = Callable[[Picture], bool]
"""Takes the next picture; False ends the command."""


@pipeline.one_torch_thread()
def watch(
    shots: Generator[Shot],
    follower: Follower,
    renderer: Renderer,
    show: Show,
    *,
    alpha: float,
    seconds: float | None,
    keep: bool,
) -> tuple[Numbers, list[Kept]]:
    """Follow and show people until the source ends, `seconds` are over, or Ctrl-C.

    Returns how it went and, with `keep`, what was seen; that list is all that grows.
    Raises InputError when the source breaks.
    """
    kept: list[Kept] = []
    delays: deque[tuple[float, float, int]] = deque(maxlen=RECENT)  # end s, delay s, frames
    end = math.inf if seconds is None else time.monotonic() + seconds
    last = shown = 0
    with capturing(shots) as newest, suppress(KeyboardInterrupt):
        while (left := end - time.monotonic()) > 0:
            number, shot = newest.after(last, min(left, WAIT_S))
            if shot is None:
                if newest.closed:
                    break
                continue
            sights = follower.observe(shot.rgb, shot.index, shot.pts_s)
            if keep:
                kept.append((shot.pts_s, sights))
            now = follower.as_motion([(shot.pts_s, sights)])
            frames = Frames(rgb=shot.rgb[None], index=np.array([0]), pts_s=now.pts_s)
            (rgb,) = Overlay(now, follower.body, renderer, alpha=alpha).draw(frames)
            numbers = _numbers(newest.count, shown, delays)
            going = show(Picture(rgb=rgb, motion=now, numbers=numbers))
            done = time.monotonic()
            delays.append((done, done - shot.captured_s, newest.count - number))
            last, shown = number, shown + 1
            if not going:
                break
    return _numbers(newest.count, shown, delays), kept


def _numbers(captured: int, shown: int, delays: deque[tuple[float, float, int]]) -> Numbers:
    ends, seconds, frames = np.array(delays or [(0.0, 0.0, 0)]).T
    lasted = ends[-1] - ends[0]
    return Numbers(
        captured=captured,
        shown=shown,
        dropped=captured - shown,
        fps=(len(ends) - 1) / lasted if lasted else 0.0,
        latency_ms=1000 * float(np.median(seconds)),
        latency_ms_95=1000 * float(np.percentile(seconds, 95)),
        latency_frames=float(np.median(frames)),
        latency_frames_max=int(frames.max()),
    )


@contextmanager
def screen(address: tuple[str, int] | None, title: str) -> Iterator[tuple[Show, str | None]]:
    """Where the pictures go: a page at `address` (then its URL comes, too), otherwise a window.

    Raises as `serving` and `window` do.
    """
    if address is None:
        with window(title) as show:
            yield show, None
        return
    pictures: Newest[Picture] = Newest()

    def put(picture: Picture) -> bool:
        _ = picture.jpeg  # packed here, so that the latency counts it
        pictures.put(picture)
        return True

    with serving(address, pictures) as url:
        yield put, url


@contextmanager
def window(title: str) -> Iterator[Show]:
    """A window that shows the pictures until q, Esc or its close button is pressed.

    Raises DependencyError where there is no OpenCV with windows, or no display.
    """
    look = "look with a browser instead: --serve 8000"
    if not cv2.currentUIFramework():
        raise DependencyError(
            f"this OpenCV is a build without windows; {look}, or pip uninstall "
            "opencv-python-headless and pip install opencv-python"
        )
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        raise DependencyError(f"there is no display ($DISPLAY is not set); {look}")
    cv2.namedWindow(title, cv2.WINDOW_NORMAL)

    def show(picture: Picture) -> bool:
        cv2.imshow(title, cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2BGR))
        cv2.setWindowTitle(title, f"{title}: {picture.numbers.line()}")
        pressed = cv2.waitKey(1) & 0xFF
        return (
            pressed not in (ord("q"), 27)
            and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1
        )

    try:
        yield show
    finally:
        cv2.destroyWindow(title)
