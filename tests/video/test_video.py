"""Video in and out: one contract for every kind of source, times and audio, whole or nothing."""

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image

from hpsvid.errors import DependencyError, HpsvidError, InputError
from hpsvid.types import Array, Clip
from hpsvid.video.pictures import is_pictures
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from hpsvid.video.writer import VideoWriter, check_output, open_writer, suffix_for, write_image
from tests.factories import WALK
from tests.video.clips import (
    EVEN,
    HEIGHT,
    RATE,
    VFR,
    VFR_TIMES,
    WIDTH,
    X264,
    N,
    code,
    encode,
    ffmpeg,
    picture,
    read,
)


@dataclass(frozen=True)
class Source:
    """How a clip is made, and what must be read from it."""

    make: Callable[[Path], Path]
    times: Array = field(default_factory=lambda: EVEN)
    size: tuple[int, int] = (WIDTH, HEIGHT)
    first_code: int = 0
    rotation: int = 0
    announced: int | None = N
    colour_atol: int = 12  # grey levels


def rotated(folder: Path, degrees: int) -> Path:
    """Stored turned, with metadata that turns it back; degrees clockwise to upright."""
    stored = np.stack([np.rot90(picture(i), degrees // 90) for i in range(N)])
    height, width = stored.shape[1:3]
    form = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(RATE)]
    ffmpeg(*form, "-i", "pipe:0", *X264, folder / "stored.mp4", stdin=stored.tobytes())
    out = folder / "rotated.mov"
    ffmpeg("-display_rotation:v", str(-degrees), "-i", folder / "stored.mp4", "-c", "copy", out)
    return out


def cut(folder: Path) -> Path:
    """An edit list hides the frames before 0.4 s: the file announces more than it shows."""
    whole = encode(folder / "whole.mp4", *X264)
    ffmpeg("-ss", "0.4", "-i", whole, "-c", "copy", folder / "cut.mp4")
    return folder / "cut.mp4"


def picture_folder(folder: Path) -> Path:
    for i in range(N):
        write_image(folder / "pictures" / f"frame{i}.png", picture(i))
    (folder / "pictures" / "notes.txt").write_text("not a picture")
    return folder / "pictures"


def single_picture(folder: Path) -> Path:
    write_image(folder / "photo.PNG", picture(21))
    return folder / "photo.PNG"


SOURCES = {
    "h264 with B-frames": Source(lambda d: encode(d / "a.mp4", *X264)),
    "vfr mkv": Source(lambda d: encode(d / "a.mkv", *VFR, *X264), VFR_TIMES, announced=None),
    "vfr mp4": Source(lambda d: encode(d / "a.mp4", *VFR, *X264), VFR_TIMES),
    "vp9 webm": Source(
        lambda d: encode(d / "a.webm", "-c:v", "libvpx-vp9", "-deadline", "realtime"),
        announced=None,
    ),
    "hevc 10 bit": Source(
        lambda d: encode(
            d / "a.mp4", "-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-preset", "ultrafast",
            "-x265-params", "log-level=error",
        )
    ),
    "gif": Source(lambda d: encode(d / "a.gif"), colour_atol=30),
    "avi": Source(lambda d: encode(d / "a.avi", "-c:v", "mpeg4", "-q:v", "2")),
    "mpeg-ts, late start": Source(lambda d: encode(d / "a.ts", *X264), announced=None),
    "raw stream without times": Source(
        lambda d: encode(d / "a.h264", *X264, "-bf", "0"), announced=None
    ),
    "rotated 90": Source(lambda d: rotated(d, 90), rotation=90),
    "rotated 180": Source(lambda d: rotated(d, 180), rotation=180),
    "rotated 270": Source(lambda d: rotated(d, 270), rotation=270),
    "edit list": Source(cut, EVEN[: N - 10], first_code=10),
    "odd size": Source(
        lambda d: encode(d / "a.mkv", "-c:v", "ffv1", width=97, height=65),
        size=(97, 65), announced=None,
    ),
    "grey": Source(
        lambda d: encode(d / "a.mp4", "-c:v", "libx264", "-pix_fmt", "gray"), colour_atol=255
    ),
    "oblong pixels": Source(
        lambda d: encode(d / "a.mp4", "-vf", "setsar=4/3", *X264), size=(128, 64)
    ),
    "name with a colon": Source(lambda d: encode(d / "http:take 1.mp4", *X264)),
    "folder of pictures": Source(picture_folder),
    "single picture": Source(single_picture, EVEN[:1], first_code=21, announced=1),
}  # fmt: skip


@pytest.fixture(scope="module", params=SOURCES)
def source(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Source, Path]:
    made = SOURCES[request.param]
    return made, made.make(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small clip whose index stands before its pictures, so that a cut leaves them readable."""
    return encode(tmp_path_factory.mktemp("plain") / "a.mp4", *X264, "-movflags", "+faststart")


def write(path: Path, times: Array = EVEN, audio_from: Path | None = None) -> Path:
    with VideoWriter(
        path, width=WIDTH, height=HEIGHT, fps=Fraction(RATE), audio_from=audio_from
    ) as writer:
        for i, time_s in enumerate(times):
            writer.write(picture(i), float(time_s))
    return path


# ---- reading


def test_every_source_keeps_the_contract(source: tuple[Source, Path]) -> None:
    expected, path = source
    clip = probe(path, input_fps=RATE if is_pictures(path) else None)
    rgb, times = read(clip)
    assert (clip.width, clip.height) == expected.size
    assert rgb.shape[1:] == (clip.height, clip.width, 3)
    assert rgb.dtype == np.uint8
    assert clip.rotation == expected.rotation
    assert clip.fps == RATE or expected.times is VFR_TIMES
    assert clip.frame_count == (N if "cut" in path.name else expected.announced)
    assert times[0] == 0
    np.testing.assert_allclose(times, expected.times, atol=1e-3)
    codes = [code(frame) for frame in rgb]
    assert codes == list(range(expected.first_code, expected.first_code + len(expected.times)))
    # upright, red on the left: the colours are where they were painted
    for column, colour in ((1, [200, 30, 30]), (3, [30, 30, 200])):
        found = rgb[0, clip.height * 3 // 4, clip.width * column // 4]
        np.testing.assert_allclose(found, colour, atol=expected.colour_atol)


def test_chunks_and_repeats_give_the_same_frames(source: tuple[Source, Path]) -> None:
    clip = probe(source[1])
    rgb, times = read(clip)
    for chunk in (7, 64):
        again, times_again = read(clip, chunk)
        np.testing.assert_array_equal(rgb, again)
        np.testing.assert_array_equal(times, times_again)


@pytest.mark.parametrize("degrees", [90, 270])
def test_rotation_agrees_with_ffmpeg(tmp_path: Path, degrees: int) -> None:
    path = rotated(tmp_path, degrees)
    reference = ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1")
    rgb, _ = read(probe(path))
    difference = np.frombuffer(reference, np.uint8).reshape(rgb.shape).astype(int) - rgb
    assert np.abs(difference).mean() < 3  # grey levels; chroma is interpolated differently


def test_hd_without_a_word_on_colour_is_read_as_bt709(tmp_path: Path) -> None:
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [230, 180, 60]], np.uint8)
    rgb = np.repeat(np.repeat(colours[None], 720, 0), 320, 1)
    ffmpeg(
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "1280x720", "-i", "pipe:0",
        "-vf", "scale=out_color_matrix=bt709,format=yuv420p,setparams=colorspace=unknown",
        "-c:v", "libx264", "-preset", "ultrafast", tmp_path / "a.mp4", stdin=rgb.tobytes(),
    )  # fmt: skip
    found, _ = read(probe(tmp_path / "a.mp4"))
    np.testing.assert_allclose(found[0, 360, 160::320], colours, atol=4)


def stamped(path: Path, stamps_ms: list[int], rate: int = RATE) -> Path:
    """A file with these times; rate: what its header says, Hz."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for i, stamp_ms in enumerate(stamps_ms):
            frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24")
            for packet in stream.encode(frame):
                packet.pts = packet.dts = stamp_ms
                packet.time_base = Fraction(1, 1000)
                container.mux(packet)
    return path


def test_repeated_times_are_repaired_and_the_others_kept(tmp_path: Path) -> None:
    path = stamped(tmp_path / "a.mkv", [0, 40, 80, 80, 120, 160, 200])
    rgb, times = read(probe(path))
    assert [code(frame) for frame in rgb] == list(range(7))
    np.testing.assert_allclose(times, [0, 0.04, 0.08, 0.10, 0.12, 0.16, 0.20], atol=1e-9)


@pytest.mark.parametrize("said", [True, False])
def test_the_clock_of_a_container_is_no_frame_rate(tmp_path: Path, said: bool) -> None:
    # 33 ms a frame and a jump: only 1000 Hz fits every stamp, and some headers say so, too
    path = stamped(tmp_path / "a.mkv", [33 * i + (i > 10) for i in range(60)], rate=1000)
    if not said:  # what says it (Matroska's DefaultDuration) made a Void element of that length
        found = path.read_bytes()
        at = found.index(bytes.fromhex("23e383"))
        length = found[at + 3] & 0x7F
        void = bytes([0xEC, 0x80 | length + 2]) + bytes(length + 2)
        path.write_bytes(found[:at] + void + found[at + len(void) :])
    assert float(probe(path).fps) == pytest.approx(30, rel=0.02)


def test_a_clock_that_starts_again_goes_on(tmp_path: Path) -> None:
    once = encode(tmp_path / "once.ts", *X264).read_bytes()
    (tmp_path / "joined.ts").write_bytes(once + once)
    rgb, times = read(probe(tmp_path / "joined.ts"))
    np.testing.assert_allclose(times, np.arange(2 * N) / RATE, atol=1e-3)
    assert [code(frame) for frame in rgb] == [*range(N), *range(N)]


def test_pictures_come_in_natural_order_and_turned_by_exif(tmp_path: Path) -> None:
    for i in (1, 2, 10, 11):
        write_image(tmp_path / "in" / f"shot {i}.png", picture(i))
    rgb, _ = read(probe(tmp_path / "in"))
    assert [code(frame) for frame in rgb] == [1, 2, 10, 11]

    jpeg = cv2.imencode(".jpg", np.rot90(picture(5))[..., ::-1])[1].tobytes()
    turn_clockwise = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    length = (len(turn_clockwise) + 2).to_bytes(2, "big")
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(jpeg[:2] + b"\xff\xe1" + length + turn_clockwise + jpeg[2:])
    clip = probe(photo)
    assert (clip.width, clip.height) == (WIDTH, HEIGHT)
    assert code(read(clip)[0][0]) == 5


def test_grey_and_transparent_pictures_become_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((8, 10), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "alpha.png"), np.full((8, 10, 4), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((8, 10), 77 << 8, np.uint16))
    for name in ("grey.png", "alpha.png", "deep.png"):
        rgb, _ = read(probe(tmp_path / name))
        np.testing.assert_array_equal(rgb, np.full((1, 8, 10, 3), 77, np.uint8))


# ---- inputs that cannot be used


def damaged_inputs(folder: Path) -> Iterator[tuple[Path, str]]:
    yield folder / "missing.mp4", "no such file"
    (folder / "empty.mp4").write_bytes(b"")
    yield folder / "empty.mp4", "is empty"
    (folder / "text.mp4").write_text("this is no video\n" * 99)
    yield folder / "text.mp4", "cannot be read as a video"
    (folder / "text.txt").write_text("libavformat would draw this as a terminal\n" * 99)
    yield folder / "text.txt", "text file"
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", "-c:a", "aac", folder / "sound.mp4")
    yield folder / "sound.mp4", "audio but no video"
    cover = cv2.imencode(".jpg", picture(0))[1].tobytes()
    ffmpeg(
        "-i", "pipe:0", "-i", folder / "sound.mp4", "-map", "0", "-map", "1", "-c:v", "copy",
        "-disposition:v", "attached_pic", folder / "cover.m4a", stdin=cover,
    )  # fmt: skip
    yield folder / "cover.m4a", "audio but no video"
    whole = encode(folder / "index at the end.mp4", *X264).read_bytes()
    (folder / "no index.mp4").write_bytes(whole[: len(whole) // 2])
    yield folder / "no index.mp4", "cannot be read as a video"
    (folder / "nothing here").mkdir()
    yield folder / "nothing here", "without pictures"
    (folder / "empty.png").write_bytes(b"")
    yield folder / "empty.png", "is empty"
    (folder / "text.png").write_text("no picture")
    yield folder / "text.png", "no picture"


def test_unusable_inputs_are_refused_in_one_line(tmp_path: Path) -> None:
    for path, reason in damaged_inputs(tmp_path):
        with pytest.raises(InputError, match=reason) as caught:
            probe(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi"])
def test_a_cut_off_file_is_refused_at_its_end(tmp_path: Path, suffix: str) -> None:
    # long enough that 40 % of it is more than the tolerance of containers without a frame count
    long = tmp_path / f"long{suffix}"
    codec = {".webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime"], ".avi": ["-c:v", "mpeg4"]}
    noise = "color=gray:s=64x48:r=25:d=8,noise=alls=60:allf=t"
    ffmpeg(
        "-f", "lavfi", "-i", noise, *codec.get(suffix, X264),
        *(["-movflags", "+faststart"] if suffix == ".mp4" else []), long,
    )  # fmt: skip
    whole = long.read_bytes()
    assert len(read(probe(long))[0]) == 200

    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(whole[: len(whole) * 6 // 10])
    seen = 0
    with pytest.raises(InputError, match=r"(\d+) frames could be decoded, (about )?200 are"):
        for frames in read_frames(probe(broken), chunk=1):
            seen += len(frames)
    assert 60 < seen < 140


def test_a_damaged_packet_does_not_end_the_clip(plain: Path, tmp_path: Path) -> None:
    data = bytearray(plain.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 40] = bytes(40)
    (tmp_path / "scratched.mp4").write_bytes(data)
    _, times = read(probe(tmp_path / "scratched.mp4"))
    assert times[-1] == pytest.approx(EVEN[-1])


def test_pictures_of_another_size_and_changed_files_are_named(tmp_path: Path, plain: Path) -> None:
    write_image(tmp_path / "in" / "1.png", picture(1))
    write_image(tmp_path / "in" / "2.png", picture(2, 80, 60))
    with pytest.raises(InputError, match=r"2\.png: 80x60 px, the others are 96x64"):
        read(probe(tmp_path / "in", photos=False))

    path = tmp_path / "a.mp4"
    path.write_bytes(plain.read_bytes())
    clip = probe(path)
    encode(path, *X264, width=128, height=96)
    with pytest.raises(InputError, match="the file has changed"):
        read(clip)


# ---- writing


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("times", [EVEN, VFR_TIMES, np.cumsum([0, *[0.011, 0.35] * 14])])
def test_frames_come_back_as_many_and_at_their_times(
    tmp_path: Path, suffix: str, times: Array
) -> None:
    path = write(tmp_path / "new" / "folder" / f"out{suffix}", times)
    rgb, found = read(probe(path))
    np.testing.assert_allclose(found, times, atol=1e-3)
    assert [code(frame) for frame in rgb] == list(range(len(times)))
    np.testing.assert_allclose(rgb[0], picture(0), atol=90)  # chroma bleeds over edges
    assert np.abs(rgb[0].astype(int) - picture(0)).mean() < 4
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60)])
def test_an_even_rate_stays_exactly_even(tmp_path: Path, fps: Fraction) -> None:
    with VideoWriter(tmp_path / "a.mp4", width=32, height=32, fps=fps) as writer:
        for i in range(50):
            writer.write(np.full((32, 32, 3), 5 * i, np.uint8), float(i / fps))
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == fps
        base = stream.time_base
        assert base
        ticks = [frame.pts for frame in container.decode(stream)]
        assert ticks == [i / fps / base for i in range(50)]


def test_an_odd_size_grows_by_a_repeated_edge(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (33, 45, 3)).astype(np.uint8)
    rgb = cv2.GaussianBlur(rgb, (0, 0), 6)
    with VideoWriter(tmp_path / "a.mp4", width=45, height=33, fps=Fraction(5)) as writer:
        writer.write(rgb, 0.0)
    clip = probe(tmp_path / "a.mp4")
    assert (clip.width, clip.height) == (46, 34)
    found = read(clip)[0][0]
    np.testing.assert_allclose(found[:33, :45], rgb, atol=12)
    np.testing.assert_allclose(found[33, :45], rgb[32], atol=12)
    np.testing.assert_allclose(found[:33, 45], rgb[:, 44], atol=12)


def packets(path: Path) -> tuple[str, list[bytes], Array]:
    """The audio's codec, its packets and their times relative to the first picture."""
    with av.open(str(path)) as container:
        start = next(container.decode(video=0)).time
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(audio=0) if packet.pts is not None]
        times = [float((packet.pts or 0) * packet.time_base) - start for packet in found]
        name = container.streams.audio[0].codec.canonical_name
        return name, [bytes(packet) for packet in found], np.array(times)


def with_audio(path: Path, *codec: str, before: tuple[str, ...] = ()) -> Path:
    """Two seconds of a tone beside the N coded pictures."""
    raw = b"".join(picture(i).tobytes() for i in range(N))
    form = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE)]
    tone = ("-f", "lavfi", "-i", "sine=d=2:r=48000")
    ffmpeg(*form, "-i", "pipe:0", *before, *tone, *codec, path, stdin=raw)
    return path


@pytest.mark.parametrize("shift", ["0", "0.3", "-0.3"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_audio_is_copied_and_stays_in_time(tmp_path: Path, suffix: str, shift: str) -> None:
    heard = with_audio(
        tmp_path / "in.mkv", *X264, "-c:a", "aac", before=("-itsoffset", shift)
    )  # starts with, after or before the pictures
    clip = probe(heard)
    assert clip.audio
    with open_writer(tmp_path / f"out{suffix}", clip) as writer:
        for frames in read_frames(clip):
            for rgb, time_s in zip(frames.rgb, frames.pts_s, strict=True):
                writer.write(rgb, float(time_s))
    wanted, found = packets(heard), packets(tmp_path / f"out{suffix}")
    assert found[:2] == ("aac", wanted[1])
    np.testing.assert_allclose(found[2], wanted[2], atol=1.1e-3)
    np.testing.assert_allclose(read(probe(tmp_path / f"out{suffix}"))[1], EVEN, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "codec", "suffix", "result"),
    [
        ("in.webm", ("-c:v", "libvpx-vp9", "-c:a", "libopus"), ".mp4", "opus"),
        ("in.webm", ("-c:v", "libvpx-vp9", "-c:a", "libopus"), ".mov", "aac"),
        ("in.webm", ("-c:v", "libvpx-vp9", "-c:a", "libvorbis"), ".mp4", "aac"),
        ("in.webm", ("-c:v", "libvpx-vp9", "-c:a", "libvorbis"), ".mkv", "vorbis"),
        ("in.avi", ("-c:v", "mpeg4", "-c:a", "libmp3lame"), ".mp4", "mp3"),
        ("in.mov", (*X264, "-c:a", "pcm_s16le"), ".mov", "pcm_s16le"),
        ("in.mov", (*X264, "-c:a", "pcm_s16le"), ".mp4", "aac"),
    ],
)
def test_audio_is_reencoded_only_where_the_container_asks(
    tmp_path: Path, name: str, codec: tuple[str, ...], suffix: str, result: str
) -> None:
    heard = with_audio(tmp_path / name, *codec)
    path = write(tmp_path / f"out{suffix}", audio_from=heard)
    assert packets(path)[0] == result
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    rate = frames[0].sample_rate
    assert sum(frame.samples for frame in frames) / rate == pytest.approx(2, abs=0.06)


def test_a_source_without_audio_adds_none(tmp_path: Path, plain: Path) -> None:
    write_image(tmp_path / "in" / "1.png", picture(1))
    for silent in (plain, tmp_path / "in"):
        assert not probe(write(tmp_path / "out.mp4", audio_from=silent)).audio


def test_two_writes_are_the_same_bytes(tmp_path: Path) -> None:
    first = write(tmp_path / "1.mp4", VFR_TIMES).read_bytes()
    assert write(tmp_path / "2.mp4", VFR_TIMES).read_bytes() == first


# ---- whole or not at all


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, InputError])
def test_a_crash_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "out.mp4").write_text("from before")
    with (
        pytest.raises(error),
        VideoWriter(tmp_path / "out.mp4", width=WIDTH, height=HEIGHT, fps=Fraction(25)) as writer,
    ):
        for i in range(10):
            writer.write(picture(i), i / 25)
        raise error
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_text() == "from before"
    assert writer._process.poll() is not None


ENDLESS_WRITER = """
import itertools, signal, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from hpsvid.video.writer import VideoWriter
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
rgb = np.zeros((480, 640, 3), np.uint8)
with VideoWriter(Path(sys.argv[1]), width=640, height=480, fps=Fraction(25)) as writer:
    for i in itertools.count():
        writer.write(rgb, i / 25)
        if i == 30:
            print("writing", flush=True)
"""


def test_ctrl_c_ends_writer_and_encoder_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENDLESS_WRITER, str(tmp_path / "out.mp4")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == b"writing\n"
        assert len(list(tmp_path.iterdir())) == 1
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does: the whole group
        try:
            _, complaint = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in complaint and b"ignored" not in complaint
    assert list(tmp_path.iterdir()) == []


def test_nothing_appears_before_the_end_and_nothing_without_frames(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", width=WIDTH, height=HEIGHT, fps=Fraction(25)) as w:
        w.write(picture(0), 0.0)
        assert not (tmp_path / "a.mp4").exists()
    assert (tmp_path / "a.mp4").exists()
    with (
        pytest.raises(HpsvidError, match="no frame was given"),
        VideoWriter(tmp_path / "b.mp4", width=WIDTH, height=HEIGHT, fps=Fraction(25)),
    ):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("frames", [1, 200])
def test_a_dying_encoder_gives_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    dying = tmp_path / "ffmpeg"
    dying.write_text("#!/bin/sh\nhead -c 9999 >/dev/null\necho 'No space left' >&2\nexit 7\n")
    dying.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(dying))
    with pytest.raises(HpsvidError, match="exit code 7: No space left; check free disk") as caught:
        write(tmp_path / "out" / "a.mp4", np.arange(frames) / 25)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_no_encoder_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(DependencyError, match="imageio-ffmpeg"):
        write(tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


def test_wrong_frames_are_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"frame 0: expected uint8 \(64, 96, 3\), found .*32"),
        VideoWriter(tmp_path / "a.mp4", width=WIDTH, height=HEIGHT, fps=Fraction(25)) as w,
    ):
        w.write(picture(0).astype(np.float32), 0.0)
    with pytest.raises(ValueError, match=r"frame 2: its time 0\.04 s does not increase"):
        write(tmp_path / "a.mp4", np.array([0, 0.04, 0.04]))
    assert list(tmp_path.iterdir()) == []


# ---- outputs, checked beforehand


def test_outputs_are_checked_before_any_work(tmp_path: Path, plain: Path) -> None:
    clip = probe(plain)
    photo = probe(single_picture(tmp_path))
    check_output(tmp_path / "not yet" / "there" / "a.MKV", clip)
    assert not (tmp_path / "not yet").exists()
    check_output(tmp_path / "a.jpg", photo)
    check_output(tmp_path / "a.png")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").write_text("")
    refused = [
        ("a.avi", clip, r"suffix '\.avi'; expected \.mp4, \.mov, \.mkv$"),
        ("a", clip, "no suffix; expected"),
        ("a.png", clip, r"expected \.mp4"),
        ("a.gif", photo, r"expected \.mp4, \.mov, \.mkv, \.png, \.jpg"),
        ("folder.mp4", clip, "is a folder"),
        ("file/a.mp4", clip, "is a file; expected a folder"),
        (plain, clip, "is the input itself"),
    ]
    for name, of, reason in refused:
        with pytest.raises(InputError, match=reason):
            check_output(tmp_path / name, of)
    with pytest.raises(InputError, match="cannot be written"):
        check_output(Path("/proc/a.mp4"), clip)


def test_a_picture_in_gives_a_picture_or_a_video_out(tmp_path: Path) -> None:
    clip = probe(single_picture(tmp_path))
    assert suffix_for(clip) == ".png"
    for name in ("out.png", "out.jpg", "out.mp4"):
        with open_writer(tmp_path / "out" / name, clip) as writer:
            for frames in read_frames(clip):
                writer.write(frames.rgb[0], float(frames.pts_s[0]))
        rgb, _ = read(probe(tmp_path / "out" / name))
        assert code(rgb[0]) == 21
    assert len(list((tmp_path / "out").iterdir())) == 3
    np.testing.assert_array_equal(read(probe(tmp_path / "out" / "out.png"))[0][0], picture(21))


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.mov", ".mov"), ("a.MKV", ".mkv"), ("a.webm", ".mp4"), ("a.jpg", ".jpg"), ("a", ".mp4")],
)
def test_the_suffix_follows_the_input(name: str, suffix: str) -> None:
    clip = Clip(
        path=Path(name), width=2, height=2, fps=Fraction(25), rotation=0, audio=False,
        frame_count=None,
    )  # fmt: skip
    assert suffix_for(clip) == suffix


# ---- memory

MEMORY_PROBE = """
import json, resource, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from hpsvid.video.writer import VideoWriter, open_writer
count, folder = int(sys.argv[1]), Path(sys.argv[2])
rng = np.random.default_rng(0)
base = rng.integers(0, 256, (240, 320, 3)).astype(np.uint8)
with VideoWriter(folder / "a.mp4", width=320, height=240, fps=Fraction(30)) as writer:
    for i in range(count):
        writer.write(np.roll(base, i, 1), i / 30)
clip = probe(folder / "a.mp4")
with open_writer(folder / "b.mp4", clip) as writer:
    for frames in read_frames(clip):
        for rgb, time_s in zip(frames.rgb, frames.pts_s):
            writer.write(rgb, float(time_s))
assert writer.frames == count
peaks = [resource.getrusage(who).ru_maxrss / 1024
         for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps(peaks))
"""


def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    def peaks_mib(count: int) -> Array:
        command = [sys.executable, "-c", MEMORY_PROBE, str(count), str(tmp_path)]
        return np.array(json.loads(subprocess.check_output(command)))

    growth = peaks_mib(600) - peaks_mib(60)  # 540 frames more are 119 MiB of pixels
    assert growth.max() < 25, f"reader and writer, encoder: {growth} MiB"


# ---- real clips


@pytest.mark.parametrize(
    ("name", "width", "height", "frames", "rotation", "audio"),
    [
        ("derived/juggle_vfr.mkv", 1280, 720, 138, 0, False),
        ("derived/squats_rotate_metadata.mov", 720, 1280, 65, 90, False),
        ("derived/juggle.gif", 480, 270, 30, 0, False),
        ("derived/juggle.webm", 1280, 720, 96, 0, False),
        ("derived/juggle_hevc10.mp4", 1280, 720, 96, 0, False),
        ("balance_clean_cam02.mp4", 1080, 1920, 100, 0, True),
        ("vtest_pedestrians.avi", 768, 576, 795, 0, False),
    ],
)
def test_real_clips_are_read_whole(
    shared: Path, name: str, width: int, height: int, frames: int, rotation: int, audio: bool
) -> None:
    clip = probe(shared / "data/clips" / name)
    assert (clip.width, clip.height, clip.rotation, clip.audio) == (
        width, height, rotation, audio,
    )  # fmt: skip
    times = np.concatenate([chunk.pts_s for chunk in read_frames(clip)])
    assert len(times) == frames
    assert np.diff(times).min() > 0


def test_a_rotated_clip_shows_what_its_upright_twin_shows(shared: Path) -> None:
    clips = shared / "data/clips"
    turned = probe(clips / "derived/squats_rotate_metadata.mov")
    upright = probe(clips / "squats_portrait_5fps.mp4")
    pictures = [next(read_frames(clip, chunk=1)).rgb for clip in (turned, upright)]
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() < 8


def test_a_truncated_clip_says_how_much_is_missing(shared: Path) -> None:
    clip = probe(shared / "data/clips/derived/juggle_truncated_broken.mp4")
    with pytest.raises(InputError, match="57 frames could be decoded, 247 are announced"):
        list(read_frames(clip))


def test_the_focal_length_of_a_photograph_is_read(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 26  # FocalLengthIn35mmFilm
    Image.fromarray(picture(1)).save(tmp_path / "photo.jpg", exif=exif)
    Image.fromarray(picture(1)).save(tmp_path / "plain.jpg")
    assert probe(tmp_path / "photo.jpg").focal_35mm == 26
    assert probe(tmp_path / "plain.jpg").focal_35mm is None


@pytest.mark.parametrize(("stated", "focal"), [("26", 26.0), ("0", None), ("auto", None)])
def test_the_focal_length_of_a_telephone_video_is_read(
    tmp_path: Path, stated: str, focal: float | None
) -> None:
    path = tmp_path / "phone.mov"
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata["com.apple.quicktime.camera.focal_length.35mm_equivalent"] = stated
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = WIDTH, HEIGHT
        for i in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(i), format="rgb24")))
        container.mux(stream.encode())
    assert probe(path).focal_35mm == focal


def test_a_frame_is_freed_when_the_next_is_read():
    """Without waiting for the garbage collector: a picture of 720p is several megabytes."""
    gc.collect()
    gc.disable()
    try:
        for _ in read_frames(probe(WALK)):
            pass
        alive = sum(type(thing) is VideoFrame for thing in gc.get_objects())
    finally:
        gc.enable()
    assert alive < 20
