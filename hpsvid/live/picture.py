"""One picture of a running camera, the people in it and the numbers beside it."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import cv2

from hpsvid.body.skeleton import SMPL
from hpsvid.types import Array, Motion

JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """How far the pictures are behind the camera; times and rates over the last of them."""

    captured: int
    shown: int
    dropped: int
    fps: float  # of the pictures
    latency_ms: float  # from a frame's capture to its picture: median
    latency_ms_95: float  # of 100 frames 95 take no longer
    latency_frames: float  # captured in that time: median
    latency_frames_max: int

    def line(self) -> str:
        """All of it for a person to read."""
        return (
            f"{self.shown} of {self.captured} frames at {self.fps:.1f} fps, "
            f"{self.dropped} dropped; capture to picture {self.latency_ms:.0f} ms "
            f"(95 %: {self.latency_ms_95:.0f} ms), {self.latency_frames:.0f} frames "
            f"(at most {self.latency_frames_max})"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """What is shown of one frame."""

    rgb: Array  # (H, W, 3) uint8, with the people drawn over it
    motion: Motion  # of this frame alone
    numbers: Numbers  # up to the picture before

    @cached_property
    def jpeg(self) -> bytes:
        """The picture, packed by the first who asks."""
        bgr = cv2.cvtColor(self.rgb, cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()

    @cached_property
    def pose(self) -> bytes:
        """The people as JSON, as in the result npz: m, px, s, camera axes x right, y down."""
        people = [
            {
                "id": person.track.id,
                "seen": bool(person.valid[0]),
                "box_px": _rounded(person.track.boxes[0], 1),
                "betas": _rounded(person.body.betas, 4),
                "rotmats": _rounded(person.body.rotmats[0], 5),
                "transl_m": _rounded(person.body.transl[0], 4),
                "joints_m": _rounded(person.joints[0], 4),
                "joints_px": _rounded(person.joints2d[0], 1),
            }
            for person in self.motion.people
        ]
        content = {
            "pts_s": round(float(self.motion.pts_s[0]), 4),
            "joint_names": SMPL.names,
            "K": self.motion.camera.K.tolist(),
            "people": people,
        }
        return json.dumps(content, separators=(",", ":")).encode()

    @property
    def status(self) -> bytes:
        """The numbers as JSON."""
        return json.dumps({"people": len(self.motion.people), **asdict(self.numbers)}).encode()


Show = Callable[[Picture], bool]
"""Takes the next picture; False ends the command."""


def _rounded(values: Array, digits: int) -> Any:
    return values.astype(float).round(digits).tolist()
