"""A running camera: only the newest frame, nothing of the future, a page that can be read."""

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from urllib.error import HTTPError

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from hpsvid import cli, live, pipeline, smoothing, video
from hpsvid.body import Body
from hpsvid.errors import InputError
from hpsvid.export import npz
from hpsvid.live_page import BOUNDARY, Numbers, Picture, parse_address, serving
from hpsvid.newest import Newest
from hpsvid.render import load_renderer
from hpsvid.types import Array, Clip
from tests.factories import make_motion

WALK = Path(__file__).resolve().parents[1] / "samples" / "studio_walk.mp4"
BLANK = Clip(
    path=Path("camera 0"), width=160, height=120, fps=Fraction(30), rotation=0, audio=False,
    frame_count=None,
)  # fmt: skip
OPTIONS = pipeline.Options(solver="hybrik", fast=True, threads=1)


def blank_shots(count: int | None = None, every_s: float = 0.0) -> Generator[live.Shot]:
    """Frames of nobody, whose first pixel counts; without an end unless `count` is given."""
    index = 0
    while index != count:
        rgb = np.full((120, 160, 3), 127, np.uint8)
        rgb[0, 0] = index % 256
        yield live.Shot(rgb=rgb, index=index, pts_s=index / 30, captured_s=time.monotonic())
        index += 1
        time.sleep(every_s)


@pytest.fixture(scope="module")
def body() -> Body:
    return pipeline.load_chosen_body(None)


@pytest.fixture(scope="module")
def walk() -> list[tuple[Array, int, float]]:
    """Every third frame of two thirds of a second of the walk: picture, number, time."""
    taken = []
    for frames in video.read_frames(video.probe(WALK), chunk=1):
        index = int(frames.index[0])
        if index >= 81:
            break
        if index >= 60 and index % 3 == 0:
            taken.append((frames.rgb[0].copy(), index, float(frames.pts_s[0])))
    return taken


def follow(body: Body, frames: list[tuple[Array, int, float]], options=OPTIONS):
    follower = live.Follower(video.probe(WALK), body, options)
    return follower, [(pts_s, follower.observe(rgb, n, pts_s)) for rgb, n, pts_s in frames]


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
    def broken() -> Generator[live.Shot]:
        yield from blank_shots(1)
        raise InputError("unplugged")

    with live.capturing(broken()) as newest, pytest.raises(InputError, match="unplugged"):
        newest.after(1, 5)


def test_a_file_as_a_camera_is_in_order_and_never_early() -> None:
    clip, shots = live.open_source(str(WALK))
    first = [next(shots) for _ in range(5)]
    shots.close()
    assert [shot.index for shot in first] == [0, 1, 2, 3, 4]
    assert first[0].rgb.shape == (clip.height, clip.width, 3)
    since = np.array([shot.captured_s - first[0].captured_s for shot in first])
    assert (since >= np.array([shot.pts_s for shot in first]) - 0.02).all()


def test_frames_are_dropped_not_queued_when_showing_is_slow(body: Body) -> None:
    follower = live.Follower(BLANK, body, OPTIONS)
    seen: list[Picture] = []

    def slow(picture: Picture) -> bool:
        seen.append(picture)
        time.sleep(0.05)
        return True

    numbers, kept = live.watch(
        blank_shots(200, every_s=0.002), follower, load_renderer("raster"), slow,
        alpha=1, seconds=None, keep=True,
    )  # fmt: skip
    times = [pts_s for pts_s, _ in kept]
    assert times == sorted(set(times)) and times[-1] == 199 / 30  # in order, and up to the last
    assert numbers.captured == 200 and numbers.shown == len(seen) == len(kept)
    assert numbers.dropped == 200 - len(seen) > 0
    assert numbers.latency_frames_max > 0 and numbers.latency_ms >= 50


@pytest.mark.parametrize("end", ["seconds", "Ctrl-C", "closed"])
def test_it_ends_when_asked_and_keeps_what_was_seen(body: Body, end: str) -> None:
    follower = live.Follower(BLANK, body, OPTIONS)
    shown = []

    def show(picture: Picture) -> bool:
        shown.append(picture)
        if end == "Ctrl-C" and len(shown) == 3:
            raise KeyboardInterrupt
        return not (end == "closed" and len(shown) == 3)

    _, kept = live.watch(
        blank_shots(every_s=0.01), follower, load_renderer("raster"), show,
        alpha=1, seconds=0.3 if end == "seconds" else None, keep=True,
    )  # fmt: skip
    assert len(kept) == len(shown) >= 1
    assert all(thread.name != "capture" for thread in threading.enumerate())
    assert len(follower.as_motion(kept).pts_s) == len(kept)


# ---- people


def test_a_pose_owes_nothing_to_later_frames(body: Body, walk, tmp_path: Path) -> None:
    options = pipeline.Options(solver="niki-temporal", fast=True, threads=1)
    follower, whole = follow(body, walk, options)
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
    result = follower.as_motion(whole)
    npz.write_motion(result, tmp_path / "seen.npz")
    saved = npz.read_motion(tmp_path / "seen.npz")
    (person,) = saved.people
    assert len(saved.pts_s) == len(walk)
    assert int(person.track.frame_index[-1]) == len(walk) - 1
    assert (person.body.rotmats[-1] == whole[-1][1][0].params.rotmats[0]).all()
    assert np.nanmedian(person.reprojection_px) < 15  # the body lies on the person


def test_who_is_no_longer_seen_is_held_for_a_moment_then_gone(body: Body, walk) -> None:
    hidden = np.full_like(walk[0][0], 127)
    last_pts = walk[-1][2]
    later = [(hidden, walk[-1][1] + n, last_pts + n / 30) for n in (1, 3, 45, 60)]
    _, seen = follow(body, [*walk, *later])
    shown, held = seen[len(walk) - 1][1], seen[len(walk)][1]
    if held:  # a grey picture may count as a scene cut, which ends everybody at once
        assert not held[0].raw.valid[0]
        assert (held[0].params.rotmats == shown[0].params.rotmats).all()
    assert shown and not seen[-1][1]


def test_one_sided_smoothing_is_causal_calm_at_rest_and_quick_in_motion() -> None:
    rng = np.random.default_rng(0)
    pts_s = np.arange(90) / 30
    path = np.where(pts_s < 1.5, 0, 2.0 * (pts_s - 1.5))[:, None, None]  # m: rest, then 2 m/s
    noisy = path + rng.normal(0, 0.01, path.shape)
    weight = np.ones((90, 1))
    smooth = smoothing.one_euro(noisy, pts_s, weight)
    assert (smoothing.one_euro(noisy[:50], pts_s[:50], weight[:50]) == smooth[:50]).all()
    assert smooth[10:45].std() < 0.6 * noisy[10:45].std()
    lag_s = (path - smooth)[60:].mean() / 2.0
    assert 0 <= lag_s < 0.04


# ---- the page


@pytest.fixture
def page(body: Body) -> Iterator[tuple[str, Newest[Picture], Picture]]:
    motion = make_motion(body, people=1, frames=1)
    rgb = np.zeros((72, 128, 3), np.uint8)
    rgb[:, 64:] = (250, 30, 30)
    numbers = Numbers(
        captured=10, shown=4, dropped=6, fps=12.5, latency_ms=80, latency_ms_95=90,
        latency_frames=2, latency_frames_max=3,
    )  # fmt: skip
    picture = Picture(rgb=rgb, motion=motion, numbers=numbers)
    pictures: Newest[Picture] = Newest()
    with serving(("127.0.0.1", 0), pictures) as url:
        pictures.put(picture)
        yield url, pictures, picture


def fetch(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return answer.read()


def decoded(jpeg: bytes) -> Array:
    found = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return found[..., ::-1]


def test_the_page_serves_picture_numbers_and_poses(page) -> None:
    url, _, picture = page
    assert b"/stream.mjpg" in fetch(url)
    found = decoded(fetch(f"{url}frame.jpg"))
    assert found.shape == picture.rgb.shape
    assert np.abs(found.astype(int) - picture.rgb).mean() < 5
    status = json.loads(fetch(f"{url}status.json"))
    assert (status["people"], status["dropped"], status["latency_ms"]) == (1, 6, 80)
    (person,) = json.loads(fetch(f"{url}motion.json"))["people"]
    truth = picture.motion.people[0]
    np.testing.assert_allclose(person["joints_m"], truth.joints[0], atol=1e-3)
    np.testing.assert_allclose(person["rotmats"], truth.body.rotmats[0], atol=1e-4)
    with pytest.raises(HTTPError, match="404") as refused:
        fetch(f"{url}etc/passwd")
    refused.value.close()


def test_the_stream_shows_each_new_picture_and_ends_with_the_command(page) -> None:
    url, pictures, picture = page
    with urllib.request.urlopen(f"{url}stream.mjpg", timeout=10) as stream:
        assert BOUNDARY in stream.headers["Content-Type"]
        for number in range(2):
            assert stream.readline().strip() == f"--{BOUNDARY}".encode()
            assert stream.readline().startswith(b"Content-Type: image/jpeg")
            length = int(stream.readline().split(b":")[1])
            assert stream.readline() == b"\r\n"
            assert decoded(stream.read(length)).shape == picture.rgb.shape
            assert stream.readline() == b"\r\n"
            if number == 0:
                pictures.put(picture)
        pictures.close()
        stream.readline()
        assert stream.read() == b""


def test_a_stream_of_pictures_is_a_source_too(page) -> None:
    url, pictures, picture = page
    stop = threading.Event()

    def film() -> None:
        while not stop.wait(0.02):
            pictures.put(picture)

    camera = threading.Thread(target=film)
    camera.start()
    try:
        clip, shots = live.open_source(f"{url}stream.mjpg".replace("//", "//user:secret@"))
        one, two = next(shots), next(shots)
        shots.close()
    finally:
        stop.set()
        camera.join()
    assert (clip.width, clip.height) == (128, 72) and "secret" not in str(clip.path)
    assert two.index > one.index and two.pts_s > one.pts_s
    assert np.abs(one.rgb.astype(int) - picture.rgb).mean() < 8


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
        with pytest.raises(InputError, match="choose another"), serving(address, Newest()):
            pass


def test_addresses() -> None:
    assert parse_address("8000") == ("127.0.0.1", 8000)  # nobody else may look unless asked
    assert parse_address("0.0.0.0:80") == ("0.0.0.0", 80)
    assert parse_address("[::1]:80") == ("::1", 80)
    for wrong in ("", "abc", ":80", "host:", "1:99999"):
        with pytest.raises(InputError, match="expected"):
            parse_address(wrong)


# ---- the command


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nowhere.mp4", "no such file"),
        ("97", "camera 97: no picture comes"),
        ("http://a:secret@127.0.0.1:9/x", "http://127.0.0.1:9/x: no picture comes"),
    ],
)
def test_a_source_that_is_not_there_is_one_line(source: str, told: str) -> None:
    result = CliRunner().invoke(cli.app, ["live", source, "--serve", "0"])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert told in line and "secret" not in line


@pytest.mark.skipif(bool(cv2.currentUIFramework()), reason="this OpenCV has windows")
def test_without_windows_the_page_is_offered() -> None:
    result = CliRunner().invoke(cli.app, ["live", str(WALK)])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "--serve 8000" in line


def test_the_command_tells_how_far_behind_it_was_and_saves(tmp_path: Path) -> None:
    out = tmp_path / "seen.npz"
    command = ["live", str(WALK), "--serve", "0", "--ik", "hybrik", "--threads", "1"]
    result = CliRunner().invoke(cli.app, [*command, "--seconds", "1", "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    first, last = result.stdout.splitlines()
    assert first.startswith("look at http://127.0.0.1:")
    assert "dropped; capture to picture" in last and str(out) in last
    assert len(npz.read_motion(out).pts_s) >= 1
