"""Decode a clip's frames, a chunk at a time, upright and at their own times."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from hpsvid.errors import InputError
from hpsvid.types import Array, Clip, Frames
from hpsvid.video.clock import announced_duration_s
from hpsvid.video.colour import ToRGB, deinterlaced
from hpsvid.video.containers import opened
from hpsvid.video.parts import Selection, no_frames, own_rate, timed_frames
from hpsvid.video.pictures import is_pictures, timed_pictures
from hpsvid.video.probe import identity
from hpsvid.video.upright import fitted_size, on_canvas, orientation, upright, upright_size

_CHUNK_BYTES = 40e6  # of decoded pictures; three chunks are held at a time
_BLANK = 244  # grey of the pictures of a clip without a video


def read_frames(clip: Clip, *, chunk: int | None = None) -> Iterator[Frames]:
    """Decode the clip in chunks of up to `chunk` frames, upright RGB, each with its own time.

    chunk: None takes 8, and fewer of large pictures (1 of 4K): memory does not grow with
    the clip. Times are the file's own, its first frame's is 0, and they increase strictly; with
    `clip.fps_given` they are the frames' numbers over the rate. Of `clip.part` only its frames
    come, with the same times.
    A frame without a time gets its predecessor's plus the nominal step; those whose times do not
    increase are spread evenly up to the next that does, which keeps its own. When the clock jumps
    back by more than a second (recordings joined together), slips back for more than four
    frames, or jumps ahead by more than a day, it goes on from there.
    Pictures are turned and mirrored as players show them, interlaced ones deinterlaced, HDR
    (HLG, PQ) tone-mapped. A stream that changes its picture size half-way is fitted into the
    first, aspect kept.

    Of a clip that is `blank` the pictures are plain, their times even.

    Raises InputError when the file does not fit `clip` any more, and at the end when fewer
    frames could be decoded than the container announces, or the part holds none. A damaged
    packet alone is skipped.
    Tolerance: 3 frames or 1 % must be missing in count and in time (edit lists hide frames of
    good files); where the container announces only a duration, 1 s or 2 %.
    """
    if chunk is None:
        chunk = int(np.clip(_CHUNK_BYTES // (3 * clip.width * clip.height), 1, 8))
    if chunk < 1:
        raise ValueError(f"chunk: expected at least 1 frame, found {chunk}")
    if clip.blank:
        yield from _blank(clip, chunk)
        return
    _check_same(clip)
    timed = timed_pictures(clip) if is_pictures(clip.path) else _timed_video(clip)
    first = 0
    while True:
        rgb = np.empty((chunk, clip.height, clip.width, 3), np.uint8)
        times: list[float] = []
        for picture, time_s in islice(timed, chunk):
            rgb[len(times)] = picture
            times.append(time_s)
        if not times:
            _check_same(clip)
            if first == 0 and clip.part is not None:
                raise no_frames(clip)
            return
        n = len(times)
        yield Frames(rgb=rgb[:n], index=np.arange(first, first + n), pts_s=np.array(times))
        first += n


def _blank(clip: Clip, chunk: int) -> Iterator[Frames]:
    """The pictures of a clip without a video."""
    count = clip.frame_count or 0
    for first in range(0, count, chunk):
        index = np.arange(first, min(first + chunk, count))
        rgb = np.full((len(index), clip.height, clip.width, 3), _BLANK, np.uint8)
        yield Frames(rgb=rgb, index=index, pts_s=index / float(clip.fps))


def _timed_video(clip: Clip) -> Iterator[tuple[Array, float]]:
    """Upright pictures (H, W, 3) uint8, valid until the next one, and their times in s."""
    with opened(clip.path) as (container, stream):
        rate = float(own_rate(clip))
        to_rgb = ToRGB()
        selection = Selection(clip.part)
        canvas = clip.width, clip.height
        decoded, end_s = 0, 0.0
        for frame, time_s in deinterlaced(timed_frames(clip, container, stream)):
            size = upright_size(frame, stream)
            mirrored, rotation = orientation(frame)
            if decoded == 0 and (*size, rotation) != (*canvas, clip.rotation):
                raise _changed(clip, f"now {size[0]}x{size[1]} px, was {canvas[0]}x{canvas[1]} px")
            end_s = time_s + max(float(1 / own_rate(clip)), _duration_s(frame, stream))
            time_s = decoded / rate if clip.fps_given else time_s
            decoded += 1
            if selection.is_over(time_s):
                return
            if not selection.takes(time_s):
                continue
            fitted = fitted_size(size, canvas)
            rgb = to_rgb(frame, *(fitted[::-1] if rotation in (90, 270) else fitted))
            yield on_canvas(upright(rgb, mirrored, rotation), canvas), time_s
        _check_whole(clip, container, stream, decoded, end_s)


def _duration_s(frame: VideoFrame, stream: VideoStream) -> float:
    return float((frame.duration or 0) * (frame.time_base or stream.time_base or 0))


def _check_same(clip: Clip) -> None:
    """Raise InputError when the clip's file is not the one that was probed."""
    if clip.identity is not None and clip.path.exists() and clip.identity != identity(clip.path):
        raise _changed(clip, "its size or its time of change differs")


def _changed(clip: Clip, found: str) -> InputError:
    return InputError(
        f"{clip.path}: {found}; the file has changed since it was opened first, start again"
    )


def _check_whole(
    clip: Clip, container: InputContainer, stream: VideoStream, decoded: int, end_s: float
) -> None:
    """Raise InputError when clearly less was decoded than the container announces."""
    announced_s = announced_duration_s(clip, container, stream)
    if stream.frames:
        enough = stream.frames - max(3, 0.01 * stream.frames)
        enough_s = announced_s - max(3 / float(own_rate(clip)), 0.01 * announced_s)
        whole = decoded >= enough or end_s >= enough_s > 0
    else:
        whole = end_s >= announced_s - max(1.0, 0.02 * announced_s)
    if not whole:
        announced = clip.frame_count or f"about {round(announced_s * own_rate(clip))}"
        raise InputError(
            f"{clip.path}: cut off or damaged: {decoded} frames could be decoded, {announced} are "
            "announced; get a whole copy, or keep the readable part with "
            "ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4"
        )
