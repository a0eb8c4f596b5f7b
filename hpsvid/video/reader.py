"""Decode a clip's frames, a chunk at a time, upright and at their own times."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream

from hpsvid.errors import InputError
from hpsvid.types import Array, Clip, Frames
from hpsvid.video.probe import decode_stream, is_pictures, opened, timed_pictures, upright_size

_CHUNK_BYTES = 40e6  # of decoded pictures; three chunks are held at a time
_CLOCK_RESTART_S = 1.0  # a jump back by more than this is a new recording joined on


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
    timed = timed_pictures(clip) if is_pictures(clip.path) else _timed_video(clip)
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


def _timed_video(clip: Clip) -> Iterator[tuple[Array, float]]:
    """Upright pictures (H, W, 3) uint8, valid until the next one, and their times in s."""
    with opened(clip.path) as (container, stream):
        step_s = float(1 / clip.fps)
        to_rgb = VideoReformatter()
        width = height = decoded = 0
        origin_s = time_s = end_s = 0.0
        for frame in decode_stream(clip.path, container, stream):
            tick_s = frame.time_base or stream.time_base or 1 / clip.fps
            pts_s = None if frame.pts is None else float(frame.pts * tick_s)
            if decoded == 0:
                *size, rotation = upright_size(frame, stream)
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
