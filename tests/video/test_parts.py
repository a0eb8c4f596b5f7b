"""--start, --end, --every: which frames of a recording come, and with which times."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from hpsvid.errors import InputError
from hpsvid.flags import known_time
from hpsvid.options import Options
from hpsvid.types import Clip
from hpsvid.video import parts
from hpsvid.video.probe import open_clip, probe
from hpsvid.video.reader import read_frames
from hpsvid.video.writer import VideoWriter, open_writer, write_image
from tests.video.clips import VFR, X264, N, code, encode, ffmpeg, picture

LONG_GOP, SHORT_GOP = ("-g", "300"), ("-g", "6", "-bf", "2")
KINDS = {
    "long.mp4": (*X264, *LONG_GOP),
    "short.mp4": (*X264, *SHORT_GOP),
    "short.mkv": (*X264, *SHORT_GOP, *VFR),
    "short.avi": (*X264, *SHORT_GOP),
    "short.ts": (*X264, *SHORT_GOP),
    "raw.h264": (*X264, *SHORT_GOP),
}
PARTS = [
    Options(start=0.4),
    Options(end=0.5),
    Options(start=0.4, end=0.9),
    Options(every=3),
    Options(start=0.3, end=1.1, every=4),
]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name, options in KINDS.items():
        encode(folder / name, *options)
    for i in range(N):
        write_image(folder / "frames" / f"{i}.png", picture(i))
    return folder


def told(clip: Clip) -> tuple[list[int], np.ndarray]:
    """The indices that the pictures say, and their times."""
    chunks = list(read_frames(clip))
    places = np.concatenate([frames.index for frames in chunks])
    assert (places == np.arange(len(places))).all()
    times = np.concatenate([frames.pts_s for frames in chunks])
    return [code(rgb) for frames in chunks for rgb in frames.rgb], times


@pytest.mark.parametrize("seek", [True, False])
@pytest.mark.parametrize("options", PARTS)
@pytest.mark.parametrize("name", [*KINDS, "frames"])
def test_the_part_is_what_the_whole_has_there(
    clips: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: Options, seek: bool
) -> None:
    monkeypatch.setattr(parts, "SEEK_FROM_S", 0.1 if seek else 1e9)
    monkeypatch.setattr(parts, "SEEK_BEFORE_S", 0.05)
    whole = probe(clips / name)
    codes, times = told(whole)
    assert codes == list(range(N))
    inside = times >= (options.start or 0) - 1e-3
    inside &= times < (options.end or 1e9) - 1e-3
    places = np.flatnonzero(inside)[:: options.every or 1]
    clip = open_clip(clips / name, options)
    assert 0 < len(places) < N
    found, own = told(clip)
    assert found == places.tolist()
    np.testing.assert_allclose(own, times[places], atol=1e-9)
    assert clip.fps == whole.fps / (options.every or 1)
    if whole.frame_count is not None and not name.endswith("mkv"):
        assert clip.frame_count is not None and abs(clip.frame_count - len(places)) <= 1


def test_a_late_part_is_sought_not_decoded(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SEEK_FROM_S", 0.1)
    monkeypatch.setattr(parts, "SEEK_BEFORE_S", 0.05)
    decoded: list[float | None] = []
    inner = parts.decode_stream

    def counted(*arguments):
        for frame, stamp in inner(*arguments):
            decoded.append(stamp)
            yield frame, stamp

    monkeypatch.setattr(parts, "decode_stream", counted)
    found, _ = told(open_clip(clips / "short.mp4", Options(start=1.0, end=1.08)))
    assert found == [25, 26]
    assert len(decoded) <= 1 + 6 + 2 + 4  # the first, a group of pictures, the part, what follows


def test_an_index_that_leads_astray_costs_only_time(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the seek ends after the part's start all frames are decoded."""
    monkeypatch.setattr(parts, "SEEK_FROM_S", 0.1)
    monkeypatch.setattr(parts, "SEEK_BEFORE_S", -0.5)
    found, _ = told(open_clip(clips / "short.mp4", Options(start=0.4, end=0.6)))
    assert found == list(range(10, 15))


def test_a_rate_that_the_user_gives_counts_for_the_part(clips: Path) -> None:
    clip = open_clip(clips / "short.mp4", Options(input_fps=10, start=1.0, end=2.0, every=2))
    found, times = told(clip)
    assert found == [10, 12, 14, 16, 18] and clip.fps == 5
    np.testing.assert_allclose(times, [1.0, 1.2, 1.4, 1.6, 1.8])


def test_a_part_without_frames_is_one_line(clips: Path) -> None:
    with pytest.raises(InputError, match="no frame from --start 50 s on"):
        told(open_clip(clips / "short.mp4", Options(start=50.0)))
    with pytest.raises(InputError, match="no effect on"):
        open_clip(clips / "frames" / "0.png", Options(every=2))
    with pytest.raises(InputError, match="--end 2"):
        Options(start=3.0, end=2.0)


def test_a_file_that_was_cut_off_is_said_of_a_part_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "cut.mkv"
    long = encode(tmp_path / "long.mkv", *X264, *SHORT_GOP, "-vf", "setpts=5*PTS")
    whole = long.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    told(open_clip(path, Options(end=0.5)))
    with pytest.raises(InputError, match="cut off or damaged"):
        told(open_clip(path, Options(start=0.4)))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1:30", 90), ("0:01:30.5", 90.5), ("2:00:00", 7200)]
)
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert known_time(text) == seconds


@pytest.mark.parametrize("text", ["", "-3", "1:2:3:4", "half", "nan", "1e3", "1:"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InputError, match="hh:mm:ss"):
        known_time(text)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_overlay_of_a_part_has_its_sound(tmp_path: Path, suffix: str) -> None:
    """A second of silence, then a tone from 1 s on: a part from 0.8 s has the tone at 0.2 s."""
    source = tmp_path / "a.mp4"
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=2", "-f", "lavfi", "-i",
        "aevalsrc=if(gte(t\\,1)\\,sin(2*PI*440*t)\\,0):d=2:s=16000", *X264, "-c:a", "aac", source,
    )  # fmt: skip
    clip = open_clip(source, Options(start=0.8, end=1.6))
    out = tmp_path / f"out{suffix}"
    with open_writer(out, clip) as writer:
        for frames in read_frames(clip):
            for rgb, pts in zip(frames.rgb, frames.pts_s - 0.8, strict=True):
                writer.write(rgb, float(pts))
    assert abs(sum(len(frames) for frames in read_frames(probe(out))) - 20) <= 1
    with av.open(str(out)) as container:
        audio = container.decode(audio=0)
        sound = [(frame.time, np.abs(frame.to_ndarray()).max()) for frame in audio]
    loud = [time for time, peak in sound if time is not None and peak > 0.3]
    assert abs(loud[0] - 0.2) < 0.1
    assert sound[-1][0] is not None and sound[-1][0] < 0.95


def test_the_rate_of_a_part_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with VideoWriter(path, width=64, height=48, fps=Fraction(30000, 1001)) as writer:
        for i in range(12):
            writer.write(np.zeros((48, 64, 3), np.uint8), i * 1001 / 30000)
    clip = open_clip(path, Options(every=5))
    assert clip.fps == Fraction(6000, 1001) and parts.own_rate(clip) == Fraction(30000, 1001)
    assert clip.frame_count == 3 and len(told(clip)[0]) == 3
