"""Pictures as people mean them: upright, whole, of the right brightness, photos apart."""

import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from hpsvid.cli import app
from hpsvid.errors import DependencyError, InputError
from hpsvid.pipeline.stages import StageClock, find_people
from hpsvid.types import Array, Clip
from hpsvid.video import pictures
from hpsvid.video.colour import standard_range
from hpsvid.video.probe import clips_in, probe
from hpsvid.video.writer import suffix_for, write_image
from tests.video.clips import HEIGHT, WIDTH, X264, code, encode, ffmpeg, mux, picture, read
from tests.video.test_clocks import StandsThere


def test_a_size_that_changes_keeps_peoples_shape(tmp_path: Path) -> None:
    disc = np.zeros((64, 160, 3), np.uint8)
    cv2.circle(disc, (80, 32), 24, (255, 255, 255), -1)
    upright = np.ascontiguousarray(np.rot90(disc))
    parts = [
        mux(tmp_path / f"{i}.mkv", "libvpx", [rgb] * 6) for i, rgb in enumerate((upright, disc))
    ]
    with av.open(str(tmp_path / "a.mkv"), "w") as out, av.open(str(parts[0])) as first:
        stream = out.add_stream_from_template(first.streams.video[0])
        for i, part in enumerate(parts):
            with av.open(str(part)) as container:
                for packet in container.demux(video=0):
                    if packet.pts is not None:
                        packet.pts += 240 * i
                        packet.dts, packet.stream = packet.pts, stream
                        out.mux(packet)
    rgb, _ = read(probe(tmp_path / "a.mkv"))
    assert rgb.shape[1:3] == (160, 64)
    for frame in (rgb[0], rgb[-1]):
        rows, columns = np.nonzero(frame[..., 1] > 128)
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)  # a disc stays one
        assert np.ptp(rows) > 15


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_exif_orientations_are_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(picture(5)).save(path, exif=exif, quality=95)
    with Image.open(path) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    clip = probe(path)
    assert (clip.height, clip.width) == wanted.shape[:2]
    assert np.abs(read(clip)[0][0] - wanted).mean() < 6  # decoders interpolate chroma differently


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_few_bits_in_a_16_bit_picture_are_not_black(
    tmp_path: Path, bits: int, channels: int
) -> None:
    ramp = np.linspace(0, 2**bits - 1, 64 * 48).reshape(48, 64).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), np.repeat(ramp[..., None], channels, 2))
    rgb, _ = read(probe(tmp_path / "a.png"))
    np.testing.assert_array_equal(rgb[0, ..., 1], (ramp >> (bits - 8)).astype(np.uint8))


def test_the_bits_of_a_folder_do_not_flicker(tmp_path: Path) -> None:
    for i, top in enumerate((4000, 900, 4000)):  # a dark frame among those of a 12-bit camera
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((8, 8), top, np.uint16))
    rgb, _ = read(probe(tmp_path, photos=False))
    assert [int(frame[0, 0, 0]) for frame in rgb] == [250, 56, 250]


@pytest.mark.parametrize("suffix", [".webp", ".png", ".apng"])
def test_animations_have_all_their_pictures(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    frames = [Image.fromarray(picture(i)) for i in range(12)]
    kind = "WEBP" if suffix == ".webp" else "PNG"
    frames[0].save(path, format=kind, save_all=True, append_images=frames[1:], duration=40, loop=0)
    clip = probe(path)
    assert clip.fps == 25 and clip.frame_count == 12
    assert suffix_for(clip) == ".mp4"
    rgb, times = read(clip)
    assert [code(frame) for frame in rgb] == list(range(12))
    np.testing.assert_allclose(times, np.arange(12) / 25)
    np.testing.assert_allclose(read(probe(path, input_fps=10))[1], np.arange(12) / 10)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_huge_photos_are_read_smaller_and_absurd_ones_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, picture(9, 800, 600))
    for limit, size in ((480_000, (800, 600)), (479_999, (400, 300)), (119_999, (200, 150))):
        monkeypatch.setattr(pictures, "FULL_SIZE_PIXELS", limit)
        clip = probe(path)
        assert (clip.width, clip.height) == size
        assert code(read(clip)[0][0]) == 9
    monkeypatch.setattr(pictures, "MOST_PIXELS", 400_000)
    with pytest.raises(InputError, match="800x600 px; expected at most"):
        probe(path)


def test_heic_is_read_whole_or_refused_plainly(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = shared / "data/field/pictures/grid.heic"
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(DependencyError, match=r"pip install 'hpsvid\[heic\]'"):
        probe(photo)
    monkeypatch.undo()
    pytest.importorskip("pi_heif")
    clip = probe(photo)
    assert (clip.width, clip.height) == (1536, 2048)  # one tile has 512x512
    assert read(clip)[0].shape == (1, 2048, 1536, 3)


def test_heic_under_another_name_is_no_video(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes((shared / "data/field/pictures/grid.heic").read_bytes())
    with pytest.raises(InputError, match="a photo, not a video"):
        probe(tmp_path / "a.mp4")


def test_hdr_becomes_standard_range(tmp_path: Path) -> None:
    # BT.2408: reference white is 75 % of HLG's signal and 58 % of PQ's; it is to be light grey
    greys = np.tile(np.repeat(np.array([0, 0.38, 0.58, 0.75]) * 65535, 24), (48, 1)).astype(
        np.uint16
    )
    for trc, place in (("arib-std-b67", 3), ("smpte2084", 2)):
        path = tmp_path / f"{trc}.mp4"
        ffmpeg(
            "-f", "rawvideo", "-pix_fmt", "gray16le", "-s", "96x48", "-i", "pipe:0",
            "-vf", "scale=out_color_matrix=bt2020:out_range=tv,format=yuv420p10le,"
            f"setparams=color_trc={trc}:color_primaries=bt2020:colorspace=bt2020nc:range=tv",
            "-c:v", "libx265", "-x265-params", "log-level=none:lossless=1",
            "-color_trc", trc, "-color_primaries", "bt2020", "-colorspace", "bt2020nc", path,
            stdin=greys.tobytes(),
        )  # fmt: skip
        grey = read(probe(path))[0][0, 24, 12::24].astype(int)
        assert np.ptp(grey, axis=1).max() <= 2  # greys stay grey
        assert grey[0, 0] <= 2
        assert (np.diff(grey[:, 0]) >= 0).all()
        assert grey[place, 0] == pytest.approx(217, abs=6)


def test_hdr_keeps_hues_and_shadows() -> None:
    signal = np.array([[[20_000, 10_000, 10_000], [10_000, 10_000, 20_000]]], np.uint16)
    for transfer in (16, 18):
        red, blue = standard_range(signal, transfer)[0].astype(int)
        assert red[0] > red[1] + 20 and blue[2] > blue[0] + 20


def test_interlaced_video_does_not_comb(tmp_path: Path) -> None:
    def moment(i: int) -> Array:
        rgb = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        rgb[:, 4 + 3 * i : 20 + 3 * i] = 220
        return rgb

    woven = [moment(2 * i) for i in range(10)]
    for i, rgb in enumerate(woven):
        rgb[1::2] = moment(2 * i + 1)[1::2]
    path = mux(
        tmp_path / "a.mp4", "libx264", woven,
        options={"x264-params": "interlaced=1:tff=1", "crf": "10"},
    )  # fmt: skip
    rgb, times = read(probe(path))
    np.testing.assert_allclose(times, np.arange(10) / 25, atol=1e-3)

    def combs(frame: Array) -> float:
        return float(np.abs(np.diff(frame[8:-8, :, 1].astype(int), axis=0)).mean())

    assert max(combs(frame) for frame in rgb[1:-1]) < 0.3 * combs(woven[4])
    for i, frame in enumerate(rgb[1:-1], start=1):  # each in its place
        assert np.flatnonzero(frame[32, :, 1] > 128).mean() == pytest.approx(6 * i + 11.5, abs=3)


# ---- folders


def photos_in(folder: Path, kind: str) -> Path:
    """Six pictures that are photos of their own, each time for another reason."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(6):
        rgb, exif = picture(1), Image.Exif()
        if kind == "sizes":
            rgb = picture(1, WIDTH + 20 * (i % 2), HEIGHT)
        elif kind == "times":
            exif.get_ifd(0x8769)[0x9003] = f"2024:05:17 10:{i:02}:00"
        elif kind == "pictures":
            rgb = cv2.resize(rng.integers(0, 256, (4, 6, 3)).astype(np.uint8), (WIDTH, HEIGHT))
        Image.fromarray(rgb).save(folder / f"{i}.jpg", exif=exif)
    return folder


@pytest.mark.parametrize(
    ("kind", "why"),
    [("sizes", "sizes differ"), ("times", "seconds apart"), ("pictures", "pictures differ")],
)
def test_unrelated_photos_are_scenes_of_their_own(tmp_path: Path, kind: str, why: str) -> None:
    folder = photos_in(tmp_path / "in", kind)
    clip = probe(folder)
    assert clip.photos
    assert why in clip.notes[0] and "--no-photos" in clip.notes[0]
    tracks, pts_s = find_people(clip, StandsThere(), StageClock())
    assert [list(track.frame_index) for track in tracks] == [[i] for i in range(6)]
    assert len(pts_s) == 6
    assert not probe(folder, photos=False).photos
    assert not probe(folder, input_fps=5).photos


def test_frames_of_one_recording_are_no_photos(tmp_path: Path) -> None:
    for i in range(10):
        write_image(tmp_path / f"{i}.png", np.roll(picture(1), 2 * i, 1))
    clip = probe(tmp_path)
    assert not clip.photos
    assert clip.fps == 30 and "30 frames a second; --input-fps" in clip.notes[0]
    assert probe(tmp_path, input_fps=5).fps == 5
    assert not probe(tmp_path, input_fps=5).notes
    assert probe(tmp_path, photos=True).photos


def test_photos_of_many_sizes_keep_their_shape(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", picture(7, 60, 90))
    write_image(tmp_path / "2.png", picture(9, 300, 200))
    rgb, _ = read(probe(tmp_path))
    assert rgb.shape == (2, 200, 300, 3)
    assert code(rgb[1]) == 9
    columns = np.flatnonzero(rgb[0].any((0, 2)))
    assert np.ptp(columns) + 1 == pytest.approx(60 * 200 / 90, abs=2)
    assert code(rgb[0][:, columns[0] : columns[-1] + 1]) == 7


def test_camcorders_files_are_found_in_folders(tmp_path: Path) -> None:
    whole = encode(tmp_path / "a.mp4", *X264).read_bytes()
    names = ["b.mts", "b.m2ts", "b.3gp", "b.flv", "b.mpeg", "b.mpg", "b.ts", "b.ogv", "b.wmv"]
    for name in names:
        (tmp_path / name).write_bytes(whole)
    assert {path.name for path in clips_in(tmp_path)} == {"a.mp4", *names}


def test_the_commands_pass_the_input_options_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = encode(tmp_path / "a.mp4", *X264)
    for command in ("run", "export"):
        ran = CliRunner().invoke(app, [command, str(clip), "--photos"])
        assert ran.exit_code == 1 and "--photos: has no effect on" in ran.output
    seen = []

    def make_motion(clip: Clip, *_: object) -> None:
        seen.append(clip)
        raise InputError("enough")

    monkeypatch.setattr("hpsvid.pipeline.make.make_motion", make_motion)
    photos_in(tmp_path / "in", "sizes")
    for command in ("run", "export"):
        for given in (["--input-fps", "5", "--photos"], ["--input-fps", "5"], []):
            CliRunner().invoke(app, [command, str(tmp_path / "in"), *given])
    assert [(clip.fps, clip.photos) for clip in seen] == [(5, True), (5, False), (1, True)] * 2
