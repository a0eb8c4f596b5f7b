"""The part of a clip that is looked at: which frames lie in it, and a short way to its first."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from hpsvid.errors import InputError
from hpsvid.options import Options
from hpsvid.types import Clip, Part
from hpsvid.video.clock import frame_times
from hpsvid.video.containers import decode_stream

SEEK_FROM_S = 5.0  # a later start is sought, an earlier one reached by decoding
SEEK_BEFORE_S = 1.0  # the start, so that its frame is not missed
_SEEKABLE = ("mov", "matroska")  # demuxers whose index can be trusted
_SAME_S = 5e-4  # half a tick of the coarsest clock (Matroska's)


def asked_part(options: Options) -> Part | None:
    """The part that the options ask for; None for the whole clip."""
    if options.start is None and options.end is None and options.every is None:
        return None
    return Part(start_s=options.start or 0.0, end_s=options.end, every=options.every or 1)


def with_part(clip: Clip, part: Part | None) -> Clip:
    """The clip of which only `part` is looked at, with the part's rate and count of frames."""
    if part is None:
        return clip
    count = clip.frame_count
    if count is not None:
        end = count if part.end_s is None else min(count, round(part.end_s * clip.fps))
        count = max(0, -(-(end - round(part.start_s * clip.fps)) // part.every)) or None
    return replace(clip, part=part, fps=clip.fps / part.every, frame_count=count)


def own_rate(clip: Clip) -> Fraction:
    """The rate of the whole recording, Hz."""
    return clip.fps * (clip.part.every if clip.part else 1)


class Selection:
    """Which frames lie in the part; asked about each frame's time, s, in their order."""

    def __init__(self, part: Part | None) -> None:
        self._part = part or Part()
        self._place = -1  # of the last frame in the part, counted from its first

    def is_over(self, time_s: float) -> bool:
        """Whether this frame and all after it come after the part."""
        return self._part.end_s is not None and time_s >= self._part.end_s - _SAME_S

    def takes(self, time_s: float) -> bool:
        """Whether this frame is taken."""
        if time_s < self._part.start_s - _SAME_S:
            return False
        self._place += 1
        return self._place % self._part.every == 0


def no_frames(clip: Clip) -> InputError:
    """What to say of a part that holds no frame."""
    part = clip.part or Part()
    return InputError(
        f"{clip.path}: no frame from --start {part.start_s:g} s on"
        + ("" if part.end_s is None else f" before --end {part.end_s:g} s")
        + "; the clip is shorter"
    )


def timed_frames(
    clip: Clip, container: InputContainer, stream: VideoStream
) -> Iterator[tuple[VideoFrame, float]]:
    """The stream's frames with their times in s, from the first on or from one before the part.

    Where the container has an index the part's start is sought there; otherwise, and with
    `clip.fps_given`, all frames before it are decoded, too, though not converted.
    """
    step_s = float(1 / own_rate(clip))
    frames = decode_stream(clip.path, container, stream)
    start_s = clip.part.start_s if clip.part else 0.0
    is_indexed = container.format.name.startswith(_SEEKABLE)
    if start_s < SEEK_FROM_S or clip.fps_given or not is_indexed:
        yield from frame_times(frames, step_s)
        return
    first = next(frames, None)
    if first is None or first[1] is None or stream.time_base is None:
        yield from frame_times(chain([] if first is None else [first], frames), step_s)
        return
    origin_s = first[1]
    container.seek(round((origin_s + start_s - SEEK_BEFORE_S) / stream.time_base), stream=stream)
    frames = decode_stream(clip.path, container, stream)
    sought = next(frames, None)
    if sought is not None and sought[1] is not None and sought[1] <= origin_s + start_s:
        before_s = sought[1] - origin_s
        for frame, time_s in frame_times(chain([sought], frames), step_s):
            yield frame, time_s + before_s
        return
    container.seek(round(origin_s / stream.time_base), stream=stream)
    yield from frame_times(decode_stream(clip.path, container, stream), step_s)
