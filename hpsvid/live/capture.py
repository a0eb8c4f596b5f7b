"""A camera, a stream, or a file as one: frames as they come, of which only the newest counts."""

import os
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

import av
import cv2
from av.error import ExitError, FFmpegError, InvalidDataError

from hpsvid.common.threads import Newest
from hpsvid.errors import InputError
from hpsvid.types import Array, Clip
from hpsvid.video.containers import DEMUXERS, MOST_PIXELS
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames

FALLBACK_FPS = 30  # of a camera that does not say, or says nonsense
MAX_FPS = 240
_MAX_CAMERA = 2**31 - 1  # OpenCV's numbers go no further, and nobody has that many
STREAM_TIMEOUT_S = 10.0  # how long a network stream may say nothing
# A stream names no file of this machine and no other stream (playlists do)
ONLY_THIS_STREAM = {
    "rtsp_flags": "prefer_tcp",
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,rtmp,rtmps,srt",
    "format_whitelist": ",".join((*DEMUXERS, "rtsp", "rtp", "mpjpeg", "live_flv")),
    "max_pixels": str(MOST_PIXELS),
}
END_TIMEOUT_S = 2.0  # how long a capture that hangs is waited for at the end


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shot:
    """One captured frame."""

    rgb: Array  # (H, W, 3) uint8
    index: int  # counted from the first captured
    pts_s: float  # the first's is 0
    captured_s: float  # when it was handed over, time.monotonic()


def open_source(source: str, input_fps: float | None = None) -> tuple[Clip, Generator[Shot]]:
    """What `source` says of itself, and its frames as they come.

    source: a camera's number, the address of a stream, or a file or folder, which is shown at its
    own pace. input_fps: of a file, whatever it states. Raises InputError when it cannot be opened;
    the frames raise it when they end early.
    """
    if source.isdecimal():
        return _opened(_camera(int(source)), f"camera {source}")
    if "://" in source:
        try:
            address = urlsplit(source)
        except ValueError as error:  # brackets that hold no IPv6 address
            scheme = source.partition("://")[0]  # the rest may hold a password
            raise InputError(
                f"{scheme}://...: no address; expected for instance {scheme}://HOST:PORT/PATH"
            ) from error
        host = address.netloc.rpartition("@")[2]  # without a password
        name = f"{address.scheme}://{host}{address.path}"
        return _opened(_stream(source, name), name)
    clip = probe(Path(source), input_fps=input_fps)
    return clip, _paced(clip)


def _paced(clip: Clip) -> Generator[Shot]:
    start = None  # the first frame's, which takes a while to come
    for frames in read_frames(clip, chunk=1):
        pts_s = float(frames.pts_s[0])
        start = start or time.monotonic()
        time.sleep(max(0.0, start + pts_s - time.monotonic()))
        yield Shot(
            rgb=frames.rgb[0], index=int(frames.index[0]), pts_s=pts_s, captured_s=time.monotonic()
        )


Pictures = Generator[tuple[Array, float]]
"""Upright pictures (H, W, 3) uint8, each with the frame rate that the source states, Hz."""


def _camera(number: int) -> Pictures:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # we say it in one line ourselves
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    camera = cv2.VideoCapture(min(number, _MAX_CAMERA))
    wrong = f"camera {number}: no picture comes; is it there (ls /dev/video*), free, readable?"
    try:
        while (taken := camera.read())[0]:
            wrong = f"camera {number}: no more pictures come; was it unplugged?"
            yield cv2.cvtColor(taken[1], cv2.COLOR_BGR2RGB), camera.get(cv2.CAP_PROP_FPS)
        raise InputError(wrong)  # a camera has no end
    finally:
        camera.release()


def _stream(source: str, name: str) -> Pictures:
    wrong = f"{name}: no picture comes"
    try:
        with av.open(
            source,
            timeout=STREAM_TIMEOUT_S,
            options=ONLY_THIS_STREAM,
            metadata_errors="replace",  # titles in Latin-1
        ) as container:
            good_s = time.monotonic()
            for packet in container.demux(video=0):
                try:
                    frames = packet.decode()
                except InvalidDataError:  # damaged on the way; players skip it, too
                    if time.monotonic() - good_s > STREAM_TIMEOUT_S:
                        raise
                    continue
                for frame in frames:
                    wrong, good_s = f"{name}: broke off", time.monotonic()
                    rate = container.streams.video[0].average_rate
                    yield frame.to_ndarray(format="rgb24"), float(rate or 0)
    except (FFmpegError, IndexError) as error:  # IndexError: it holds no video
        said = error.strerror if isinstance(error, FFmpegError) else "it holds no video"
        if isinstance(error, ExitError):
            said = f"nothing came for {STREAM_TIMEOUT_S:.0f} s"
        hint = "is the address right, and does the stream play with ffplay?"
        raise InputError(f"{wrong} ({said}); {hint}") from error


def _opened(pictures: Pictures, name: str) -> tuple[Clip, Generator[Shot]]:
    """What the first picture shows of a source, which is waited for, and all from it on."""
    first = next(pictures, None)
    if first is None:
        raise InputError(f"{name}: ended before its first picture")
    (height, width, _), fps = first[0].shape, first[1]
    if not 1 <= fps <= MAX_FPS:
        fps = FALLBACK_FPS
    clip = Clip(
        path=Path(name.replace("://", "_")), width=width, height=height, rotation=0, audio=False,
        fps=Fraction(fps).limit_denominator(1001), frame_count=None,
    )  # fmt: skip
    return clip, _by_the_clock(pictures, first[0], clip)


def _by_the_clock(pictures: Pictures, first: Array, clip: Clip) -> Generator[Shot]:
    """The pictures at the times that they come: dim light makes a camera slower than it says.

    A source that changes its picture size half-way is scaled to the first, as files are.
    """
    with closing(pictures):
        start = now = time.monotonic()
        index = 0
        yield Shot(rgb=first, index=index, pts_s=0.0, captured_s=now)
        for rgb, _ in pictures:
            now = time.monotonic()
            index = max(index + 1, round((now - start) * float(clip.fps)))
            if rgb.shape != first.shape:
                rgb = cv2.resize(rgb, (clip.width, clip.height), interpolation=cv2.INTER_AREA)
            yield Shot(rgb=rgb, index=index, pts_s=now - start, captured_s=now)


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
