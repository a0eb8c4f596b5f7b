"""The clock of a video: its nominal rate, each frame's time, and how long it should last."""

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import islice
from typing import TypeVar

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from hpsvid.types import Clip
from hpsvid.video.containers import RAW_DEMUXERS

FALLBACK_FPS = Fraction(25)  # libavformat's own guess for streams that say nothing
_MAX_FPS = 240  # Hz; a higher "rate" is seldom a camera's
_CLOCK_HZ = 1000  # and one above this is a container's clock
_STAMPS = 60  # how many packets' times tell the rate where the container does not
# A stated rate below this share of the one that most frames follow is the mean over a hold
_MEAN_OVER_HOLDS = 0.9

RESTART_S = 1.0  # a jump back by more than this is a new recording joined on
BROKEN_S = 86_400.0  # and a jump ahead by more than a day is no pause
_MIN_GAP_S = 1e-3  # frames nearer than this count as of the same time; containers count so
_MOST_HELD = 4  # frames that wait for a later stamp

T = TypeVar("T")


def nominal_rate(container: InputContainer, stream: VideoStream) -> tuple[Fraction, bool]:
    """The rate in Hz at which most frames follow each other, and whether it is a mere guess.

    What the container states is taken unless the next packets' median step contradicts it: a
    rate above theirs is a container's clock (600 Hz; 1000 Hz for steps of 33 ms and a jump),
    one below it the mean over holds or pauses. MP4 knows its true mean, which may be above the
    first packets' rate. A raw stream's rate stands in its own header.
    """
    stated = stream.average_rate
    if container.format.name in RAW_DEMUXERS:
        header = stream.codec_context.framerate
        stated = header if header and header <= _CLOCK_HZ else stream.guessed_rate
        if not header:
            return Fraction(stated or FALLBACK_FPS).limit_denominator(1001), True
    packets = islice(container.demux(stream), _STAMPS)
    stamps = sorted({packet.pts for packet in packets if packet.pts is not None})
    step_s = None
    if stream.time_base and len(stamps) > 2:
        step_s = Fraction(float(np.median(np.diff(stamps)))) * stream.time_base
    rate = stated
    if not rate or rate > _MAX_FPS:
        rate = stream.guessed_rate
        if rate and step_s:
            rate = rate if rate * step_s < 1.1 else 1 / step_s
    elif step_s:
        is_mean = container.format.name.startswith("mov")
        if rate * step_s < _MEAN_OVER_HOLDS or (rate * step_s > 1.5 and not is_mean):
            rate = 1 / step_s
    if not rate or rate > _CLOCK_HZ:
        return FALLBACK_FPS, True
    # 1001 is the largest denominator of a broadcast rate; a measured average such as
    # 27030000/900401 says no more than its nearest such neighbour
    nearest = Fraction(rate).limit_denominator(1001)
    return (nearest, False) if nearest else (FALLBACK_FPS, True)


def announced_frames(container: InputContainer, stream: VideoStream, fps: Fraction) -> int | None:
    """How many frames the container announces; None when it does not.

    AVI counts ticks of its clock, which are frames only where that runs at the frame rate.
    """
    clock = stream.average_rate
    if container.format.name == "avi" and clock and clock > _MEAN_OVER_HOLDS * fps:
        return round(stream.frames * min(1, fps / clock)) or None
    return stream.frames or None


def frame_times(
    stamped: Iterable[tuple[T, float | None]], step_s: float
) -> Iterator[tuple[T, float]]:
    """Every frame with its time in s, from 0 on and strictly increasing.

    stamped: frames in display order with their stamps, s; step_s: the nominal step. The rules
    for stamps that are missing or do not increase are in `reader.read_frames`.
    """
    gap_s = min(_MIN_GAP_S, step_s / 4)
    origin_s = last_s = 0.0
    held: list[tuple[T, float]] = []  # frames whose stamps do not increase, with these
    started = False

    def release(until_s: float) -> Iterator[tuple[T, float]]:
        nonlocal last_s, held
        start_s, share_s = last_s, (until_s - last_s) / (len(held) + 1)
        for place, (frame, _) in enumerate(held, start=1):
            last_s = start_s + place * share_s
            yield frame, last_s
        held = []

    for frame, stamp_s in stamped:
        if not started:
            started, origin_s = True, stamp_s or 0.0
            yield frame, 0.0
            continue
        time_s = None if stamp_s is None else stamp_s - origin_s
        if time_s is not None and last_s + gap_s * (len(held) + 1) <= time_s < last_s + BROKEN_S:
            yield from release(min(time_s, last_s + step_s * (len(held) + 1)))
        elif time_s is not None and last_s - RESTART_S <= time_s < last_s + BROKEN_S:
            held.append((frame, time_s))
            if len(held) > _MOST_HELD:  # the clock has slipped back, unless it stands still
                slipped = held[-1][1] > held[0][1]
                yield from release(last_s + (len(held) + 1) * (step_s if slipped else gap_s))
                origin_s += time_s - last_s if slipped else 0.0
            continue
        else:
            yield from release(last_s + step_s * (len(held) + 1))
            time_s = last_s + step_s
            origin_s = origin_s if stamp_s is None else stamp_s - time_s
        last_s = time_s
        yield frame, time_s
    yield from release(last_s + step_s * (len(held) + 1))


def announced_duration_s(clip: Clip, container: InputContainer, stream: VideoStream) -> float:
    """How long the container says that the video lasts, s; 0 when it does not say."""
    if stream.frames and not container.format.name.startswith("mov"):
        # a cut AVI's duration is reckoned from its bytes
        return float(stream.frames / (stream.average_rate or clip.fps))
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)  # edit lists already applied
    # Matroska counts both from the file's zero, and the whole file's may be another stream's
    start_s = float((stream.start_time or 0) * (stream.time_base or 0))
    if tag := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) - start_s
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base - start_s
    return 0.0
