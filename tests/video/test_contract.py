"""One contract for every reader and the writer: what goes in comes out, in order and in time.

Small clips made here, whose pictures say their own index, over the axes on which containers and
cameras differ: rate, container, reordering, uneven times, turned and mirrored, oblong pixels, odd
sizes, edit lists, where the audio starts.
"""

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from hpsvid.types import Array
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from hpsvid.video.writer import VideoWriter, open_writer
from tests.video.clips import HEIGHT, WIDTH, code, ffmpeg, mux, picture, read, shown_by

COUNT = 24
RATES = [Fraction(rate) for rate in (5, 10, 15, 24, 25, 30, 48, 50, 60, 100, 120, 240)]
RATES += [Fraction(rate * 1000, 1001) for rate in (24, 30, 60)]
B_FRAMES = {"bf": "3", "g": "12", "preset": "medium"}
NO_B_FRAMES = {"bf": "0", "preset": "ultrafast"}
KINDS = {  # container and codec: suffix, codec, options
    "mp4, B-frames": (".mp4", "libx264", B_FRAMES),
    "mov, none": (".mov", "libx264", NO_B_FRAMES),
    "mkv, B-frames": (".mkv", "libx264", B_FRAMES),
    "ts, B-frames": (".ts", "libx264", B_FRAMES),
    "avi, B-frames": (".avi", "libx264", B_FRAMES),
    "avi, mpeg4 with B-frames": (".avi", "mpeg4", {"bf": "2"}),
    "flv, B-frames": (".flv", "libx264", B_FRAMES),
}
UNEVEN_MS = {
    "40, 40, 60": np.arange(COUNT) * 40 + 20 * (np.arange(COUNT) // 3),
    "screen recording": np.cumsum([0, *[16, 17, 300, 17] * 6])[:COUNT],
    "a hold first": np.concatenate([[0], 4000 + 40 * np.arange(COUNT - 1)]),
    "a hold in the middle": 40 * np.arange(COUNT) + 3000 * (np.arange(COUNT) > 11),
    "a camera in dim light": np.cumsum([0, *[33, 34, 66, 33, 67] * 5])[:COUNT],
}
# display matrix a, b, c, d -> how numpy shows the stored picture (H, W, 3)
SHOWN: dict[str, tuple[tuple[int, int, int, int], Callable[[Array], Array]]] = {
    "upright": ((1, 0, 0, 1), lambda p: p),
    "90 clockwise": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "180": ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    "270 clockwise": ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
    "mirrored": ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda p: p[::-1]),
    "transposed": ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
    "transversed": ((0, -1, -1, 0), lambda p: np.rot90(p, 2).transpose(1, 0, 2)),
}
PICTURES = [picture(i) for i in range(COUNT)]


def check_sequence(path: Path, times: Array, atol: float = 1e-3) -> None:
    """All pictures come in their order and at their times, in two passes of different chunks."""
    clip = probe(path)
    assert (clip.width, clip.height) == (WIDTH, HEIGHT)
    rgb, found = read(clip)
    assert [code(frame) for frame in rgb] == list(range(len(times)))
    np.testing.assert_allclose(found, times, atol=atol)
    again = [frames.pts_s for frames in read_frames(clip, chunk=5)]
    np.testing.assert_array_equal(np.concatenate(again), found)


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: f"{float(rate):.5g} fps")
@pytest.mark.parametrize("kind", KINDS)
def test_even_rates(tmp_path: Path, kind: str, rate: Fraction) -> None:
    suffix, codec, options = KINDS[kind]
    path = mux(tmp_path / f"a{suffix}", codec, PICTURES, rate=rate, options=options)
    check_sequence(path, np.arange(COUNT) / float(rate), atol=1.1e-3)
    assert float(probe(path).fps) == pytest.approx(float(rate), rel=0.04)  # a clock of 1 ms


@pytest.mark.parametrize("times", UNEVEN_MS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".webm"])
def test_uneven_times(tmp_path: Path, suffix: str, times: str) -> None:
    stamps = UNEVEN_MS[times]
    codec, options = ("libx264", B_FRAMES)
    if suffix == ".webm":
        codec, options = "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}
    path = mux(
        tmp_path / f"a{suffix}", codec, PICTURES, stamps=stamps.tolist(), rate=1000,
        time_base=Fraction(1, 1000), options=options,
    )  # fmt: skip
    check_sequence(path, stamps / 1000)
    usual = 1000 / np.median(np.diff(stamps))
    assert float(probe(path).fps) > 0.85 * usual  # no motion falls between a file's frames


@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(4, 3), Fraction(8, 9)], ids=str)
@pytest.mark.parametrize("shown", SHOWN)
def test_turned_mirrored_and_oblong(tmp_path: Path, shown: str, aspect: Fraction) -> None:
    matrix, as_shown = SHOWN[shown]
    path = mux(tmp_path / "a.mp4", "libx264", PICTURES[:3], aspect=aspect, options=NO_B_FRAMES)
    clip = probe(shown_by(path, matrix))
    rgb, _ = read(clip)
    square = np.asarray(Image.fromarray(PICTURES[1]).resize((round(WIDTH * aspect), HEIGHT)))
    wanted = as_shown(square)
    assert rgb.shape[1:] == wanted.shape
    assert np.abs(rgb[1].astype(int) - wanted).mean() < 12  # grey levels; edges are soft


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [(".mkv", "ffv1", "yuv420p"), (".mp4", "libx264", "yuv444p"), (".gif", "gif", "rgb8"),
     (".avi", "ffv1", "yuv420p"), (".mkv", "libvpx-vp9", "yuv420p")],
)  # fmt: skip
@pytest.mark.parametrize("size", [(97, 65), (98, 65), (97, 66)], ids=str)
def test_odd_sizes(
    tmp_path: Path, size: tuple[int, int], suffix: str, codec: str, pix_fmt: str
) -> None:
    pictures = [picture(i, *size) for i in range(COUNT)]
    clip = probe(mux(tmp_path / f"a{suffix}", codec, pictures, pix_fmt=pix_fmt))
    assert (clip.width, clip.height) == size
    assert [code(frame) for frame in read(clip)[0]] == list(range(COUNT))


@pytest.mark.parametrize("start_s", [0.08, 0.2, 0.4])
@pytest.mark.parametrize("options", [B_FRAMES, NO_B_FRAMES], ids=["B-frames", "none"])
def test_edit_lists_hide_frames(tmp_path: Path, options: dict[str, str], start_s: float) -> None:
    whole = mux(tmp_path / "whole.mp4", "libx264", PICTURES, options=options)
    ffmpeg("-ss", str(start_s), "-i", whole, "-c", "copy", tmp_path / "cut.mp4")
    first = round(start_s * 25)
    rgb, times = read(probe(tmp_path / "cut.mp4"))
    assert [code(frame) for frame in rgb] == list(range(first, COUNT))
    np.testing.assert_allclose(times, np.arange(COUNT - first) / 25, atol=1e-3)


# ---- the writer


def written(path: Path, rate: Fraction, times: Array) -> Path:
    with VideoWriter(path, width=WIDTH, height=HEIGHT, fps=rate) as writer:
        for i, time_s in enumerate(times):
            writer.write(PICTURES[i], float(time_s))
    return path


@pytest.mark.parametrize("rate", RATES[::2], ids=lambda rate: f"{float(rate):.5g} fps")
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_written_rates(tmp_path: Path, suffix: str, rate: Fraction) -> None:
    times = np.arange(COUNT) / float(rate)
    check_sequence(written(tmp_path / f"a{suffix}", rate, times), times)


@pytest.mark.parametrize("times", UNEVEN_MS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_written_uneven_times(tmp_path: Path, suffix: str, times: str) -> None:
    seconds = UNEVEN_MS[times] / 1000
    check_sequence(written(tmp_path / f"a{suffix}", Fraction(25), seconds), seconds)


@pytest.mark.parametrize(
    ("suffix", "shift_s"), [*product([".mp4", ".mov", ".mkv"], [-0.4, 0.0, 0.25])]
)
def test_written_audio_keeps_its_place(tmp_path: Path, suffix: str, shift_s: float) -> None:
    silent = mux(tmp_path / "silent.mkv", "libx264", PICTURES, options=B_FRAMES)
    ffmpeg(
        "-i", silent, "-itsoffset", str(shift_s), "-f", "lavfi", "-i", "sine=d=1:r=48000",
        "-map", "0", "-map", "1", "-c:v", "copy", "-c:a", "aac", tmp_path / "in.mkv",
    )  # fmt: skip
    clip = probe(tmp_path / "in.mkv")
    with open_writer(tmp_path / f"out{suffix}", clip) as writer:
        for frames in read_frames(clip):
            for rgb, time_s in zip(frames.rgb, frames.pts_s, strict=True):
                writer.write(rgb, float(time_s))
    check_sequence(tmp_path / f"out{suffix}", np.arange(COUNT) / 25)
    starts = [_audio_start_s(tmp_path / name) for name in ("in.mkv", f"out{suffix}")]
    assert starts[1] == pytest.approx(starts[0], abs=2e-3)


def _audio_start_s(path: Path) -> float:
    """When the audio's first packet plays, from the first picture on, s."""
    firsts = []
    for kind in ("video", "audio"):
        with av.open(str(path)) as container:
            frames = container.demux(**{kind: 0})
            stamps = [float(p.pts * (p.time_base or 0)) for p in frames if p.pts is not None]
            firsts.append(min(stamps))
    return firsts[1] - firsts[0]
