"""A running camera: only the newest frame, nothing of the future, nothing lost at the end."""

import itertools
import threading
import time
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from hpsvid.body.model import Body
from hpsvid.body.smpl import load_chosen_body
from hpsvid.cli import app
from hpsvid.common.threads import Newest, one_thread
from hpsvid.errors import InputError
from hpsvid.formats.npz import read_motion, write_motion
from hpsvid.live.capture import Shot, capturing, open_source
from hpsvid.live.look import Looker
from hpsvid.live.picture import Picture
from hpsvid.live.pose import Poser
from hpsvid.live.watch import Drawing, watch
from hpsvid.motion.smoothing import one_euro
from hpsvid.options import Options
from hpsvid.render import load_renderer
from hpsvid.types import Array, Clip
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from tests.factories import WALK

BLANK = Clip(
    path=Path("camera 0"), width=160, height=120, fps=Fraction(30), rotation=0, audio=False,
    frame_count=None,
)  # fmt: skip
OPTIONS = Options(solver="hybrik", network="small", threads=1)


def blank_shots(count: int | None = None, every_s: float = 0.0) -> Generator[Shot]:
    """Frames of nobody, whose first pixel counts; without an end unless `count` is given."""
    index = 0
    while index != count:
        rgb = np.full((120, 160, 3), 127, np.uint8)
        rgb[0, 0] = index % 256
        yield Shot(rgb=rgb, index=index, pts_s=index / 30, captured_s=time.monotonic())
        index += 1
        time.sleep(every_s)


@pytest.fixture(scope="module")
def body() -> Body:
    return load_chosen_body(None)


@pytest.fixture(scope="module")
def walk() -> list[tuple[Array, int, float]]:
    """Every third frame of two thirds of a second of the walk: picture, number, time."""
    taken = []
    for frames in read_frames(probe(WALK), chunk=1):
        index = int(frames.index[0])
        if index >= 81:
            break
        if index >= 60 and index % 3 == 0:
            taken.append((frames.rgb[0].copy(), index, float(frames.pts_s[0])))
    return taken


@one_thread()
def follow(body: Body, frames: list[tuple[Array, int, float]], options=OPTIONS):
    looker = Looker(probe(WALK), options)
    poser = Poser(looker, body, options)
    return poser, [(pts, poser.pose(looker.look(rgb, n, pts), pts)) for rgb, n, pts in frames]


# ---- capture


def test_who_is_slow_gets_the_newest_and_no_queue() -> None:
    newest: Newest[int] = Newest()
    for item in range(100):
        newest.put(item)
    assert newest.after(0, 0) == (100, 99)
    assert newest.after(100, 0.01) == (100, None)
    newest.put(100)
    newest.close()
    assert newest.after(100, 0) == (101, 100)  # what came before the end is not lost
    assert newest.after(101, 10) == (101, None)


def test_an_error_of_the_camera_reaches_who_takes_the_frames() -> None:
    def broken() -> Generator[Shot]:
        yield from blank_shots(1)
        raise InputError("unplugged")

    with capturing(broken()) as newest, pytest.raises(InputError, match="unplugged"):
        newest.after(1, 5)


def test_a_file_as_a_camera_is_in_order_and_never_early() -> None:
    clip, shots = open_source(str(WALK))
    first = [next(shots) for _ in range(5)]
    shots.close()
    assert [shot.index for shot in first] == [0, 1, 2, 3, 4]
    assert first[0].rgb.shape == (clip.height, clip.width, 3)
    since = np.array([shot.captured_s - first[0].captured_s for shot in first])
    assert (since >= np.array([shot.pts_s for shot in first]) - 0.02).all()


def test_frames_are_dropped_not_queued_when_showing_is_slow(body: Body) -> None:
    looker = Looker(BLANK, OPTIONS)
    poser = Poser(looker, body, OPTIONS)
    seen: list[Picture] = []

    def slow(picture: Picture) -> bool:
        seen.append(picture)
        time.sleep(0.05)
        return True

    outcome = watch(
        blank_shots(200, every_s=0.002), looker, poser,
        Drawing(renderer=load_renderer("raster"), alpha=1, show=slow), seconds=None, keep=True,
    )  # fmt: skip
    numbers = outcome.numbers
    times = [pts_s for pts_s, _ in outcome.kept]
    assert times == sorted(set(times)) and times[-1] == 199 / 30  # in order, and up to the last
    assert numbers.captured == 200 and numbers.shown == len(seen) == len(outcome.kept)
    assert numbers.dropped == 200 - len(seen) > 0
    assert numbers.latency_frames_max > 0 and numbers.latency_ms >= 50


@pytest.mark.parametrize("end", ["seconds", "Ctrl-C", "closed"])
def test_it_ends_when_asked_and_keeps_what_was_seen(body: Body, end: str) -> None:
    looker = Looker(BLANK, OPTIONS)
    poser = Poser(looker, body, OPTIONS)
    shown = []

    def show(picture: Picture) -> bool:
        shown.append(picture)
        if end == "Ctrl-C" and len(shown) == 3:
            raise KeyboardInterrupt
        return not (end == "closed" and len(shown) == 3)

    outcome = watch(
        blank_shots(every_s=0.01), looker, poser,
        Drawing(renderer=load_renderer("raster"), alpha=1, show=show),
        seconds=0.3 if end == "seconds" else None, keep=True,
    )  # fmt: skip
    assert len(outcome.kept) == len(shown) >= 1 and outcome.broken is None
    assert all(thread.name != "capture" for thread in threading.enumerate())
    assert len(poser.as_motion(outcome.kept).pts_s) == len(shown)


# ---- people


def test_a_pose_owes_nothing_to_later_frames(body: Body, walk, tmp_path: Path) -> None:
    options = Options(solver="niki-temporal", network="small", threads=1)
    poser, whole = follow(body, walk, options)
    changed = [(255 - rgb[:, ::-1], n, pts_s) for rgb, n, pts_s in walk[5:]]
    _, other = follow(body, walk[:5] + changed, options)
    compared = 0
    for (_, one), (_, two) in zip(whole[:5], other[:5], strict=True):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert (a.params.rotmats == b.params.rotmats).all()
            assert (a.params.transl == b.params.transl).all()
            compared += 1
    assert compared >= 2
    # what is saved is what was shown, in the frames that were worked on
    result = poser.as_motion(whole)
    write_motion(result, tmp_path / "seen.npz")
    saved = read_motion(tmp_path / "seen.npz")
    (person,) = saved.people
    assert len(saved.pts_s) == len(walk)
    assert int(person.track.frame_index[-1]) == len(walk) - 1
    assert (person.body.rotmats[-1] == whole[-1][1][0].params.rotmats[0]).all()
    assert np.nanmedian(person.reprojection_px) < 15  # the body lies on the person


def test_who_is_no_longer_seen_is_held_for_a_moment_then_gone(body: Body, walk) -> None:
    rgb, index, pts_s = walk[-1]
    hidden = rgb.copy()
    hidden[60:690, 450:700] = 127  # where the person is; all of it grey would be a scene cut
    later = [(hidden, index + n, pts_s + n / 30) for n in (3, 12, 45)]
    _, seen = follow(body, [*walk, *later])
    (shown,), *held, gone = (sights for _, sights in seen[len(walk) - 1 :])
    for (sight,) in held:
        assert not sight.raw.valid[0]
        assert (sight.params.rotmats == shown.params.rotmats).all()
    assert not gone


@pytest.mark.parametrize(
    ("places", "missed"), [([0, *range(14, 60, 5)], 0), ([0, *range(20, 60, 6)], 1)]
)
def test_who_is_in_the_picture_is_not_lost_by_a_slow_start(places: list[int], missed: int) -> None:
    clip = probe(WALK)
    frames = [
        (rgb, int(index), float(pts_s))
        for part in itertools.islice(read_frames(clip, chunk=8), 8)
        for rgb, index, pts_s in zip(part.rgb, part.index, part.pts_s, strict=True)
    ]
    looker = Looker(clip, OPTIONS)
    spots = [looker.look(*frames[place]) for place in places]
    assert [len(seen) for seen in spots].count(0) == missed
    assert len({spot.track.id for seen in spots[missed + 1 :] for spot in seen}) == 1


def test_one_sided_smoothing_is_causal_calm_at_rest_and_quick_in_motion() -> None:
    rng = np.random.default_rng(0)
    pts_s = np.arange(90) / 30
    path = np.where(pts_s < 1.5, 0, 2.0 * (pts_s - 1.5))[:, None, None]  # m: rest, then 2 m/s
    noisy = path + rng.normal(0, 0.01, path.shape)
    weight = np.ones((90, 1))
    smooth = one_euro(noisy, pts_s, weight)
    assert (one_euro(noisy[:50], pts_s[:50], weight[:50]) == smooth[:50]).all()
    assert smooth[10:45].std() < 0.6 * noisy[10:45].std()
    lag_s = (path - smooth)[60:].mean() / 2.0
    assert 0 <= lag_s < 0.04


# ---- the command


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nowhere.mp4", "no such file"),
        ("97", "camera 97: no picture comes"),
        ("9" * 20, "999: no picture comes"),
        ("http://a:secret@127.0.0.1:9/x", "http://127.0.0.1:9/x: no picture comes"),
        ("rtsp://a:secret@[::1", "rtsp://...: no address"),
    ],
)
def test_a_source_that_is_not_there_is_one_line(source: str, told: str) -> None:
    result = CliRunner().invoke(app, ["live", source, "--serve", "0"])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert told in line and "secret" not in line


@pytest.mark.skipif(bool(cv2.currentUIFramework()), reason="this OpenCV has windows")
def test_without_windows_the_page_is_offered() -> None:
    result = CliRunner().invoke(app, ["live", str(WALK)])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "--serve 8000" in line


def test_the_command_tells_how_far_behind_it_was_and_saves(tmp_path: Path) -> None:
    out = tmp_path / "seen.npz"
    command = ["live", str(WALK), "--serve", "0", "--ik", "hybrik", "--threads", "1"]
    result = CliRunner().invoke(app, [*command, "--seconds", "1", "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    first, last = result.stdout.splitlines()
    assert first.startswith("look at http://127.0.0.1:")
    assert "dropped; capture to picture" in last and str(out) in last
    assert len(read_motion(out).pts_s) >= 1
