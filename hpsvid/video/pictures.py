"""Photos, folders of frames or of photos, and animated pictures."""

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from hpsvid.common.files import regular_file
from hpsvid.errors import DependencyError, InputError, one_line
from hpsvid.types import Array, Clip
from hpsvid.video.cuts import CutDetector
from hpsvid.video.parts import Selection, own_rate
from hpsvid.video.upright import EXIF_ORIENTATION, on_canvas, upright

HEIF_SUFFIXES = (".heic", ".heif", ".hif")
PICTURE_SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".avif", *HEIF_SUFFIXES,
)  # fmt: skip
_MAY_MOVE = (".png", ".apng", ".webp", ".avif")
PILLOW_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "AVIF")  # Pillow has others that start programs

# Where cameras write: the 35 mm equivalent of their focal length, and when the picture was taken
_EXIF_IFD, _EXIF_FOCAL_35MM, _EXIF_TAKEN, _EXIF_TURN = 0x8769, 0xA405, 0x9003, 0x0112

FOLDER_FPS = Fraction(30)  # of a folder of frames that does not say
PHOTOS_FPS = Fraction(1)  # of photos, which have no rate: how long an overlay shows each
_MOST_MOVING_PIXELS, _MOST_MOVING_SIDE = 34_000_000, 16_383  # of an animation: 8K, WebP's own
_TIMED = 4  # pictures of an animation whose durations tell its rate
_UNTIMED_S = 0.1  # of an animation's picture without a duration, as browsers have it

MOST_BYTES = 1 << 30  # of a picture's file
MOST_PIXELS = 250_000_000
_DEFLATED = 8 * 1032  # pixels of a bit that a byte of PNG can hold: deflate's best ratio
FULL_SIZE_PIXELS = 64_000_000  # of larger pictures every second or fourth pixel is read
_DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras have; a 16-bit file may hold fewer

_LOOKED_AT = 200  # files of a folder whose headers tell whether they are photos
_COMPARED = 12  # pairs of neighbours whose pictures do
_APART_S = 2.0  # photos are taken further apart than this, frames are not

_pillow = threading.Lock()


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's file says before it is decoded."""

    size: tuple[int, int]  # width and height, px, upright, as it will be read
    turn: tuple[bool, int]  # mirrored, clockwise degrees
    every: int = 1  # 2: every second pixel is read
    focal_35mm: float | None = None
    taken: str = ""  # Exif's date and time
    frames: int = 1


def is_single_picture(path: Path) -> bool:
    """Whether the path is one picture, by its suffix; an animation is none."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.is_dir() and not is_animation(path)


def is_animation(path: Path) -> bool:
    """Whether the path is a WebP, PNG or AVIF file of several pictures."""
    if path.suffix.lower() not in _MAY_MOVE or not path.is_file():
        return False
    with suppress(InputError):
        return read_header(path).frames > 1
    return False


def is_pictures(path: Path) -> bool:
    """Whether the path is a picture, an animation or a folder (of pictures), not a video."""
    return path.is_dir() or path.suffix.lower() in PICTURE_SUFFIXES


def probe_pictures(path: Path, *, input_fps: Fraction | None, photos: bool | None) -> Clip:
    """What a picture, an animation or a folder of pictures holds.

    photos: whether a folder's pictures are photos of their own (None: guessed, and said in the
    clip's notes). Raises InputError.
    """
    files = picture_files(path)
    if is_animation(path):
        return _probe_animation(path, input_fps)
    why = ""
    if photos is None and len(files) > 1 and input_fps is None:
        why = _why_photos(files)
    photos = bool(photos or why) and len(files) > 1
    if photos:
        heads = [read_header(file) for file in _spread(files, _LOOKED_AT)]
        width, height = max((head.size for head in heads), key=lambda size: size[0] * size[1])
        focals = {head.focal_35mm for head in heads}
        focal = focals.pop() if len(focals) == 1 else None
    else:
        height, width = read_picture(files[0])[0].shape[:2]
        focal = read_header(files[0]).focal_35mm
    notes = ()
    if why:
        notes = (f"taken as {len(files)} photos of their own ({why}); "
                 "--no-photos if they are one recording's frames",)  # fmt: skip
    elif len(files) > 1 and input_fps is None and not photos:
        notes = (f"taken as {FOLDER_FPS} frames a second; --input-fps says otherwise",)
    rate = input_fps or (PHOTOS_FPS if photos else FOLDER_FPS)
    return Clip(
        path=path, width=width, height=height, fps=rate, rotation=0, audio=False,
        frame_count=len(files), focal_35mm=focal, photos=photos, notes=notes,
    )  # fmt: skip


def timed_pictures(clip: Clip) -> Iterator[tuple[Array, float]]:
    """The pictures (H, W, 3) uint8 and their times s.

    Photos are fitted into the clip's size. Raises InputError for frames not of one size.
    """
    if is_animation(clip.path):
        yield from _timed_animation(clip)
        return
    bits = 8
    rate, selection = own_rate(clip), Selection(clip.part)
    for i, file in enumerate(picture_files(clip.path)):
        time_s = i / float(rate) if clip.fps_given else float(i / rate)
        if selection.is_over(time_s):
            return
        if not selection.takes(time_s):
            continue
        picture, own_bits = read_picture(file)
        bits = max(bits, own_bits)  # a dark frame of a 12-bit camera does not flare up
        picture = to_8_bits(picture, bits)
        height, width = picture.shape[:2]
        if (width, height) != (clip.width, clip.height) and not clip.photos:
            raise InputError(
                f"{file}: {width}x{height} px, the others are {clip.width}x{clip.height} px; "
                "expected frames of one size, or --photos for photos of their own"
            )
        yield on_canvas(picture, (clip.width, clip.height)), time_s


def picture_files(path: Path) -> list[Path]:
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
    return sorted(files, key=natural)


def natural(path: Path) -> tuple[list[int | str], str]:
    """Sort key; splitting by digits puts texts and numbers in turn, so they never meet."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name


def _spread(items: list[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spread, the first among them."""
    places = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).astype(int))
    return [items[place] for place in places]


# ---- photos or frames


def _why_photos(files: list[Path]) -> str:
    """Why a folder's pictures are photos and no frames of one recording; empty if they are not.

    Their sizes differ, their cameras say that they were taken seconds apart, or most neighbours
    differ as much as scenes do.
    """
    heads = [read_header(file) for file in _spread(files, _LOOKED_AT)]
    if len({head.size for head in heads}) > 1:
        return "their sizes differ"
    neighbours = [
        files[place : place + 2] for place in _spread([*range(len(files) - 1)], _COMPARED)
    ]
    gaps = [_seconds_between(*(read_header(file).taken for file in pair)) for pair in neighbours]
    known = [gap for gap in gaps if gap is not None]
    if known and np.median(known) >= _APART_S:
        return "they were taken seconds apart"
    cuts = []
    for pair in neighbours:
        is_cut = CutDetector()
        cuts.append([is_cut(to_8_bits(*read_picture(file))) for file in pair][-1])
    return "their pictures differ" if np.mean(cuts) > 0.5 else ""


def _seconds_between(first: str, second: str) -> float | None:
    """Seconds between two of Exif's times, "2024:05:17 10:11:12"; None when one is not known."""
    try:
        times = [np.datetime64(f"{t[:10].replace(':', '-')}T{t[11:19]}") for t in (first, second)]
    except ValueError:
        return None
    seconds = (times[1] - times[0]) / np.timedelta64(1, "s")
    return abs(float(seconds)) if np.isfinite(seconds) else None


# ---- one picture


def read_header(path: Path) -> Header:
    """Size, orientation and what the camera wrote. Raises InputError."""
    with _pillow_image(path) as image:
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise InputError(
                f"{path}: {width}x{height} px; expected at most {MOST_PIXELS // 10**6} megapixels"
            )
        if image.format == "PNG" and width * height > _DEFLATED * path.stat().st_size:
            raise _no_picture(path)
        every = 1
        while width * height > FULL_SIZE_PIXELS * every**2:
            every *= 2
        exif: dict[int, Any] = {}
        # hostile Exif data raise and warn of nearly anything
        with suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if image.format != "PNG" or "exif" in image.info:  # Pillow would decode the picture
                tags = image.getexif()
                exif = {**tags, **tags.get_ifd(_EXIF_IFD)}
        heif = path.suffix.lower() in HEIF_SUFFIXES  # turned by its own properties already
        turn = EXIF_ORIENTATION.get(1 if heif else exif.get(_EXIF_TURN, 1), (False, 0))
        size = (-(-width // every), -(-height // every))
        return Header(
            size=(size[1], size[0]) if turn[1] in (90, 270) else size,
            turn=turn,
            every=every,
            focal_35mm=stated_focal(exif.get(_EXIF_FOCAL_35MM)),
            taken=str(exif.get(_EXIF_TAKEN, "")),
            frames=int(getattr(image, "n_frames", 1)) if path.suffix.lower() in _MAY_MOVE else 1,
        )


def read_picture(path: Path) -> tuple[Array, int]:
    """(H, W, 3) uint8 or uint16 RGB, upright, and how many bits of its numbers are in use.

    Pictures of more than 64 megapixels are read at half or a quarter of their size.
    Raises InputError, DependencyError.
    """
    head = read_header(path)
    if path.suffix.lower() in (*HEIF_SUFFIXES, ".avif"):
        with _pillow_image(path) as image:
            rgb = np.array(image.convert("RGB"))[:: head.every, :: head.every]
        return upright(np.ascontiguousarray(rgb), *head.turn), 8
    data = np.frombuffer(path.read_bytes(), np.uint8)
    if not _png_lengths_fit(data.data):
        raise _no_picture(path)
    size = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2}.get(
        head.every, cv2.IMREAD_REDUCED_COLOR_4
    )
    depth = cv2.IMREAD_ANYDEPTH if head.every == 1 else 0
    try:
        bgr = cv2.imdecode(data, size | depth | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        bgr = None
    if bgr is None or bgr.dtype not in (np.uint8, np.uint16):
        raise _no_picture(path)
    rgb = upright(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), *head.turn)
    if rgb.dtype == np.uint8:
        return rgb, 8
    used = int(rgb.max()).bit_length()
    return rgb, next(depth for depth in _DEPTHS if depth >= used)


def _png_lengths_fit(data: memoryview) -> bool:
    """Whether no chunk of a PNG claims more than the file has: OpenCV would make room for 4 GB."""
    place = 8
    while bytes(data[:8]) == b"\x89PNG\r\n\x1a\n" and place + 8 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        if length > len(data):
            return False
        place += length + 12
    return True


def to_8_bits(picture: Array, bits: int) -> Array:
    """(H, W, 3) uint8 of a picture whose numbers have so many bits."""
    return picture if picture.dtype == np.uint8 else (picture >> (bits - 8)).astype(np.uint8)


@contextmanager
def _pillow_image(path: Path) -> Iterator[Image.Image]:
    """The picture as Pillow opens it, not decoded. Raises InputError, DependencyError."""
    if not path.exists():
        raise InputError(f"{path}: no such file; expected a picture")
    bytes_ = regular_file(path).stat().st_size
    if bytes_ == 0:
        raise InputError(f"{path}: the file is empty; expected a whole {path.suffix.lower()} file")
    if bytes_ > MOST_BYTES:
        raise InputError(f"{path}: {bytes_} bytes; expected a picture of at most {MOST_BYTES}")
    formats = PILLOW_FORMATS
    if path.suffix.lower() in HEIF_SUFFIXES:
        formats = ("HEIF",)
        try:
            from pi_heif import register_heif_opener
        except ImportError as error:
            raise DependencyError(
                f"{path}: HEIC photos need the package pi-heif (pip install 'hpsvid[heic]'); "
                "or save the photo as JPEG"
            ) from error
        register_heif_opener()
    try:
        with _pillow, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged Exif data
            most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # we have our own
            try:
                image = Image.open(path, formats=formats)
            finally:
                Image.MAX_IMAGE_PIXELS = most
    except OSError as error:
        if error.errno is not None:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        raise _no_picture(path) from error
    except Exception as error:  # damaged headers raise nearly anything
        raise _no_picture(path) from error
    try:
        with image:
            yield image
    except (InputError, GeneratorExit):
        raise
    except Exception as error:
        raise InputError(f"{path}: a damaged picture ({one_line(error)})") from error


def _no_picture(path: Path) -> InputError:
    found = f"{path.stat().st_size} bytes that are no picture"
    return InputError(f"{path}: {found}; expected a whole {path.suffix.lower()} file")


def stated_focal(value: object) -> float | None:
    """A focal length (mm on 35 mm film) as metadata gives it; None for 0 (unknown) and rubbish."""
    try:
        focal = float(str(value))
    except ValueError:
        return None
    return focal if 1 <= focal <= 2000 else None


# ---- animations


def _probe_animation(path: Path, input_fps: Fraction | None) -> Clip:
    """What a WebP, PNG or AVIF animation holds; its rate is that of most of its first pictures."""
    head = read_header(path)
    if head.size[0] * head.size[1] > _MOST_MOVING_PIXELS or max(head.size) > _MOST_MOVING_SIDE:
        raise InputError(
            f"{path}: an animation of {head.size[0]}x{head.size[1]} px; expected at most 8K"
        )
    durations_s = [shown_s for _, shown_s in islice(_animated(path), _TIMED)]
    rate = Fraction(1 / float(np.median(durations_s))).limit_denominator(1001)
    return Clip(
        path=path, width=head.size[0], height=head.size[1], fps=input_fps or rate, rotation=0,
        audio=False, frame_count=head.frames, fps_given=input_fps is not None,
    )  # fmt: skip


def _timed_animation(clip: Clip) -> Iterator[tuple[Array, float]]:
    shown_at_s = 0.0
    selection = Selection(clip.part)
    for i, (picture, shown_s) in enumerate(_animated(clip.path)):
        time_s = i / float(own_rate(clip)) if clip.fps_given else shown_at_s
        shown_at_s += shown_s
        if selection.is_over(time_s):
            return
        if selection.takes(time_s):
            yield picture, time_s


def _animated(path: Path) -> Iterator[tuple[Array, float]]:
    """Every picture (H, W, 3) uint8 of an animation, and for how many seconds it is shown."""
    head = read_header(path)
    with _pillow_image(path) as image:
        for place in range(head.frames):
            image.seek(place)
            rgb = np.array(image.convert("RGB"))[:: head.every, :: head.every]
            shown_s = float(image.info.get("duration", 0)) / 1000  # known once it is decoded
            yield upright(np.ascontiguousarray(rgb), *head.turn), shown_s or _UNTIMED_S
