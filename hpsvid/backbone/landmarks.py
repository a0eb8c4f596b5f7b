"""The record of BlazePose's landmarks, which only this backbone and its lifters know."""

from dataclasses import dataclass

from hpsvid.backbone.inner_maps import READ
from hpsvid.types import N_LANDMARKS, Array, check_array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Landmarks:
    """What the landmark network says about one track, before any body model.

    `world` is in metres, relative to the middle of the hips, in axes parallel to the camera's
    as if the crop had been seen along the optical axis.
    """

    track_id: int
    frame_index: Array  # (T,) int64
    image: Array  # (T, 33, 2) float32 px
    world: Array  # (T, 33, 3) float32 m
    visibility: Array  # (T, 33) float32 in [0, 1]
    presence: Array  # (T, 33) float32 in [0, 1]
    score: Array  # (T,) float32: probability that the crop holds a person; 0 = not seen
    lean: Array | None = None  # (T,) float32 rad, the crop's up direction, clockwise; see Crop
    inner: Array | None = None  # (T, 19, Q) float16, what a lifter keeps of the inner maps

    def __post_init__(self) -> None:
        check_array(self, "frame_index", (None,), "i")
        n = len(self.frame_index)
        check_array(self, "image", (n, N_LANDMARKS, 2), "f")
        check_array(self, "world", (n, N_LANDMARKS, 3), "f")
        check_array(self, "visibility", (n, N_LANDMARKS), "f")
        check_array(self, "presence", (n, N_LANDMARKS), "f")
        check_array(self, "score", (n,), "f")
        if self.lean is not None and self.inner is not None:
            check_array(self, "lean", (n,), "f")
            check_array(self, "inner", (n, len(READ), None), "f")

    def __len__(self) -> int:
        return len(self.frame_index)
