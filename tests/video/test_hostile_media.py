"""Files of strangers: none opens another file or an address, waits for ever or fills the memory."""

import os
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpsvid.errors import InputError
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from hpsvid.video.writer import open_writer, write_image
from tests.video.clips import X264, encode, ffmpeg, mux, picture, read

PICTURES = [picture(i) for i in range(24)]


@pytest.fixture
def port() -> Iterator[tuple[int, socket.socket]]:
    """A port of this machine at which nobody may knock."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server.getsockname()[1], server


PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{clip}\n#EXT-X-ENDLIST\n",
    "m3u8 without an end": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n",
    "m3u8, network": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{url}\n#EXT-X-ENDLIST\n",
    "m3u8 of itself": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{self}\n",
    "ffconcat": "ffconcat version 1.0\nfile {name}\n",
    "ffconcat, absolute": "ffconcat version 1.0\nfile {clip}\n",
    "ffconcat, network": "ffconcat version 1.0\nfile {url}\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    "<Period><AdaptationSet><Representation><BaseURL>{url}</BaseURL></Representation>"
    "</AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "text": "a secret that is not to come out as pictures\n" * 50,
    "image pattern": "%03d.png\n",
}


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".avi", ".m3u8", ".txt", ".ffconcat", ".gif"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_playlists_are_not_followed(
    tmp_path: Path, port: tuple[int, socket.socket], kind: str, suffix: str
) -> None:
    clip = encode(tmp_path / "clip.mp4", *X264)
    path = tmp_path / f"list{suffix}"
    number, server = port
    path.write_text(
        PLAYLISTS[kind].format_map({
            "clip": clip, "name": clip.name, "self": path.name, "port": number,
            "url": f"http://127.0.0.1:{number}/a.mp4",
        })
    )  # fmt: skip
    start = time.monotonic()
    with pytest.raises(InputError, match="list") as caught:
        probe(path)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 10
    with pytest.raises(BlockingIOError):
        server.accept()


@pytest.mark.parametrize("name", ["concat:a.mp4|b.mp4", "http:", "subfile,,start,0,end,9,,:a.mp4"])
def test_a_name_is_no_protocol(tmp_path: Path, name: str) -> None:
    whole = encode(tmp_path / "a.mp4", *X264)
    (tmp_path / name).write_bytes(whole.read_bytes())
    assert len(read(probe(tmp_path / name))[0]) == 30
    with pytest.raises(InputError, match="no such file"):
        probe(Path(f"{name}x"))


@pytest.mark.parametrize("suffix", [".mp4", ".png", ".jpg", ".webp"])
@pytest.mark.parametrize("kind", ["fifo", "device", "link", "folder"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / "in" / f"a{suffix}"
    path.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        (path / "deeper").mkdir(parents=True)
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"named pipe|device|without pictures"):
        probe(path)
    if suffix != ".mp4" and kind in ("fifo", "link"):
        with pytest.raises(InputError, match=r"named pipe|device"):
            probe(path.parent)


def test_a_playlist_among_pictures_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_text(PLAYLISTS["ffconcat"].format(name="/etc/passwd"))
    with pytest.raises(InputError, match="no picture"):
        probe(tmp_path)


def test_a_sparse_picture_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(InputError, match="expected a picture of at most"):
        probe(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".flv", ".avi", ".mov"])
def test_metadata_in_latin_1_is_no_reason_to_fail(tmp_path: Path, suffix: str) -> None:
    plain = mux(tmp_path / f"plain{suffix}", "libx264", PICTURES)
    path = tmp_path / f"titled{suffix}"
    ffmpeg("-i", plain, "-c", "copy", "-metadata", "title=ZuerichZuerich", path)
    data = path.read_bytes()
    assert b"ZuerichZuerich" in data
    path.write_bytes(data.replace(b"ZuerichZuerich", b"Z\xfcrich, Z\xfcrich"[:14]))
    clip = probe(path)
    assert len(read(clip)[0]) == 24
    with open_writer(tmp_path / "out.mp4", clip) as writer:
        writer.write(PICTURES[0], 0.0)


def test_a_claim_of_a_huge_picture_is_refused(tmp_path: Path) -> None:
    png = tmp_path / "a.png"
    write_image(png, picture(3))
    data = bytearray(png.read_bytes())
    data[16:24] = (15_000).to_bytes(4, "big") * 2  # width and height
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    png.write_bytes(data)
    with pytest.raises(InputError, match="no picture"):
        probe(png)
    write_image(png, picture(3))
    data = bytearray(png.read_bytes())
    chunk = data.index(b"IDAT") - 4
    data[chunk : chunk + 4] = b"\xff\xff\xff\xff"  # its length
    png.write_bytes(data)
    with pytest.raises(InputError, match="no picture"):
        probe(png)
    y4m = tmp_path / "a.y4m"
    y4m.write_bytes(b"YUV4MPEG2 W30000 H30000 F25:1 C420jpeg\nFRAME\n" + bytes(100))
    with pytest.raises(InputError):
        list(read_frames(probe(y4m)))


def test_a_small_animation_that_claims_a_vast_canvas_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    frames = [Image.fromarray(rgb) for rgb in PICTURES]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40)
    data = bytearray(path.read_bytes())
    assert data[12:16] == b"VP8X"
    data[24:27] = (700_000).to_bytes(3, "little")  # width - 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="at most 8K"):
        probe(path)


def test_a_clip_replaced_in_mid_run_is_noticed(tmp_path: Path) -> None:
    path = mux(tmp_path / "a.mp4", "libx264", PICTURES)
    whole = path.read_bytes()
    clip = probe(path)
    chunks = read_frames(clip, chunk=8)
    next(chunks)
    os.utime(path, ns=(0, 0))  # of the same size, written at another time
    with pytest.raises(InputError, match="has changed"):
        list(chunks)
    path.write_bytes(whole)
    with pytest.raises(InputError, match="has changed"):
        list(read_frames(clip))
    assert len(np.concatenate([frames.index for frames in read_frames(probe(path))])) == 24
