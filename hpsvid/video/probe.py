"""What a clip is before it is decoded: files, rotation, rate, focal length."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from hpsvid.errors import InputError
from hpsvid.types import Array, Clip

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
        frame = next(decode_stream(path, container, stream), None)
        if frame is None:
            raise InputError(
                f"{path}: the video stream holds no frame that can be decoded; "
                f"the file is damaged or cut off, expected a whole video"
            )
        width, height, rotation = upright_size(frame, stream)
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


def decode_stream(
    path: Path, container: InputContainer, stream: VideoStream
) -> Iterator[VideoFrame]:
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


def upright_size(frame: VideoFrame, stream: VideoStream) -> tuple[int, int, int]:
    """Width and height in square, upright pixels, and the clockwise degrees that get there."""
    aspect = stream.sample_aspect_ratio or 1
    width, height = max(1, round(frame.width * aspect)), frame.height
    # PyAV counts counterclockwise, as libavutil's display matrix does
    rotation = round(-frame.rotation / 90) % 4 * 90
    return (height, width, rotation) if rotation in (90, 270) else (width, height, rotation)


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


def timed_pictures(clip: Clip) -> Iterator[tuple[Array, float]]:
    """The pictures (H, W, 3) of a folder and their times s; InputError unless of one size."""
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
