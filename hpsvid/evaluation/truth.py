"""What really happened in a clip: people's true points in the camera's axes, from npz files.

Two kinds are read: a result npz of hpsvid (the truth of a rendered clip) and points triangulated
from several calibrated cameras. `hpsvid.evaluation.threedpw` reads 3DPW's sequences.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.signal import butter, filtfilt
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT, LIMB_LANDMARKS, LIMB_NAMES, SMPL
from hpsvid.common.files import read_npz
from hpsvid.common.geometry import check_intrinsics
from hpsvid.common.series import runs
from hpsvid.common.weights import file_sha256, weights_path
from hpsvid.errors import InputError, one_line
from hpsvid.formats.npz import read_motion
from hpsvid.options import MAX_FPS
from hpsvid.types import Array, BodyParams, Motion, Person

PointSet = Literal["joints", "limbs"]
"""Which points a truth knows: SMPL's 24 joints, or twelve limb points on the body's surface."""

POINT_NAMES: dict[PointSet, tuple[str, ...]] = {
    "joints": SMPL.rotation_names,
    "limbs": LIMB_NAMES,
}
ROOT: dict[PointSet, tuple[int, ...]] = {
    "joints": (0,),
    "limbs": (LIMB_NAMES.index("left_hip"), LIMB_NAMES.index("right_hip")),
}
FEET: dict[PointSet, tuple[int, ...]] = {
    "joints": (JOINT["left_foot"], JOINT["right_foot"]),
    "limbs": (LIMB_NAMES.index("left_ankle"), LIMB_NAMES.index("right_ankle")),
}
# Triangulated points tremble, and differentiation multiplies that: walking lies below 6 Hz
# (Winter, "Biomechanics and motor control of human movement", 1990)
MEASURED_LOWPASS_HZ = 6.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TruePerson:
    """One person's truth in the camera's axes."""

    id: int
    frame_index: Array  # (T,) int64, consecutive
    points: Array  # (T, P, 3) m, NaN where not known
    steady: Array  # (T, P, 3) m, the same without the measurement's tremble, for derivatives
    params: BodyParams | None = None
    body: Body | None = None  # that `params` belong to; None: vertices are not known


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """Everybody's truth in one clip."""

    name: str
    clip: Path | None  # the clip that it belongs to, where the file says so
    points: PointSet
    K: Array  # (3, 3) px
    fps: float  # Hz
    people: tuple[TruePerson, ...]
    pts_s: Array | None = None  # (F,) s, of all the clip's frames, where the file says so
    solver: str | None = None  # of a saved result, which stands in for the truth; None: is one


def points_of(person: Person, points: PointSet, body: Body) -> Array:
    """The points (T, P, 3) m of a finished person that a truth of this kind knows."""
    if points == "joints":
        return person.joints[:, : SMPL.n_rotations]
    return body.landmarks_of(person.body)[:, LIMB_LANDMARKS]


def read_truth(path: Path, body: Body) -> tuple[Truth, ...]:
    """The truth in an npz: one clip, or the several views of calibrated cameras.

    body: what the surface of a result npz is taken from, when it was made with this very one.
    Raises InputError when the file holds no truth that is known here.
    """
    keys = read_npz(path, "a result npz or triangulated points", ("header", "joints3d_m"))
    if "header" in keys:
        return (_read_result(path, body),)
    if "joints3d_m" in keys:
        return _read_triangulated(path)
    raise InputError(
        f"{path}: holds no truth; expected a result npz of hpsvid, or triangulated points "
        "(joints3d_m, joint_names, cameras, K, rvec, t, fps)"
    )


def _read_result(path: Path, body: Body) -> Truth:
    motion = read_motion(path)
    clip = path.parent / motion.clip.path.name
    known_body = body if _made_with(motion, body) else None
    people = []
    for person in motion.people:
        points = person.joints[:, : SMPL.n_rotations]
        people.append(
            TruePerson(
                id=person.track.id,
                frame_index=person.track.frame_index,
                points=points,
                steady=points,
                params=person.body,
                body=known_body,
            )
        )
    return Truth(
        name=path.stem,
        clip=clip if clip.is_file() else None,
        points="joints",
        K=motion.camera.K,
        fps=float(motion.clip.fps),
        people=tuple(people),
        pts_s=motion.pts_s,
        solver=motion.provenance.solver,
    )


def _made_with(motion: Motion, body: Body) -> bool:
    """Whether a result's surface is this body's; rendered truth names the free body's file."""
    provenance = motion.provenance
    if provenance.body is not None:
        return provenance.body.get("sha256") == body.sha256
    free = weights_path("free_body")
    return body.name == free.stem and provenance.other.get("body_sha256") == file_sha256(free)


_MAX_CAMERAS = 1000
_MAX_VALUES = 50_000_000  # coordinates seen by all cameras: 12 points, 3 hours at 30 fps, 4 cameras
_TRIANGULATED = ("joints3d_m", "joint_names", "fps", "cameras", "K", "rvec", "t")


def _read_triangulated(path: Path) -> tuple[Truth, ...]:
    """One truth a camera; x_cam = R(rvec) x + t, lens distortion left out."""
    data = read_npz(path, "triangulated points", _TRIANGULATED)
    if missing := [key for key in _TRIANGULATED if key not in data]:
        raise InputError(f"{path}: has no `{missing[0]}`; expected {', '.join(_TRIANGULATED)}")
    for key, axes in {"joints3d_m": 3, "joint_names": 1, "cameras": 1, "K": 3}.items():
        if data[key].ndim != axes:
            raise InputError(f"{path}: `{key}` is {data[key].shape}, expected {axes} axes")
    try:
        return _triangulated(path, data)
    except (ValueError, TypeError, OverflowError) as error:  # text, infinities, flat cameras
        raise InputError(
            f"{path}: not the values of triangulated points ({one_line(error)[:200]})"
        ) from error


def _triangulated(path: Path, data: dict[str, Array]) -> tuple[Truth, ...]:
    names = [_limb(str(name)) for name in data["joint_names"]]
    cameras, world = len(data["cameras"]), data["joints3d_m"]
    if cameras > _MAX_CAMERAS or cameras * world.size > _MAX_VALUES:
        raise ValueError(f"{cameras} cameras of {len(world)} frames")
    shapes = [data[key].shape for key in ("K", "rvec", "t")]
    if sorted(names) != sorted(LIMB_NAMES) or world.shape[1:] != (len(names), 3):
        raise InputError(
            f"{path}: `joints3d_m` {world.shape} of {', '.join(names)}; expected (T, 12, 3) of "
            + ", ".join(LIMB_NAMES)
        )
    if shapes != [(cameras, 3, 3), (cameras, 3), (cameras, 3)] or data["fps"].size != 1:
        raise InputError(f"{path}: `K`, `rvec`, `t` are {shapes}, expected {cameras} cameras'")
    world = np.asarray(world, np.float64)[:, [names.index(name) for name in LIMB_NAMES]]
    fps = float(data["fps"].item())
    numbers = [data[key].astype(np.float64) for key in ("K", "rvec", "t")]
    known = world[np.isfinite(world)]
    if not (0 < fps <= MAX_FPS and all((abs(n) < 1e7).all() for n in (*numbers, known))):
        raise ValueError(f"{fps} fps, positions or cameras that are not finite or beyond 1e7")
    truths = []
    for camera, K, turn, shift in zip(data["cameras"], *numbers, strict=True):
        check_intrinsics(K)
        points = world @ Rotation.from_rotvec(turn).as_matrix().T + shift
        person = TruePerson(
            id=0, frame_index=np.arange(len(points)), points=points, steady=_steady(points, fps)
        )
        truths.append(
            Truth(name=str(camera), clip=None, points="limbs", K=K, fps=fps, people=(person,))
        )
    return tuple(truths)


def _limb(name: str) -> str:
    """Our name of a limb point that the file calls "LShoulder"."""
    sides = {"L": "left", "R": "right"}
    return f"{sides.get(name[:1], name[:1])}_{name[1:].lower()}"


def _steady(points: Array, fps: float) -> Array:
    """Points (T, P, 3) through a low pass without lag, where all of a frame's are known."""
    if fps <= 2 * MEASURED_LOWPASS_HZ:
        return points
    known = np.asarray(np.isfinite(points).all((1, 2)))
    taps: Any = butter(2, MEASURED_LOWPASS_HZ / (fps / 2))
    steady = np.full_like(points, np.nan)
    for run in runs(known):
        if run.stop - run.start > 3 * len(taps[0]):  # filtfilt pads by so many
            steady[run] = filtfilt(taps[0], taps[1], points[run], axis=0)
    return steady
