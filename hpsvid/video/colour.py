"""Decoded frames to RGB: fields of interlaced video joined, HDR tone-mapped to standard range."""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import cv2
import numpy as np
from av.error import BlockingIOError, EOFError
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter

from hpsvid.types import Array

# AVColorTransferCharacteristic and AVColorSpace, as ITU-T H.273 numbers them
_PQ, _HLG, _UNSPECIFIED = 16, 18, 2

# HDR. Reference white, and the peak that highlights are compressed from: ITU-R BT.2408, BT.2100
_WHITE_NITS, _PEAK_NITS = 203.0, 1000.0
_HLG_PEAK = np.float32(_PEAK_NITS / _WHITE_NITS)
_HLG_SYSTEM_GAMMA = 1.2  # BT.2100 table 5, for a display of 1000 nits
_LINEAR_UP_TO = 0.3  # of white; above, highlights roll off (FFmpeg's vf_tonemap.c, "mobius")
_DISPLAY_GAMMA = 2.4  # BT.1886
_LUMA_2020 = np.array([[0.2627, 0.6780, 0.0593]], np.float32)
# BT.2087: BT.2020's primaries in BT.709's
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
_STRIP = 64  # rows that are tone-mapped at a time: floats of a whole 4K frame are 100 MB each


class ToRGB:
    """Turns frames into RGB of a wanted size; keeps the scaler between frames."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def __call__(self, frame: VideoFrame, width: int, height: int) -> Array:
        """(height, width, 3) uint8, valid until the next call. HD without a word is BT.709 (mpv).

        HLG and PQ become standard range (BT.709, BT.1886) as `standard_range` says.
        """
        hd = frame.width >= 1280 or frame.height > 576
        silent_hd = frame.colorspace == _UNSPECIFIED and hd
        hdr = frame.color_trc in (_PQ, _HLG)
        rgb = self._scaler.reformat(
            frame,
            width=width,
            height=height,
            format="rgb48le" if hdr else "rgb24",
            src_colorspace=Colorspace.ITU709 if silent_hd and not hdr else None,
        )
        pixels = _view(rgb, np.dtype("<u2") if hdr else np.dtype(np.uint8))
        return standard_range(pixels, int(frame.color_trc)) if hdr else pixels


def _view(rgb: VideoFrame, dtype: np.dtype[Any]) -> Array:
    """The pixels of a packed RGB frame, (H, W, 3), without copying; rows may be padded."""
    plane: Any = rgb.planes[0]
    size = dtype.itemsize
    return np.ndarray(
        (rgb.height, rgb.width, 3), dtype, buffer=plane, strides=(plane.line_size, 3 * size, size)
    )


def standard_range(rgb: Array, transfer: int) -> Array:
    """HDR pixels (H, W, 3) uint16, full scale, BT.2020, as (H, W, 3) uint8 of standard range.

    transfer: 16 (PQ) or 18 (HLG). Light relative to reference white (203 nits): up to 0.3 it
    stays, above it rolls off so that 1000 nits become 1 ("mobius", by the brightest channel, so
    hues stay); then BT.709's primaries and a display's gamma of 2.4.
    """
    linear = _light_of_pq() if transfer == _PQ else _light_of_hlg()
    encoded = _gamma_table()
    out = np.empty(rgb.shape, np.uint8)
    for top in range(0, len(rgb), _STRIP):
        light = linear.take(rgb[top : top + _STRIP], mode="clip")
        if transfer == _HLG:  # BT.2100: the display's light follows from the scene's luminance
            luminance = np.maximum(cv2.transform(light, _LUMA_2020), 1e-6)
            light *= cv2.pow(luminance, _HLG_SYSTEM_GAMMA - 1)[..., None] * _HLG_PEAK
        light = np.maximum(cv2.transform(light, _TO_709), 0)
        brightest = np.maximum(cv2.max(cv2.max(light[..., 0], light[..., 1]), light[..., 2]), 1e-6)
        light *= (_rolled_off(brightest) / brightest * np.float32(len(encoded) - 1))[..., None]
        out[top : top + _STRIP] = encoded.take((light + 0.5).astype(np.uint16), mode="clip")
    return out


def _rolled_off(light: Array) -> Array:
    """Mobius tone curve: the identity up to _LINEAR_UP_TO, smooth from there to 1 at the peak."""
    j, peak = _LINEAR_UP_TO, _PEAK_NITS / _WHITE_NITS
    a = -(j**2) * (peak - 1) / (j**2 - 2 * j + peak)
    b = (j**2 - 2 * j * peak + peak) / (peak - 1)
    curve = (b**2 + 2 * b * j + j**2) / (b - a) * (light + a) / (light + b)
    return np.where(light <= j, light, np.minimum(curve, 1))


@cache
def _light_of_hlg() -> Array:
    """Scene light (65536,) in 0..1 of HLG's signal: BT.2100 table 5, the inverse OETF."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    signal = np.linspace(0, 1, 65536)
    light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return light.astype(np.float32)


@cache
def _light_of_pq() -> Array:
    """Display light (65536,), 1 = reference white, of PQ's signal: BT.2100 table 4 (ST 2084)."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    signal = np.linspace(0, 1, 65536) ** (1 / m2)
    nits = 10_000 * (np.maximum(signal - c1, 0) / (c2 - c3 * signal)) ** (1 / m1)
    return (nits / _WHITE_NITS).astype(np.float32)


@cache
def _gamma_table() -> Array:
    """Light in 4096 steps of equal size -> 8-bit signal, of a display's gamma."""
    return np.round(255 * np.linspace(0, 1, 4096) ** (1 / _DISPLAY_GAMMA)).astype(np.uint8)


def deinterlaced(timed: Iterable[tuple[VideoFrame, float]]) -> Iterator[tuple[VideoFrame, float]]:
    """The frames with their times; those of two fields become whole pictures (FFmpeg's bwdif).

    From the first interlaced frame on, all go through the filter, which leaves the others as
    they are; of a video without any, none does.
    """
    graph: Graph | None = None
    shape: tuple[Any, ...] = ()
    times: list[float] = []

    def ready() -> Iterator[tuple[VideoFrame, float]]:
        while graph is not None:
            try:
                frame = graph.pull()
            except (BlockingIOError, EOFError):
                return
            if isinstance(frame, VideoFrame):
                yield frame, times.pop(0)

    for frame, time_s in timed:
        if graph is None and not frame.interlaced_frame:
            yield frame, time_s
            continue
        if shape != (frame.width, frame.height, frame.format.name):
            if graph is not None:  # the picture size changes
                graph.push(None)
                yield from ready()
            shape = (frame.width, frame.height, frame.format.name)
            graph = _deinterlacer(frame)
        times.append(time_s)
        assert graph is not None
        graph.push(frame)
        yield from ready()
    if graph is not None:
        graph.push(None)
        yield from ready()


def _deinterlacer(frame: VideoFrame) -> Graph:
    """A filter graph for frames like this one: one picture a frame, by the flags of each."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph
