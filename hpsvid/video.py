"""Video in, streamed: probe, and read in chunks with every frame's time.

Time always travels with the pixels: a frame's `pts_s` is its own presentation time, counted from
the clip's first frame, so variable frame rates survive. Folders of pictures
and single pictures go through the same functions. Nothing here holds more than a chunk of pixels.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

from hpsvid.errors import InputError
from hpsvid.types import Array, Clip, Frames

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".ts", ".wmv")

# Where telephones write the 35 mm equivalent of their focal length: QuickTime's metadata, Exif
_FOCAL_KEY = "com.apple.quicktime.camera.focal_length.35mm_equivalent"
_EXIF_IFD, _EXIF_FOCAL_35MM = 0x8769, 0xA405

_PICTURE_FPS = Fraction(30)
_FALLBACK_FPS = Fraction(25)  # libavformat's own guess for streams that say nothing
_MAX_FPS = 240  # Hz; a higher "rate" is seldom a camera's
_CLOCK_HZ = 1000  # and one above this is a container's clock
_STAMPS = 60  # how many packets' times tell the rate where the container does not
_CHUNK_BYTES = 40e6  # of decoded pictures; three chunks are held at a time
_CLOCK_RESTART_S = 1.0  # a jump back by more than this is a new recording joined on


def probe(path: Path, image_fps: Fraction = _PICTURE_FPS) -> Clip:
    """What a video, a folder of pictures or a single picture holds; decodes one frame.

    image_fps: Hz, the rate at which a folder's pictures follow each other.
    Width and height are upright (rotation metadata applied) and of square pixels. `fps` is the
    container's average rate, or, where it has none to believe, a guess from the frames' times;
    one that neither knows is taken as 25. The focal length is what a telephone wrote into
    QuickTime's or EXIF metadata.
    Raises InputError: missing, empty, not a video, audio only, unreadable.
    """
    if image_fps <= 0:
        raise InputError(f"--image-fps {image_fps}: expected more than 0 pictures a second")
    if is_pictures(path):
        files = _picture_files(path)
        height, width = _read_picture(files[0]).shape[:2]
        return Clip(
            path=path, width=width, height=height, fps=image_fps, rotation=0, audio=False,
            frame_count=len(files), focal_35mm=_picture_focal(files[0]),
        )  # fmt: skip
    with opened(path) as (container, stream):
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
            fps=_nominal_fps(container, stream),
            rotation=rotation,
            audio=bool(container.streams.audio),
            frame_count=stream.frames or None,
            focal_35mm=_stated_focal({**container.metadata, **stream.metadata}.get(_FOCAL_KEY)),
        )


def read_frames(clip: Clip, *, chunk: int | None = None) -> Iterator[Frames]:
    """Decode the clip in chunks of up to `chunk` frames, upright RGB, each with its own time.

    chunk: None takes 8, and fewer of large pictures (1 of 4K): memory does not grow with
    the clip. Times are the file's own, the first frame's is 0, and they increase strictly.
    A frame without a time gets its predecessor's plus the nominal step;
    one whose time does not increase gets half a step, so that the frames after it keep their
    own times; when the clock jumps back by more than a second (recordings joined together) it
    goes on from there. A stream that changes its picture size half-way is scaled to the first.
    Mirroring in a display matrix is not applied, and HDR is not tone-mapped.

    Raises InputError when the file does not fit `clip` any more, and at the end when fewer
    frames could be decoded than the container announces. A damaged packet alone is skipped.
    Tolerance: 3 frames or 1 % must be missing in count and in time (edit lists hide frames of
    good files); where the container announces only a duration, 1 s or 2 %.
    """
    if chunk is None:
        chunk = int(np.clip(_CHUNK_BYTES // (3 * clip.width * clip.height), 1, 8))
    if chunk < 1:
        raise ValueError(f"chunk: expected at least 1 frame, found {chunk}")
    timed = _timed_pictures(clip) if is_pictures(clip.path) else _timed_video(clip)
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


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
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
        found = f"cannot be read as a video ({error.strerror})"
        if path.suffix == ".npz":
            found = "not a video (a saved result? hpsvid export takes those)"
        raise InputError(
            f"{path}: {found}; expected a whole mp4, mov, mkv, webm, avi or gif file"
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
    with opened(clip.path) as (container, stream):
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


def _nominal_fps(container: InputContainer, stream: VideoStream) -> Fraction:
    """The average rate; where there is none to believe, libavformat's guess.

    The guess is the lowest rate that every stamp fits, 1000 Hz for steps of 33 ms and a jump:
    where the next packets follow each other more slowly, their median step says it.
    """
    rate = stream.average_rate
    if not rate or rate > _MAX_FPS:
        rate = stream.guessed_rate
        packets = islice(container.demux(stream), _STAMPS)
        stamps = sorted({packet.pts for packet in packets if packet.pts is not None})
        if rate and stream.time_base and len(stamps) > 2:
            step_s = Fraction(float(np.median(np.diff(stamps)))) * stream.time_base
            rate = rate if rate * step_s < 1.1 else 1 / step_s
    if not rate or rate > _CLOCK_HZ:
        return _FALLBACK_FPS
    # 1001 is the largest denominator of a broadcast rate; a measured average such as
    # 27030000/900401 says no more than its nearest such neighbour
    return Fraction(rate).limit_denominator(1001) or _FALLBACK_FPS


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


def is_single_picture(path: Path) -> bool:
    """Whether the path is one picture, by its suffix."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.is_dir()


def is_pictures(path: Path) -> bool:
    """Whether the path is a picture or a folder (of pictures), not a video."""
    return path.is_dir() or is_single_picture(path)


def clips_in(folder: Path) -> list[Path]:
    """The videos of a folder in natural order, by their suffix; those below it are left alone.

    Raises InputError when it is no folder or holds none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; expected a folder of videos")
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and path.name[0] != "."
    ]
    if not found:
        raise InputError(f"{folder}: a folder without videos; expected {', '.join(VIDEO_SUFFIXES)}")
    return sorted(found, key=_natural)


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


def _picture_focal(path: Path) -> float | None:
    """What a picture's EXIF data say of the focal length, mm on 35 mm film."""
    with Image.open(path) as picture:
        return _stated_focal(picture.getexif().get_ifd(_EXIF_IFD).get(_EXIF_FOCAL_35MM))


def _stated_focal(value: object) -> float | None:
    """A focal length (mm on 35 mm film) as metadata gives it; None for 0 (unknown) and rubbish."""
    try:
        focal = float(str(value))
    except ValueError:
        return None
    return focal if 1 <= focal <= 2000 else None
