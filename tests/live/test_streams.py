"""Sources that come over a network or end before their time: real streams, real servers."""

import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from typer.testing import CliRunner

from hpsvid.cli import app
from hpsvid.formats.npz import read_motion
from hpsvid.live.capture import open_source
from hpsvid.types import Array
from tests.factories import WALK

LIVE = ["--serve", "0", "--ik", "hybrik", "--threads", "1"]


def ffmpeg(*arguments: str) -> list[str]:
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments]


def watch(source: str, out: Path):
    return CliRunner().invoke(app, ["live", source, *LIVE, "--out", str(out)])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def transport(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second and a half of the walk as an MPEG transport stream."""
    path = tmp_path_factory.mktemp("stream") / "walk.ts"
    cut = ffmpeg("-i", str(WALK), "-t", "1.5", "-an", "-c", "copy", str(path))
    subprocess.run(cut, check=True)
    return path


def test_a_stream_over_the_network_is_watched_to_its_end(transport: Path, tmp_path: Path) -> None:
    address, out = f"tcp://127.0.0.1:{free_port()}", tmp_path / "seen.npz"
    serve = ffmpeg("-re", "-i", str(transport), "-c", "copy", "-f", "mpegts", f"{address}?listen=1")
    with subprocess.Popen(serve) as server:
        try:
            for _ in range(50):  # until it listens
                result = watch(address, out)
                if "Connection refused" not in result.stderr:
                    break
                time.sleep(0.1)
        finally:
            server.terminate()
    assert result.exit_code == 0, result.stderr
    assert "dropped; capture to picture" in result.stdout.splitlines()[-1]
    seen = read_motion(out)
    assert len(seen.pts_s) >= 1 and (seen.clip.width, seen.clip.height) == (1280, 720)


@contextmanager
def breaking(content: bytes, kind: str = "video/mp2t") -> Iterator[str]:
    """The address of a server that promises twice of what it sends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(2 * len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/walk.ts"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_what_was_seen_before_a_stream_broke_is_kept(transport: Path, tmp_path: Path) -> None:
    out = tmp_path / "seen.npz"
    with breaking(transport.read_bytes()) as address:
        result = watch(address, out)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "broke off" in line and str(out) in line
    assert len(read_motion(out).pts_s) >= 1


def test_what_was_seen_before_a_file_was_cut_off_is_kept(tmp_path: Path) -> None:
    path, out = tmp_path / "cut.mp4", tmp_path / "seen.npz"
    whole = ffmpeg("-i", str(WALK), "-t", "2", "-an", "-c", "copy", "-movflags", "+faststart")
    subprocess.run([*whole, str(path)], check=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 4 // 5])
    result = watch(str(path), out)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "cut off" in line and str(out) in line
    assert len(read_motion(out).pts_s) >= 1


def test_a_stream_without_a_picture_is_one_line(tmp_path: Path) -> None:
    out = tmp_path / "seen.npz"
    with breaking(b"no video at all " * 100) as address:
        result = watch(address, out)
    assert result.exit_code == 1 and not out.exists()
    (line,) = result.stderr.splitlines()
    assert "no picture comes" in line


def motion_jpeg(pictures: Sequence[Array]) -> bytes:
    """Pictures as a network camera sends them, each after the border "--next"."""
    head = b"--next\r\nContent-Type: image/jpeg\r\n\r\n"
    jpegs = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]
    return b"".join(head + jpeg + b"\r\n" for jpeg in jpegs)


def first_pictures(content: bytes, count: int) -> list[Array]:
    with breaking(content, "multipart/x-mixed-replace; boundary=next") as address:
        _, shots = open_source(address)
        with closing(shots):
            return [shot.rgb for shot in islice(shots, count)]


def half_and_half(height: int, width: int) -> Array:
    picture = np.full((height, width, 3), 90, np.uint8)
    picture[height // 2 :] = 180
    return picture


def test_a_camera_that_changes_its_picture_size_is_scaled_to_the_first() -> None:
    sizes = ((240, 320), (480, 640), (320, 240), (240, 320))  # the last one waits for its end
    for picture in first_pictures(motion_jpeg([half_and_half(*size) for size in sizes]), 3):
        assert picture.shape == (240, 320, 3)
        assert abs(int(picture[100, 160, 0]) - 90) < 4 and abs(int(picture[140, 160, 0]) - 180) < 4


def test_a_picture_that_was_damaged_on_the_way_is_left_out() -> None:
    good = motion_jpeg([half_and_half(240, 320)])
    damaged = good[:100] + bytes(len(good) - 102) + good[-2:]
    assert len(first_pictures(good + damaged + good * 2, 2)) == 2
