"""Clocks of recordings that users sent: every frame once, in order, at a time that makes sense."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hpsvid.common.series import bridged, rate_times
from hpsvid.errors import InputError
from hpsvid.pipeline.stages import StageClock, find_people
from hpsvid.types import Array, Detections, Frames
from hpsvid.video.clock import frame_times
from hpsvid.video.probe import probe
from hpsvid.video.writer import VideoWriter
from tests.video.clips import HEIGHT, WIDTH, code, mux, picture, read

COUNT = 24
PICTURES = [picture(i) for i in range(COUNT)]


@pytest.mark.parametrize("ticks_hz", [96, 600, 1000, 90_000])
def test_a_containers_clock_is_no_frame_rate(tmp_path: Path, ticks_hz: int) -> None:
    # libcamera-vid and `-c copy` give AVI a clock far faster than its frames
    stamps = [round(i * ticks_hz / 24) for i in range(COUNT)]
    path = mux(
        tmp_path / "a.avi", "libx264", PICTURES, rate=ticks_hz, stamps=stamps,
        time_base=Fraction(1, ticks_hz), options={"bf": "2"},
    )  # fmt: skip
    clip = probe(path)
    assert float(clip.fps) == pytest.approx(24, rel=0.03)
    assert clip.frame_count is None or abs(clip.frame_count - COUNT) <= 1
    rgb, times = read(clip)
    assert [code(frame) for frame in rgb] == list(range(COUNT))
    np.testing.assert_allclose(times, np.arange(COUNT) / 24, atol=1e-3 + 1 / ticks_hz)


RAW = [(codec, rate) for codec in ("h264", "hevc") for rate in (10, 30, 50, 120)]


@pytest.mark.parametrize(("codec", "rate"), [*RAW, ("mpeg2video", 30), ("mpeg2video", 50)])
def test_a_raw_stream_has_its_own_rate(tmp_path: Path, codec: str, rate: int) -> None:
    encoder = {"h264": "libx264", "hevc": "libx265"}.get(codec, codec)
    suffix = {"h264": ".h264", "hevc": ".hevc"}.get(codec, ".m2v")
    options = {"x265-params": "log-level=none"} if codec == "hevc" else {}
    path = mux(tmp_path / f"a{suffix}", encoder, PICTURES, rate=rate, options=options)
    clip = probe(path)
    assert clip.fps == rate and not clip.notes
    rgb, times = read(clip)
    assert [code(frame) for frame in rgb] == list(range(COUNT))
    np.testing.assert_allclose(times, np.arange(COUNT) / rate, atol=1e-6)


def test_a_raw_stream_without_a_rate_says_what_was_assumed(tmp_path: Path) -> None:
    path = mux(tmp_path / "a.mjpeg", "mjpeg", PICTURES, pix_fmt="yuvj420p")
    clip = probe(path)
    assert clip.fps == 25
    assert "--input-fps" in clip.notes[0]
    assert not probe(path, input_fps=50).notes


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([7, 47, 87, 87, 127, 167], [0, 40, 80, 100, 120, 160]),  # doubled
        ([0, 40, 40, 60, 80, 120], [0, 40, 50, 60, 80, 120]),  # doubled, then half a step
        ([0, 40, 40, 40, 40, 120], [0, 40, 60, 80, 100, 120]),
        ([0, 40, 30, 80, 120], [0, 40, 60, 80, 120]),  # a step back
        ([0, None, None, 120], [0, 40, 80, 120]),
        ([None, None, None], [0, 40, 80]),
        ([5000, 5040, 0, 40, 80], [0, 40, 80, 120, 160]),  # starts again
        ([0, 40, 80, 80], [0, 40, 80, 120]),  # doubled at the end
        ([0, 40, 86_500_000, 86_500_040], [0, 40, 80, 120]),  # a day ahead: broken
        ([0, 40, 600_000, 600_040], [0, 40, 600_000, 600_040]),  # a pause stays
        ([900, *range(0, 400, 40)], [0, *range(40, 440, 40)]),  # the clock slips back by 0.9 s
        ([-80, -40, 0, 40], [0, 40, 80, 120]),
    ],
)
def test_every_frame_gets_a_time_of_its_own(stamps: list[int | None], times: list[int]) -> None:
    stamped = [(i, None if stamp is None else stamp / 1000) for i, stamp in enumerate(stamps)]
    timed = list(frame_times(stamped, 0.04))
    assert [i for i, _ in timed] == list(range(len(stamps)))
    np.testing.assert_allclose([1000 * time_s for _, time_s in timed], times, atol=0.01)


@pytest.mark.parametrize("seed", range(20))
def test_any_stamps_give_times_that_the_writer_takes(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wild = rng.choice([0, 40, 40, 40, 1, -40, -2000, 5000, 1_000_000_000], 40).cumsum()
    stamped = [(i, None if rng.random() < 0.1 else stamp / 1000) for i, stamp in enumerate(wild)]
    timed = list(frame_times(stamped, 0.04))
    assert [i for i, _ in timed] == list(range(40))
    assert np.diff([time_s for _, time_s in timed]).min() > 0.5e-3
    with VideoWriter(tmp_path / "a.mkv", width=WIDTH, height=HEIGHT, fps=Fraction(25)) as writer:
        for i, time_s in timed:
            writer.write(picture(i % COUNT), time_s)


def test_the_rate_that_the_user_gives_counts(tmp_path: Path) -> None:
    path = mux(tmp_path / "a.mp4", "libx264", PICTURES, rate=25)
    clip = probe(path, input_fps=5)
    assert clip.fps == 5
    np.testing.assert_allclose(read(clip)[1], np.arange(COUNT) / 5)
    assert probe(path, input_fps=23.976).fps == Fraction(24000, 1001)
    for wrong in (0, -5, float("nan"), 1e9):
        with pytest.raises(InputError, match="--input-fps"):
            probe(path, input_fps=wrong)


class StandsThere:
    """A detector that sees a person in every frame, at the same place."""

    def __init__(self) -> None:
        self.name, self.known_frames = "stands there", None
        self.provenance = {"name": self.name}

    def __call__(self, frames: Frames) -> list[Detections]:
        box, score = np.array([[10, 5, 40, 60]], np.float32), np.array([0.9], np.float32)
        return [Detections(frame_index=int(i), boxes=box, scores=score) for i in frames.index]


@pytest.mark.parametrize(("pause_s", "people"), [(4, 1), (20, 1), (60, 2), (600, 2), (10_000, 2)])
def test_a_pause_ends_tracks_and_a_hold_does_not(tmp_path: Path, pause_s: int, people: int) -> None:
    stamps = [42 * i + (i > 11) * pause_s * 1000 for i in range(COUNT)]
    path = mux(
        tmp_path / "a.mkv", "mpeg4", [PICTURES[0]] * COUNT, stamps=stamps,
        time_base=Fraction(1, 1000), rate=24, options={"bf": "0"},
    )  # fmt: skip
    clip = probe(path)
    tracks, pts_s = find_people(clip, StandsThere(), StageClock())
    assert len(pts_s) == COUNT
    assert len(tracks) == people
    assert sum(len(track) for track in tracks) == COUNT
    for track in tracks:  # what solvers sample evenly in time grows with the frames alone
        assert len(samples(pts_s[track.frame_index])) < 31 * len(track)


def samples(pts_s: Array) -> Array:
    times = rate_times(bridged(pts_s))
    return pts_s if times is None else times
