"""The page that shows a running camera: pictures, numbers and poses as they are."""

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from urllib.error import HTTPError

import cv2
import numpy as np
import pytest

from hpsvid.body.smpl import load_chosen_body
from hpsvid.common.threads import Newest
from hpsvid.errors import InputError
from hpsvid.live.capture import open_source
from hpsvid.live.page import BOUNDARY, parse_address, serving
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
