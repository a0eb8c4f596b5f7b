"""What a clip is before it is decoded: files, rotation, rate, focal length."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from hpsvid.errors import InputError
from hpsvid.options import MAX_FPS, MIN_INPUT_FPS, Options
from hpsvid.types import Clip, Motion
from hpsvid.video.clock import announced_frames, nominal_rate
from hpsvid.video.containers import VIDEO_SUFFIXES, decode_stream, opened
from hpsvid.video.marks import OVERLAY_MARK, comment_of
from hpsvid.video.parts import asked_part, with_part
from hpsvid.video.pictures import (
    is_pictures,
    is_single_picture,
    natural,
    probe_pictures,
    stated_focal,
)
from hpsvid.video.upright import orientation, upright_size

# Where telephones write the 35 mm equivalent of their focal length in QuickTime's metadata
_FOCAL_KEY = "com.apple.quicktime.camera.focal_length.35mm_equivalent"


def probe(path: Path, *, input_fps: float | None = None, photos: bool | None = None) -> Clip:
    """What a video, a folder of pictures or a single picture holds; decodes one frame.

    input_fps: Hz, at which frames follow each other whatever the file says; None believes it (a
    folder of frames: 30). photos: whether a folder holds photos of their own; None guesses.
    Width and height are upright (rotation metadata applied) and of square pixels. `fps` is the
    rate at which most frames follow each other (`clock.nominal_rate`). The focal length is what
    a telephone wrote into QuickTime's or EXIF metadata.
    Raises InputError: missing, empty, not a video, audio only, unreadable, a rate of 0 or less.
    """
    given = None if input_fps is None else _checked_rate(input_fps)
    if photos is not None and not path.is_dir():
        option = "--photos" if photos else "--no-photos"
        raise InputError(f"{option}: has no effect on {path}, which is no folder; leave it out")
    if is_pictures(path):
        clip = probe_pictures(path, input_fps=given, photos=photos)
        return clip if path.is_dir() else replace(clip, identity=identity(path))
    with opened(path) as (container, stream):
        frame, _ = next(decode_stream(path, container, stream), (None, None))
        if frame is None:
            raise InputError(
                f"{path}: the video stream holds no frame that can be decoded; "
                f"the file is damaged or cut off, expected a whole video"
            )
        width, height = upright_size(frame, stream)
        rate, guessed = nominal_rate(container, stream)
        rate = given or rate
        says = f"states no frame rate, taken as {rate} frames a second; --input-fps says otherwise"
        return Clip(
            path=path,
            width=width,
            height=height,
            fps=rate,
            rotation=orientation(frame)[1],
            audio=bool(container.streams.audio),
            frame_count=announced_frames(container, stream, rate),
            focal_35mm=stated_focal({**container.metadata, **stream.metadata}.get(_FOCAL_KEY)),
            fps_given=given is not None,
            identity=identity(path),
            notes=(says,) if guessed and given is None else (),
        )


def open_clip(path: Path, options: Options) -> Clip:
    """What `probe` finds, and the part of it that the options ask for. Raises InputError."""
    clip = probe(path, input_fps=options.input_fps, photos=options.photos)
    part = asked_part(options)
    if part is not None and is_single_picture(path):
        raise InputError(f"--start, --end, --every: have no effect on {path}, a single picture")
    return with_part(clip, part)


def with_clip_at(motion: Motion, path: Path) -> Motion:
    """The motion with its clip as it lies at `path` now.

    Raises InputError when it cannot be read, or has pictures of another size: the motion's camera
    did not take those.
    """
    clip, found = motion.clip, probe(path)
    # of what was imported without a video the size is a guess
    filmed = motion.provenance.other.get("imported", {}).get("video", True)
    if filmed and (found.width, found.height) != (clip.width, clip.height):
        raise InputError(
            f"{path}: has pictures of {found.width}x{found.height} px, the motion was made from "
            f"{clip.width}x{clip.height}; give the clip that the motion came from"
        )
    return replace(motion, clip=with_part(found, clip.part))


def _checked_rate(input_fps: float) -> Fraction:
    if not MIN_INPUT_FPS <= input_fps <= MAX_FPS:
        raise InputError(
            f"--input-fps {input_fps}: expected {MIN_INPUT_FPS:g} to {MAX_FPS} frames a second"
        )
    broadcast = Fraction(round(input_fps * 1.001) * 1000, 1001)  # 23.976 is 24000/1001
    if 0 < abs(float(broadcast) - input_fps) < 1e-3:
        return broadcast
    return Fraction(input_fps).limit_denominator(1001)


def identity(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in ns: another file of the same name has others."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def _is_overlay(path: Path) -> bool:
    """Whether hpsvid drew this video; beside each overlay lies its result, so few are opened."""
    return path.with_suffix(".npz").is_file() and comment_of(path) == OVERLAY_MARK


def clips_in(folder: Path) -> list[Path]:
    """The videos of a folder in natural order, by their suffix; those below it are left alone.

    Overlays that hpsvid drew are no clips.
    Raises InputError when it is no folder or holds none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; expected a folder of videos")
    clips = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in VIDEO_SUFFIXES
        and path.is_file()
        and path.name[0] != "."
        and not _is_overlay(path)
    ]
    if not clips:
        raise InputError(f"{folder}: a folder without videos; expected {', '.join(VIDEO_SUFFIXES)}")
    return sorted(clips, key=natural)
