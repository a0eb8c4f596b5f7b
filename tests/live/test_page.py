"""The page that shows a running camera: pictures, numbers and poses as they are."""

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.error import HTTPError

import cv2
import numpy as np
import pytest

from hpsvid.body.smpl import load_chosen_body
from hpsvid.common.threads import Newest
from hpsvid.errors import InputError
from hpsvid.live.capture import open_source
from hpsvid.live.page import BOUNDARY, MAX_CLIENTS, parse_address, serving
from hpsvid.live.picture import Numbers, Picture
from hpsvid.types import Array
from tests.factories import make_motion


@pytest.fixture
def page() -> Iterator[tuple[str, Newest[Picture], Picture]]:
    motion = make_motion(load_chosen_body(None), people=1, frames=1)
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
        clip, shots = open_source(f"{url}stream.mjpg".replace("//", "//user:secret@"))
        one, two = next(shots), next(shots)
        shots.close()
    finally:
        stop.set()
        camera.join()
    assert (clip.width, clip.height) == (128, 72) and "secret" not in str(clip.path)
    assert two.index > one.index and two.pts_s > one.pts_s
    assert np.abs(one.rgb.astype(int) - picture.rgb).mean() < 8


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1234"}, 200),
        ({"Host": "[::1]"}, 200),
        ({"Host": "attacker.example"}, 403),  # a name that now leads here: DNS rebinding
        ({"Host": "attacker.example:8000"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://attacker.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost", "Origin": "http://localhost"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_pages_of_other_sites_get_nothing(page, headers: dict[str, str], status: int) -> None:
    url, _, _ = page
    for name in ("status.json", "motion.json", "frame.jpg"):
        request = urllib.request.Request(f"{url}{name}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status == status
                assert "Access-Control-Allow-Origin" not in answer.headers
                assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        except HTTPError as refused:
            assert refused.code == status
            refused.close()


def test_a_link_on_another_site_opens_the_page_and_nothing_else(page) -> None:
    url, _, _ = page
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        assert answer.headers["X-Frame-Options"] == "DENY"
    with pytest.raises(HTTPError, match="403") as refused:
        urllib.request.urlopen(urllib.request.Request(f"{url}frame.jpg", headers=headers))
    refused.value.close()


def connected(url: str) -> socket.socket:
    port = int(url.rstrip("/").rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def test_slow_clients_are_bounded_and_starve_nobody(page) -> None:
    url, _, _ = page
    with ExitStack() as stack:
        slow = [stack.enter_context(connected(url)) for _ in range(3 * MAX_CLIENTS)]
        for client in slow:
            with suppress(OSError):  # let go already
                client.send(b"GET /status.json HTT")
        start = time.monotonic()
        assert json.loads(fetch(f"{url}status.json"))["people"] == 1
        assert time.monotonic() - start < 3
        assert threading.active_count() < MAX_CLIENTS + 20


def test_a_request_must_come_whole_soon_and_short(page, monkeypatch: pytest.MonkeyPatch) -> None:
    url, _, _ = page
    monkeypatch.setattr("hpsvid.live.page.REQUEST_TIMEOUT_S", 0.5)
    start = time.monotonic()
    with connected(url) as client:
        client.send(b"GET / HTTP/1.1\r\n")
        with suppress(OSError):  # a byte now and then keeps no request alive
            while time.monotonic() - start < 5:
                client.send(b"x")
                time.sleep(0.1)
        assert time.monotonic() - start < 4
    with connected(url) as client, suppress(ConnectionError):
        client.sendall(b"GET / HTTP/1.1\r\nx: " + b"x" * 100_000 + b"\r\n\r\n")
        assert client.recv(100) == b""


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
