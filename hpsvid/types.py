"""The data that flows between stages: frozen dataclasses of numpy arrays, shapes checked.

Units: metres, radians, seconds; pixels from the top-left corner of the upright image; camera
axes are OpenCV's (x right, y down, z forward). T is a track's frame count, J=29 joints
(SMPL's 24 and five leaves, `hpsvid.body.skeleton.SMPL`).
"""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 1
N_JOINTS = 29  # of `hpsvid.body.skeleton.SMPL`, which has the same counts
N_ROTATIONS = 24  # its first joints; the others are leaves
N_TWISTS = N_ROTATIONS - 1  # of all rotations but the root's
N_BETAS = 10  # shape directions that networks know; a body may have more
N_LANDMARKS = 33  # BlazePose's

Array = NDArray[Any]


def check_array(owner: object, name: str, shape: tuple[int | None, ...], kind: str) -> None:
    """Raise ValueError unless field `name` has this shape (None = any) and dtype kind."""
    value = getattr(owner, name)
    where = f"{type(owner).__name__}.{name}"
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{where}: expected a numpy array, found {type(value).__name__}")
    fits = len(value.shape) == len(shape) and all(
        want is None or want == have for want, have in zip(shape, value.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{where}: expected shape {shape}, found {value.shape}")
    if value.dtype.kind not in kind:
        raise ValueError(f"{where}: expected dtype kind {kind!r}, found {value.dtype}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part of a recording that is looked at: every `every`-th frame from start to end."""

    start_s: float = 0.0  # of the first frame, or up to a frame before it
    end_s: float | None = None  # frames from here on are left out; None: to the end
    every: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clip:
    """What a probe of the input says about it."""

    path: Path
    width: int  # px, upright
    height: int  # px, upright
    fps: Fraction  # nominal frame rate; the truth about time is in pts_s
    rotation: int  # degrees clockwise that were applied to make the picture upright
    audio: bool
    frame_count: int | None  # as the container announces it; None when it does not
    part: Part | None = None  # None: the whole; `fps` and `frame_count` are the part's
    focal_35mm: float | None = None  # mm on 35 mm film, where the file states it
    fps_given: bool = False  # by the user: frames follow each other at `fps`, whatever they say
    photos: bool = False  # a folder of photos of their own: each is a scene
    identity: tuple[int, int] | None = None  # bytes and time of change (ns) of the file, probed
    notes: tuple[str, ...] = ()  # what was assumed and what of the user's input changes it
    blank: bool = False  # there is no video: its `frame_count` pictures are plain


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frames:
    """A chunk of decoded pictures with their times."""

    rgb: Array  # (N, H, W, 3) uint8
    index: Array  # (N,) int64, counted from the first frame of the clip, or of its part
    pts_s: Array  # (N,) float64 seconds, 0 at the recording's first frame

    def __post_init__(self) -> None:
        check_array(self, "rgb", (None, None, None, 3), "u")
        n = len(self.rgb)
        check_array(self, "index", (n,), "i")
        check_array(self, "pts_s", (n,), "f")

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detections:
    """The people that the detector sees in one frame."""

    frame_index: int
    boxes: Array  # (D, 4) float32 x0 y0 x1 y1 px
    scores: Array  # (D,) float32 in [0, 1]
    turns: Array | None = None  # (D,) int, quarter turns clockwise of each body; None: all 0

    def __post_init__(self) -> None:
        check_array(self, "boxes", (None, 4), "f")
        check_array(self, "scores", (len(self.boxes),), "f")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Track:
    """One person's boxes over a gap-free run of frames."""

    id: int
    frame_index: Array  # (T,) int64, consecutive
    boxes: Array  # (T, 4) float32 x0 y0 x1 y1 px
    scores: Array  # (T,) float32; 0 where filled
    detected: Array  # (T,) bool; False where a gap was filled
    shot_start: int = 0  # first frame of the shot that the track lies in
    turns: Array | None = None  # (T,) int, quarter turns clockwise of the body; None: all 0

    def __post_init__(self) -> None:
        check_array(self, "frame_index", (None,), "i")
        n = len(self.frame_index)
        check_array(self, "boxes", (n, 4), "f")
        check_array(self, "scores", (n,), "f")
        check_array(self, "detected", (n,), "b")
        if n == 0 or np.any(np.diff(self.frame_index) != 1):
            raise ValueError(f"Track.frame_index of track {self.id}: expected a gap-free run")

    def __len__(self) -> int:
        return len(self.frame_index)


CameraSource = Literal["given", "metadata", "turning", "guessed"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Camera:
    """A pinhole camera without distortion."""

    K: Array  # (3, 3) float64 px
    source: CameraSource

    def __post_init__(self) -> None:
        check_array(self, "K", (3, 3), "f")
        if self.source not in get_args(CameraSource):
            raise ValueError(f"Camera.source: expected {CameraSource}, found {self.source!r}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observations:
    """What a backbone hands to a solver: one track's evidence about the body in each frame."""

    track_id: int
    frame_index: Array  # (T,) int64
    joints: Array  # (T, 29, 3) float32 m, relative to the pelvis, camera axes
    sigma: Array  # (T, 29) float32 m, standard deviation of a joint's position
    twist: Array  # (T, 23, 2) float32 (cos, sin) of each bone's twist, joints 1..23
    betas: Array  # (T, 10) float32 shape, one guess a frame
    landmarks2d: Array  # (T, L, 3) float32 px, px, visibility in [0, 1]
    pelvis: Array  # (T, 3) float32 m, camera coordinates
    valid: Array  # (T,) bool; False where the backbone saw nothing
    changing: float = 1.0  # share of sigma that changes within a second, as solvers take noise to
    # what dense maps show, where they were asked to keep it
    crops: Array | None = None  # (T, 4) float32 x, y, side px, angle rad; NaN: no look
    masks: Array | None = None  # (T, N, N) uint8 chance that a cell of the crop shows the person
    places: Array | None = None  # (T, C, 3) int16 cell, vertex that it shows, mm of doubt; -1: none

    def __post_init__(self) -> None:
        check_array(self, "frame_index", (None,), "i")
        n = len(self.frame_index)
        check_array(self, "joints", (n, N_JOINTS, 3), "f")
        check_array(self, "sigma", (n, N_JOINTS), "f")
        check_array(self, "twist", (n, N_TWISTS, 2), "f")
        check_array(self, "betas", (n, N_BETAS), "f")
        check_array(self, "landmarks2d", (n, None, 3), "f")
        check_array(self, "pelvis", (n, 3), "f")
        check_array(self, "valid", (n,), "b")
        if self.crops is not None and self.masks is not None and self.places is not None:
            check_array(self, "crops", (n, 4), "f")
            check_array(self, "masks", (n, None, None), "u")
            check_array(self, "places", (n, None, 3), "i")

    def __len__(self) -> int:
        return len(self.frame_index)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """A run of L frames of one track's observations; padded frames are not valid."""

    obs: Observations
    start: int  # first frame's place in the track
    valid: Array  # (L,) bool

    def __post_init__(self) -> None:
        check_array(self, "valid", (len(self.obs),), "b")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BodyParams:
    """SMPL parameters of one person; posed vertex + transl = camera point."""

    rotmats: Array  # (T, 24, 3, 3) float32, parent-relative
    betas: Array  # (B,) float32, ten at least; a body's further ones are 0 where they are not said
    transl: Array  # (T, 3) float32 m

    def __post_init__(self) -> None:
        check_array(self, "rotmats", (None, N_ROTATIONS, 3, 3), "f")
        check_array(self, "betas", (None,), "f")
        if len(self.betas) < N_BETAS:
            raise ValueError(f"BodyParams.betas: expected {N_BETAS}, found {len(self.betas)}")
        check_array(self, "transl", (len(self.rotmats), 3), "f")

    def __len__(self) -> int:
        return len(self.rotmats)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Texture:
    """What a person looks like, in the layout of `hpsvid.body.atlas`."""

    rgb: Array  # (H, W, 3) uint8

    def __post_init__(self) -> None:
        check_array(self, "rgb", (None, None, 3), "u")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """How a person's surface departs from their body."""

    offsets: Array  # (V, 3) float32 m, of each vertex of the unbent body

    def __post_init__(self) -> None:
        check_array(self, "offsets", (None, 3), "f")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Person:
    """One person's motion, ready to be drawn or written."""

    track: Track
    body: BodyParams
    joints: Array  # (T, 29, 3) float32 m, camera coordinates
    joints2d: Array  # (T, 29, 2) float32 px
    sigma: Array  # (T, 29) float32 m
    valid: Array  # (T,) bool; False where the pose was filled, or plainly misses what was seen
    reprojection_px: Array  # (T,) float32, weighted mean distance to the 2D evidence; NaN = none
    evidence_error: Array  # (T, 29) float32 m, distance of each joint to its evidence; NaN = none
    contacts: Array | None = None  # (T, 4) float32 in [0, 1]: left heel, ball, right heel, ball
    texture: Texture | None = None  # a file of its own beside the result
    surface: Surface | None = None  # of `hpsvid surface`

    def __post_init__(self) -> None:
        n = len(self.track)
        if self.contacts is not None:
            check_array(self, "contacts", (n, 4), "f")
        check_array(self, "joints", (n, N_JOINTS, 3), "f")
        check_array(self, "joints2d", (n, N_JOINTS, 2), "f")
        check_array(self, "sigma", (n, N_JOINTS), "f")
        check_array(self, "valid", (n,), "b")
        check_array(self, "reprojection_px", (n,), "f")
        check_array(self, "evidence_error", (n, N_JOINTS), "f")
        if len(self.body) != n:
            raise ValueError(f"Person.body: expected {n} frames, found {len(self.body)}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """Where the ground is: world point = R camera point + t, for every frame of the clip.

    Metres; y is up, the ground at 0, the origin below the first person's first frame, -z the
    way that the camera looks there. `hpsvid.body.world.in_world` takes a person there.
    """

    up: Array  # (3,) float64 unit vector, axes of the first frame's camera
    up_sigma_deg: float  # standard deviation of its direction, degrees
    R: Array  # (F, 3, 3) float64
    t: Array  # (F, 3) float64 m: where the camera is
    made_from: str  # what says so, in words

    def __post_init__(self) -> None:
        check_array(self, "up", (3,), "f")
        check_array(self, "R", (None, 3, 3), "f")
        check_array(self, "t", (len(self.R), 3), "f")


Source = dict[str, str]
"""Where a network or a body comes from: its `name`, its file's `sha256`, and what else it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How a motion was made; None where that does not apply or is not known."""

    hpsvid_version: str | None = None
    detector: Source | None = None
    backbone: Source | None = None
    lifter: str | None = None  # of a backbone that has lifters
    solver: str | None = None
    weights: dict[str, str] | None = None  # sha256 of the weights of lifter and solver, by name
    body: Source | None = None
    seed: int | None = None
    other: dict[str, Any] = field(default_factory=dict)  # what other programs or versions wrote


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Motion:
    """The product: every person of a clip, with times and a camera."""

    clip: Clip
    pts_s: Array  # (F,) float64, all frames of the clip
    camera: Camera
    people: tuple[Person, ...]
    provenance: Provenance
    schema_version: int = field(default=SCHEMA_VERSION)
    world: World | None = None  # not in results before 0.2

    def __post_init__(self) -> None:
        check_array(self, "pts_s", (None,), "f")
        if self.world is not None and len(self.world.R) != len(self.pts_s):
            raise ValueError(
                f"Motion.world: expected {len(self.pts_s)} frames, found {len(self.world.R)}"
            )
        for person in self.people:
            last = int(person.track.frame_index[-1])
            if last >= len(self.pts_s):
                raise ValueError(
                    f"Motion: person {person.track.id} reaches frame {last}, "
                    f"the clip has {len(self.pts_s)}"
                )
