"""Small clips whose pictures say their own index, and what must be read back from them."""

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np

from hpsvid.types import Array, Clip
from hpsvid.video.reader import read_frames

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
N, WIDTH, HEIGHT, RATE = 30, 96, 64, 25
CODE_BITS = 6


def ffmpeg(*arguments: str | Path, stdin: bytes | None = None) -> bytes:
    command = [FFMPEG, "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def picture(index: int, width: int = WIDTH, height: int = HEIGHT) -> Array:
    """A picture that says its own index: upper half, black and white bars, the low bit first.

    The lower half is red on the left and blue on the right, so that turning shows.
    """
    rgb = np.zeros((height, width, 3), np.uint8)
    for bit in range(CODE_BITS):
        left, right = (round(width * side / CODE_BITS) for side in (bit, bit + 1))
        rgb[: height // 2, left:right] = 255 * (index >> bit & 1)
    rgb[height // 2 :, : width // 2] = [200, 30, 30]
    rgb[height // 2 :, width // 2 :] = [30, 30, 200]
    return rgb


def code(rgb: Array) -> int:
    """The index that a decoded picture says."""
    height, width = rgb.shape[:2]
    centres = ((np.arange(CODE_BITS) + 0.5) * width / CODE_BITS).astype(int)
    return int(sum((rgb[height // 4, centres].mean(1) > 128) << np.arange(CODE_BITS)))


def encode(path: Path, *options: str, width: int = WIDTH, height: int = HEIGHT) -> Path:
    """N coded pictures through ffmpeg with these options."""
    raw = b"".join(picture(i, width, height).tobytes() for i in range(N))
    form = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(RATE)]
    ffmpeg(*form, "-i", "pipe:0", *options, path, stdin=raw)
    return path


X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")
# uneven on purpose, whole milliseconds: 40 ms a frame and 20 ms more on every third
VFR = ("-vf", "settb=1/1000,setpts=40*N+20*floor(N/3)", "-fps_mode", "passthrough",
       "-enc_time_base", "1:1000")  # fmt: skip
VFR_TIMES = np.arange(N) * 0.04 + 0.02 * (np.arange(N) // 3)
EVEN = np.arange(N) / RATE


def read(clip: Clip, chunk: int = 16) -> tuple[Array, Array]:
    """All pictures and times; fails unless the index runs from 0 without a gap."""
    chunks = list(read_frames(clip, chunk=chunk))
    assert all(len(frames) == chunk for frames in chunks[:-1])
    index = np.concatenate([frames.index for frames in chunks])
    np.testing.assert_array_equal(index, np.arange(len(index)))
    return (
        np.concatenate([frames.rgb for frames in chunks]),
        np.concatenate([frames.pts_s for frames in chunks]),
    )


def mux(
    path: Path,
    codec: str,
    pictures: Sequence[Array],
    *,
    rate: Fraction | int = RATE,
    stamps: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    pix_fmt: str = "yuv420p",
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A clip by PyAV: these pictures (H, W, 3) at `stamps` ticks of `time_base`, or evenly."""
    time_base = time_base or 1 / Fraction(rate)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = pix_fmt, time_base
        if aspect:
            stream.sample_aspect_ratio = aspect
        for i, rgb in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts, frame.time_base = (i if stamps is None else stamps[i]), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def shown_by(path: Path, matrix: Sequence[int]) -> Path:
    """Write the display matrix's a, b, c, d (whole numbers) into an MP4's track header."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # version 0: flags, times, id, duration, layer, volume
    for place, value in zip((0, 4, 12, 16), matrix, strict=True):
        data[at + place : at + place + 4] = (value << 16).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    return path
