"""What lens, sensor and file do to a picture: exposure, blur, grain, and compression."""

import io
from dataclasses import dataclass

import av
import cv2
import numpy as np

from hpsvid.types import Array
from tools.people.camera import SIZES

CODECS = {"none": 0.2, "jpeg": 0.4, "h264": 0.4}
QUALITY = (25, 92)  # JPEG
CRF = (18, 34)  # x264's constant rate factor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sensor:
    """One camera's picture quality."""

    gain: Array  # (3,) exposure and white balance
    contrast: float  # exponent
    blur_px: float  # deviation; lens and focus
    grain: float  # deviation at mid grey, of 255
    shutter: float  # share of a frame's time that it is open; 0 for no motion blur
    codec: str  # one of CODECS
    quality: float  # 0..1, of the codec's range, 1 is good

    def developed(self, picture: Array, noise: Array, rng: np.random.Generator) -> Array:
        """An exact picture (H, W, 3) float32 0..255 as uint8, before compression.

        noise: (h, w, 3) float32 of unit spread, larger than the picture; a random part is used.
        """
        if self.blur_px > 0.3:
            picture = cv2.GaussianBlur(picture, (0, 0), self.blur_px)
        height, width = picture.shape[:2]
        top, left = (
            int(rng.integers(whole - part))
            for whole, part in zip(noise.shape[:2], (height, width), strict=True)
        )
        curve = 255 * np.linspace(0, 1, 1024, dtype=np.float32) ** self.contrast
        step = (picture * (self.gain * (1023 / 255))).clip(0, 1023).astype(np.int32)
        scaled = curve[step]
        strength = self.grain * np.sqrt(scaled / 128 + 0.1)
        scaled += strength * noise[top : top + height, left : left + width]
        return scaled.clip(0, 255).astype(np.uint8)


def draw_noise(rng: np.random.Generator) -> Array:
    """Grain for `Sensor.developed` (800, 800, 3): mostly of brightness, some of colour."""
    side = max(max(size) for size in SIZES) + 160
    grey = rng.normal(size=(side, side, 1)).astype(np.float32)
    colour = rng.normal(size=(side, side, 3)).astype(np.float32)
    return 0.85 * grey + 0.5 * colour


def draw_sensor(rng: np.random.Generator) -> Sensor:
    """A camera from good to poor; a third of them film with a blurring shutter."""
    return Sensor(
        gain=(rng.uniform(0.8, 1.4) * rng.uniform(0.92, 1.08, 3)).astype(np.float32),
        contrast=float(rng.uniform(0.8, 1.25)),
        blur_px=float(rng.uniform(0, 1.1) ** 2),
        grain=float(rng.uniform(0, 2.6) ** 2),
        shutter=float(rng.uniform(0.15, 0.6)) if rng.random() < 0.45 else 0.0,
        codec=list(CODECS)[rng.choice(len(CODECS), p=list(CODECS.values()))],
        quality=float(rng.random()),
    )


def compressed(frames: Array, codec: str, quality: float) -> Array:
    """Frames (T, H, W, 3) uint8 as they come back from a file."""
    if codec == "jpeg":
        level = round(QUALITY[0] + quality * (QUALITY[1] - QUALITY[0]))
        return np.stack([_through_jpeg(frame, level) for frame in frames])
    if codec == "h264":
        return _through_h264(frames, round(CRF[1] - quality * (CRF[1] - CRF[0])))
    return frames


def _through_jpeg(frame: Array, level: int) -> Array:
    done, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, level])
    assert done
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]


def h264_file(frames: Array, crf: int, fps: int = 30) -> bytes:
    """An MP4 file of frames (T, H, W, 3) uint8 with even sides."""
    stored = io.BytesIO()
    with av.open(stored, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return stored.getvalue()


def _through_h264(frames: Array, crf: int) -> Array:
    with av.open(io.BytesIO(h264_file(frames, crf)), "r") as source:
        back = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    assert len(back) == len(frames)
    return np.stack(back)
