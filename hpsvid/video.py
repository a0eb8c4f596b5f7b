"""Video in and out, streamed: probe, read in chunks with every frame's time, write with audio.

Time always travels with the pixels: a frame's `pts_s` is its own presentation time, counted from
the clip's first frame, so variable frame rates survive from input to output. Folders of pictures
and single pictures go through the same functions. Nothing here holds more than a chunk of pixels.
"""

import math
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream

from hpsvid.errors import DependencyError, HpsvidError, InputError
from hpsvid.types import Array, Clip, Frames

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
VIDEO_OUT_SUFFIXES = (".mp4", ".mov", ".mkv")
PICTURE_OUT_SUFFIXES = (".png", ".jpg")

_PICTURE_FPS = Fraction(30)
_FALLBACK_FPS = Fraction(25)  # libavformat's own guess for streams that say nothing
_MAX_FPS = 1000  # Hz; a higher "rate" is a container's clock, not a camera's
_CLOCK_RESTART_S = 1.0  # a jump back by more than this is a new recording joined on

_TICKS_PER_S = 90_000  # MPEG's clock, 11 us; the coarsest clock that we write (mkv: 1 ms)
_X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20")
# BT.709, limited range, said in the file: players guess otherwise, and guess differently
_TO_YUV = (
    "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
)
_COPIED_AUDIO = {  # what players accept in each container; anything else becomes AAC
    ".mp4": {"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"},
    ".mov": {"aac", "ac3", "alac", "eac3", "mp3", "pcm_s16be", "pcm_s16le", "pcm_s24le"},
    ".mkv": {"aac", "ac3", "alac", "dts", "eac3", "flac", "mp2", "mp3", "opus", "pcm_s16le",
             "pcm_s24le", "vorbis"},
}  # fmt: skip


def probe(path: Path, image_fps: Fraction = _PICTURE_FPS) -> Clip:
    """What a video, a folder of pictures or a single picture holds; decodes one frame.

    image_fps: Hz, the rate at which a folder's pictures follow each other.
    Width and height are upright (rotation metadata applied) and of square pixels. `fps` is the
    container's average rate; a rate that it does not know is taken as 25.
    Raises InputError: missing, empty, not a video, audio only, unreadable.
    """
    if image_fps <= 0:
        raise InputError(f"--image-fps {image_fps}: expected more than 0 pictures a second")
    if _is_pictures(path):
        files = _picture_files(path)
        height, width = _read_picture(files[0]).shape[:2]
        return Clip(
            path=path, width=width, height=height, fps=image_fps, rotation=0, audio=False,
            frame_count=len(files),
        )  # fmt: skip
    with _opened(path) as (container, stream):
        frame = next(_decoded(path, container, stream), None)
        if frame is None:
            raise InputError(
                f"{path}: the video stream holds no frame that can be decoded; "
                f"the file is damaged or cut off, expected a whole video"
            )
        width, height, rotation = _upright(frame, stream)
        return Clip(
            path=path,
            width=width,
            height=height,
            fps=_nominal_fps(stream),
            rotation=rotation,
            audio=bool(container.streams.audio),
            frame_count=stream.frames or None,
        )


def read_frames(clip: Clip, *, chunk: int = 16) -> Iterator[Frames]:
    """Decode the clip in chunks of up to `chunk` frames, upright RGB, each with its own time.

    Memory does not grow with the clip. Times are the file's own, the first frame's is 0, and
    they increase strictly. A frame without a time gets its predecessor's plus the nominal step;
    one whose time does not increase gets half a step, so that the frames after it keep their
    own times; when the clock jumps back by more than a second (recordings joined together) it
    goes on from there. A stream that changes its picture size half-way is scaled to the first.
    Mirroring in a display matrix is not applied, and HDR is not tone-mapped.

    Raises InputError when the file does not fit `clip` any more, and at the end when fewer
    frames could be decoded than the container announces. A damaged packet alone is skipped.
    Tolerance: 3 frames or 1 % must be missing in count and in time (edit lists hide frames of
    good files); where the container announces only a duration, 1 s or 2 %.
    """
    if chunk < 1:
        raise ValueError(f"chunk: expected at least 1 frame, found {chunk}")
    timed = _timed_pictures(clip) if _is_pictures(clip.path) else _timed_video(clip)
    first = 0
    while True:
        rgb = np.empty((chunk, clip.height, clip.width, 3), np.uint8)
        times: list[float] = []
        for picture, time_s in islice(timed, chunk):
            rgb[len(times)] = picture
            times.append(time_s)
        if not times:
            return
        n = len(times)
        yield Frames(rgb=rgb[:n], index=np.arange(first, first + n), pts_s=np.array(times))
        first += n


def suffix_for(clip: Clip) -> str:
    """The suffix of a picture or video made from this clip when the user names none."""
    suffix = clip.path.suffix.lower()
    if _is_single_picture(clip.path):
        return suffix if suffix in PICTURE_OUT_SUFFIXES else ".png"
    return suffix if suffix in VIDEO_OUT_SUFFIXES else ".mp4"


def check_output(path: Path, clip: Clip | None = None) -> None:
    """Make sure, before any work, that `path` can become the overlay (of `clip`).

    Changes nothing on disk; a missing folder is made later, by the writer.
    Raises InputError: suffix not allowed, a picture asked of a video, a folder of that name,
    the input itself, a folder that cannot be written or made.
    """
    pictures_too = clip is None or _is_single_picture(clip.path)
    allowed = VIDEO_OUT_SUFFIXES + (PICTURE_OUT_SUFFIXES if pictures_too else ())
    if path.suffix.lower() not in allowed:
        found = f"suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise InputError(f"{path}: {found}; expected {', '.join(allowed)}")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file")
    if clip is not None and path.exists() and clip.path.exists() and path.samefile(clip.path):
        raise InputError(f"{path}: is the input itself; name another file for the output")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise InputError(f"{path}: {folder} is a file; expected a folder")
    try:
        tempfile.TemporaryFile(dir=folder).close()  # without a name; asks quotas and mounts too
    except OSError as error:
        raise InputError(
            f"{path}: the folder {folder} cannot be written ({error.strerror}); "
            "choose another place"
        ) from error


def open_writer(path: Path, clip: Clip) -> "VideoWriter | PictureWriter":
    """The writer for an overlay of `clip` at `path`, with the clip's size, rate and audio.

    Raises what `check_output` raises.
    """
    check_output(path, clip)
    if path.suffix.lower() in PICTURE_OUT_SUFFIXES:
        return PictureWriter(path)
    return VideoWriter(
        path,
        width=clip.width,
        height=clip.height,
        fps=clip.fps,
        audio_from=clip.path if clip.audio else None,
    )


def write_image(path: Path, rgb: Array) -> None:
    """Write one picture (.png, or .jpg at quality 95), whole or not at all.

    rgb: (H, W, 3) uint8. A missing folder is made. Raises InputError when it cannot be written.
    """
    check_output(path)
    if path.suffix.lower() not in PICTURE_OUT_SUFFIXES:
        raise InputError(f"{path}: expected a picture, {', '.join(PICTURE_OUT_SUFFIXES)}")
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(path.suffix.lower(), bgr)
    beside = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(encoded.tobytes())
        beside.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


class PictureWriter:
    """Writes the one frame of a picture; the counterpart of `VideoWriter`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open: `write` leaves a whole file."""

    def write(self, rgb: Array, pts_s: float) -> None:
        """Write the picture; rgb: (H, W, 3) uint8. `pts_s` has no meaning here."""
        write_image(self.path, rgb)


class VideoWriter:
    """Writes frames as H.264 at their own times, with another file's audio; a context manager.

    The file appears under its name when the block ends well; any exception in it, an interrupt
    included, leaves nothing (a killed process leaves a hidden `.part` file). A missing folder is
    made. Frames go through a pipe to imageio-ffmpeg's encoder as raw pictures that carry their
    times, to 11 us (.mkv: 0.5 ms). An odd width or height, which H.264's usual 4:2:0 colour
    cannot have, grows by one column or row that repeats the edge.

    The best audio track of `audio_from` is copied where the container takes it, otherwise
    re-encoded as AAC; it keeps its place relative to that file's first frame and its length.
    A file without audio adds none.
    """

    def __init__(
        self, path: Path, *, width: int, height: int, fps: Fraction, audio_from: Path | None = None
    ) -> None:
        """width, height: px of the frames to come; fps: Hz, nominal, the last frame's length.

        Raises InputError when `path` is no .mp4, .mov or .mkv that can be written.
        """
        check_output(path)
        if path.suffix.lower() not in VIDEO_OUT_SUFFIXES:
            raise InputError(f"{path}: expected a video, {', '.join(VIDEO_OUT_SUFFIXES)}")
        if width < 1 or height < 1 or fps <= 0:
            raise ValueError(f"width {width}, height {height}, fps {fps}: expected more than 0")
        self.path = path
        self.width = width
        self.height = height
        self.fps = Fraction(fps).limit_denominator(1001)
        self.audio_from = audio_from
        self.frames = 0
        self._beside = _beside(path)
        # a multiple of the rate's numerator: evenly spaced times stay exactly even
        rate = self.fps.numerator
        self._time_base = Fraction(1, rate * math.ceil(_TICKS_PER_S / rate))
        self._last_tick = -1

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._clear()

    def write(self, rgb: Array, pts_s: float) -> None:
        """Add one frame; the array may be reused afterwards.

        rgb: (height, width, 3) uint8. pts_s: seconds from the clip's first frame, increasing.
        Raises ValueError for another shape or a time that does not increase, HpsvidError when
        the encoder has died.
        """
        if rgb.shape != (self.height, self.width, 3) or rgb.dtype != np.uint8:
            raise ValueError(
                f"frame {self.frames}: expected uint8 {(self.height, self.width, 3)}, "
                f"found {rgb.dtype} {rgb.shape}"
            )
        tick = round(pts_s / self._time_base)
        if tick <= self._last_tick:
            raise ValueError(f"frame {self.frames}: its time {pts_s} s does not increase")
        bottom, right = self.height % 2, self.width % 2
        if bottom or right:
            rgb = cv2.copyMakeBorder(rgb, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        frame = VideoFrame.from_numpy_buffer(np.ascontiguousarray(rgb), format="rgb24")
        frame.pts, frame.time_base = tick, self._time_base
        try:
            self._pipe.mux(self._raw.encode(frame))
        except (FFmpegError, OSError):
            raise self._death() from None
        self._last_tick = tick
        self.frames += 1

    def _start(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.path}: its folder cannot be made ({error.strerror})"
            ) from error
        suffix = self.path.suffix.lower()
        read_audio, write_audio = _audio_options(self.audio_from, suffix)
        mp4 = ("-movflags", "+faststart", "-video_track_timescale", f"{1 / self._time_base}")
        command = [
            *(_ffmpeg(), "-v", "error", "-nostdin", "-y", "-copyts"),
            *("-f", "nut", "-i", "pipe:0", *read_audio),
            *("-map", "0:v", "-vf", _TO_YUV, *_X264, "-fps_mode", "passthrough"),
            *("-enc_time_base", f"{self._time_base.numerator}:{self._time_base.denominator}"),
            *write_audio,
            *(() if suffix == ".mkv" else mp4),
            f"file:{self._beside}",
        ]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by _clear)
        # a session of its own: Ctrl-C must reach us alone, and we end the encoder
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log,
            start_new_session=True,
            pipesize=1 << 20,  # bytes; the usual 64 KiB wakes both sides 40 times a 720p frame
        )  # fmt: skip
        assert self._process.stdin is not None
        # NUT is the one raw-video container that gives each frame its time and needs no seeking.
        # libavformat writes to the descriptor itself: PyAV swallows a Ctrl-C that arrives while
        # it calls a Python file's write
        self._pipe = av.open(
            f"pipe:{self._process.stdin.fileno()}", "w", format="nut",
            container_options={"write_index": "0"},
        )  # fmt: skip
        self._raw = self._pipe.add_stream("rawvideo", rate=self.fps)
        self._raw.width = self.width + self.width % 2
        self._raw.height = self.height + self.height % 2
        self._raw.pix_fmt = "rgb24"
        self._raw.codec_context.time_base = self._time_base

    def _finish(self) -> None:
        if self.frames == 0:
            raise HpsvidError(f"{self.path}: no frame was given, so no video was written")
        try:
            self._pipe.mux(self._raw.encode(None))
            self._close_pipe()
        except (FFmpegError, OSError):
            raise self._death() from None
        if self._process.wait() != 0:
            raise self._death()
        try:
            self._beside.replace(self.path)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from error

    def _close_pipe(self) -> None:
        """Tell the encoder that no more frames come."""
        assert self._process.stdin is not None
        try:
            self._pipe.close()
        finally:
            self._process.stdin.close()

    def _death(self) -> HpsvidError:
        """What the encoder said first, as an error of one line."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.poll()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        return HpsvidError(
            f"{self.path}: the encoder (ffmpeg) stopped after {self.frames} frames, exit code "
            f"{code}: {said[0] if said else 'it gave no reason'}; "
            "check free disk space and memory, then run again"
        )

    def _clear(self) -> None:
        """End the encoder if it still runs and remove what it left; harmless after a success."""
        if hasattr(self, "_process"):
            self._process.kill()
            # AttributeError: interrupted after the encoder's start, before the pipe was opened
            with suppress(FFmpegError, OSError, AttributeError):
                self._close_pipe()
            self._process.wait()
        if hasattr(self, "_log"):
            self._log.close()
        with suppress(OSError):
            self._beside.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """The hidden name, in the same folder, under which a file grows until it is whole."""
    return path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")


def _ffmpeg() -> str:
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise DependencyError(
            "no ffmpeg to encode with; expected the one inside the package imageio-ffmpeg "
            "(pip install --force-reinstall imageio-ffmpeg), or set IMAGEIO_FFMPEG_EXE"
        ) from error


# ---- videos


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its video stream. Raises InputError when there is none to read."""
    if not path.exists():
        raise InputError(f"{path}: no such file; expected a video, a picture or a folder of them")
    if not path.is_file():
        raise InputError(f"{path}: not a file; expected a video, a picture or a folder of them")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; copy or download it again")
    try:
        # "file:" keeps names with a colon from being read as network addresses
        container = av.open(f"file:{path}")
    except FFmpegError as error:
        raise InputError(
            f"{path}: cannot be read as a video ({error.strerror}); expected a whole "
            "mp4, mov, mkv, webm, avi or gif file"
        ) from error
    with container:
        stream = container.streams.best("video")
        if container.format.name == "tty":  # libavformat draws any .txt as a terminal
            raise InputError(f"{path}: a text file; expected a video")
        if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
            raise InputError(
                f"{path}: has audio but no video; expected a video"
                if container.streams.audio
                else f"{path}: holds no video stream; expected a video"
            )
        if stream.codec_context is None:
            raise InputError(
                f"{path}: its video codec is not known here; convert it, for instance with "
                "ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4"
            )
        # AUTO: frames and slices in parallel; the pictures are the same with any thread count
        stream.thread_type = "AUTO"
        yield container, stream


def _decoded(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """The stream's frames in display order; damaged packets give none."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError as error:
            raise InputError(
                f"{path}: reading stopped half-way ({error.strerror}); copy or download it again"
            ) from error
        if packet is None:
            return
        try:
            frames = packet.decode()
        except InvalidDataError:
            continue  # players skip it too; `_check_whole` says so when it mattered
        except FFmpegError as error:
            raise InputError(
                f"{path}: cannot be decoded ({error.strerror}); convert it, for instance with "
                "ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4"
            ) from error
        for frame in frames:
            if isinstance(frame, VideoFrame):
                yield frame


def _timed_video(clip: Clip) -> Iterator[tuple[Array, float]]:
    """Upright pictures (H, W, 3) uint8, valid until the next one, and their times in s."""
    with _opened(clip.path) as (container, stream):
        step_s = float(1 / clip.fps)
        to_rgb = VideoReformatter()
        width = height = decoded = 0
        origin_s = time_s = end_s = 0.0
        for frame in _decoded(clip.path, container, stream):
            tick_s = frame.time_base or stream.time_base or 1 / clip.fps
            pts_s = None if frame.pts is None else float(frame.pts * tick_s)
            if decoded == 0:
                *size, rotation = _upright(frame, stream)
                if [*size, rotation] != [clip.width, clip.height, clip.rotation]:
                    raise InputError(
                        f"{clip.path}: now {size[0]}x{size[1]} px, was {clip.width}x{clip.height} "
                        "px; the file has changed, start again from the new one"
                    )
                width, height = size[::-1] if rotation in (90, 270) else size
                origin_s = pts_s or 0.0
            else:
                time_s, origin_s = _next_time(pts_s, time_s, origin_s, step_s)
            decoded += 1
            end_s = time_s + max(step_s, float((frame.duration or 0) * tick_s))
            rgb = to_rgb.reformat(
                frame, width=width, height=height, format="rgb24", src_colorspace=_matrix(frame)
            )
            yield _turned(_view(rgb), clip.rotation), time_s
        _check_whole(clip, container, stream, decoded, end_s)


def _next_time(
    pts_s: float | None, last_s: float, origin_s: float, step_s: float
) -> tuple[float, float]:
    """A frame's time from its stamp and its predecessor's time, and the clock's origin; all s.

    The rule for stamps that are missing or do not increase is in `read_frames`.
    """
    if pts_s is None:
        return last_s + step_s, origin_s
    time_s = pts_s - origin_s
    if time_s > last_s:
        return time_s, origin_s
    if time_s < last_s - _CLOCK_RESTART_S:
        return last_s + step_s, pts_s - (last_s + step_s)
    return last_s + step_s / 2, origin_s


def _nominal_fps(stream: VideoStream) -> Fraction:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and rate <= _MAX_FPS:
            # 1001 is the largest denominator of a broadcast rate; a measured average such as
            # 27030000/900401 says no more than its nearest such neighbour
            return Fraction(rate).limit_denominator(1001) or _FALLBACK_FPS
    return _FALLBACK_FPS


def _upright(frame: VideoFrame, stream: VideoStream) -> tuple[int, int, int]:
    """Width and height in square, upright pixels, and the clockwise degrees that get there."""
    aspect = stream.sample_aspect_ratio or 1
    width, height = max(1, round(frame.width * aspect)), frame.height
    # PyAV counts counterclockwise, as libavutil's display matrix does
    rotation = round(-frame.rotation / 90) % 4 * 90
    return (height, width, rotation) if rotation in (90, 270) else (width, height, rotation)


def _matrix(frame: VideoFrame) -> Colorspace | None:
    """The YUV matrix to assume; None = as the frame says. HD without a word is BT.709 (mpv)."""
    unspecified = 2  # AVCOL_SPC_UNSPECIFIED
    hd = frame.width >= 1280 or frame.height > 576
    return Colorspace.ITU709 if frame.colorspace == unspecified and hd else None


def _view(rgb: VideoFrame) -> Array:
    """The pixels of an rgb24 frame, (H, W, 3), without copying; rows may be padded."""
    plane: Any = rgb.planes[0]
    shape = (rgb.height, rgb.width, 3)
    return np.ndarray(shape, np.uint8, buffer=plane, strides=(plane.line_size, 3, 1))


def _turned(picture: Array, rotation: int) -> Array:
    """The picture turned clockwise by 0, 90, 180 or 270 degrees."""
    if rotation == 0:
        return picture
    codes = {
        90: cv2.ROTATE_90_CLOCKWISE,
        180: cv2.ROTATE_180,
        270: cv2.ROTATE_90_COUNTERCLOCKWISE,
    }
    return cv2.rotate(picture, codes[rotation])


def _check_whole(
    clip: Clip, container: InputContainer, stream: VideoStream, decoded: int, end_s: float
) -> None:
    """Raise InputError when clearly less was decoded than the container announces."""
    announced_s = _announced_duration_s(clip, container, stream)
    if stream.frames:
        enough = stream.frames - max(3, 0.01 * stream.frames)
        enough_s = announced_s - max(3 / float(clip.fps), 0.01 * announced_s)
        whole = decoded >= enough or end_s >= enough_s > 0
    else:
        whole = end_s >= announced_s - max(1.0, 0.02 * announced_s)
    if not whole:
        announced = stream.frames or f"about {round(announced_s * clip.fps)}"
        raise InputError(
            f"{clip.path}: cut off or damaged: {decoded} frames could be decoded, {announced} are "
            f"announced; get a whole copy, or keep the readable part with "
            f"ffmpeg -i INPUT -c copy OUTPUT{clip.path.suffix}"
        )


def _announced_duration_s(clip: Clip, container: InputContainer, stream: VideoStream) -> float:
    """How long the container says that the video lasts, s; 0 when it does not say."""
    if stream.frames and not container.format.name.startswith("mov"):
        return float(stream.frames / clip.fps)  # a cut AVI's duration is reckoned from its bytes
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)  # edit lists already applied
    # Matroska counts both from the file's zero, and the whole file's may be another stream's
    start_s = float((stream.start_time or 0) * (stream.time_base or 0))
    if tag := re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", "")):
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) - start_s
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base - start_s
    return 0.0


# ---- audio


def _audio_options(source: Path | None, suffix: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What to tell ffmpeg about the audio: how to read it, and how to write it.

    It is read shifted, so that the time of the source's first frame becomes 0, as in
    `read_frames`. Both are empty where there is no audio.
    """
    if source is None or _is_pictures(source):
        return (), ()
    try:
        with av.open(f"file:{source}") as container:
            audio = container.streams.best("audio")
            if audio is None:
                return (), ()
            # a stream must not be asked anything after its container is closed
            track, codec = audio.index, audio.codec.canonical_name if audio.codec_context else ""
            frame = next(container.decode(video=0), None) if container.streams.video else None
    except FFmpegError as error:
        raise InputError(f"{source}: its audio cannot be read ({error.strerror})") from error
    start_s = frame.time if frame is not None and frame.pts is not None else 0.0
    write = ("copy",) if codec in _COPIED_AUDIO[suffix] else ("aac", "-b:a", "192k")
    return (
        ("-itsoffset", f"{0 - start_s:.6f}", "-i", f"file:{source}"),
        ("-map", f"1:{track}", "-c:a", *write),
    )


# ---- pictures


def _is_single_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.is_dir()


def _is_pictures(path: Path) -> bool:
    return path.is_dir() or _is_single_picture(path)


def _picture_files(path: Path) -> list[Path]:
    """The pictures of a folder in natural order (2 before 10), or the one picture itself."""
    if not path.is_dir():
        return [path]
    files = [
        file
        for file in path.iterdir()
        if file.suffix.lower() in PICTURE_SUFFIXES and not file.name.startswith(".")
    ]
    if not files:
        raise InputError(
            f"{path}: a folder without pictures; expected {', '.join(PICTURE_SUFFIXES)}"
        )
    return sorted(files, key=_natural)


def _natural(path: Path) -> tuple[list[int | str], str]:
    """Sort key; splitting by digits puts texts and numbers in turn, so they never meet."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name


def _timed_pictures(clip: Clip) -> Iterator[tuple[Array, float]]:
    files = _picture_files(clip.path)
    for i, file in enumerate(files):
        picture = _read_picture(file)
        height, width = picture.shape[:2]
        if (width, height) != (clip.width, clip.height):
            raise InputError(
                f"{file}: {width}x{height} px, the others are {clip.width}x{clip.height} px; "
                "expected pictures of one size"
            )
        yield picture, float(i / clip.fps)


def _read_picture(path: Path) -> Array:
    """(H, W, 3) uint8 RGB, turned as its EXIF data say. Raises InputError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error:
        bgr = None
    if bgr is None:
        found = f"{len(data)} bytes that are no picture" if data else "the file is empty"
        raise InputError(f"{path}: {found}; expected a whole {path.suffix.lower()} file")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
