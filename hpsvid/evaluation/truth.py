"""What really happened in a clip: people's true points in the camera's axes, from npz files.

Two kinds are read: a result npz of hpsvid (the truth of a rendered clip) and points measured by
calibrated cameras, of which one may move. `hpsvid.evaluation.threedpw` reads 3DPW's sequences.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.signal import butter, filtfilt
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT, LIMB_LANDMARKS, LIMB_NAMES, SMPL, Points
from hpsvid.common.files import read_npz
from hpsvid.common.geometry import check_intrinsics
from hpsvid.common.series import runs
from hpsvid.common.weights import file_sha256, weights_path
from hpsvid.errors import InputError, one_line
from hpsvid.formats.npz import read_motion
from hpsvid.options import MAX_FPS
from hpsvid.types import Array, BodyParams, Motion, Person, World

PointSet = Literal["joints", "limbs"]
"""Which points a truth knows: SMPL's 24 joints, or twelve limb points on the body's surface."""

POINT_NAMES: dict[PointSet, tuple[str, ...]] = {
    "joints": SMPL.rotation_names,
    "limbs": LIMB_NAMES,
}
_LIMB = Points(LIMB_NAMES).index
# the root, and what takes its place where it is never known (a person behind a desk)
ROOTS: dict[PointSet, tuple[tuple[int, ...], ...]] = {
    "joints": ((0,),),
    "limbs": (
        (_LIMB["left_hip"], _LIMB["right_hip"]), (_LIMB["left_shoulder"], _LIMB["right_shoulder"])
    ),
}  # fmt: skip
FEET: dict[PointSet, tuple[int, ...]] = {
    "joints": (JOINT["left_foot"], JOINT["right_foot"]),
    "limbs": (_LIMB["left_ankle"], _LIMB["right_ankle"]),
}
_ENDS = ("left_wrist", "right_wrist", "left_ankle", "right_ankle")
ENDS: dict[PointSet, tuple[int, ...]] = {  # where limbs end: wrists and ankles
    "joints": tuple(JOINT[name] for name in _ENDS),
    "limbs": tuple(_LIMB[name] for name in _ENDS),
}
# Triangulated points tremble, and differentiation multiplies that: walking lies below 6 Hz
# (Winter, "Biomechanics and motor control of human movement", 1990)
MEASURED_LOWPASS_HZ = 6.0
# A point that misses its own pictures by more (median over views and frames) was not in sight; the
# legs of a person behind a desk miss by 45-100 px, the arms by 7-20
MEASURED_PX = 25.0
TRUTH_KEYS = ("header", "joints3d_m", "landmarks33_m")  # a file with one of them holds a truth


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TruePerson:
    """One person's truth in the camera's axes."""

    id: int
    frame_index: Array  # (T,) int64, consecutive
    points: Array  # (T, P, 3) m, NaN where not known
    steady: Array  # (T, P, 3) m, the same without the measurement's noise, for derivatives
    params: BodyParams | None = None
    body: Body | None = None  # that `params` belong to; None: vertices are not known
    contacts: Array | None = None  # (T, 4), as `Person.contacts`; None: not known


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """The truth about all people of one clip."""

    name: str
    clip: Path | None  # the clip that it belongs to, where the file says so
    points: PointSet
    K: Array  # (3, 3) px
    fps: float  # Hz
    people: tuple[TruePerson, ...]
    pts_s: Array | None = None  # (F,) s, of all the clip's frames, where the file says so
    solver: str | None = None  # of a saved result that stands in for the truth; None: real truth
    world: World | None = None  # None: which way is up is not known

    @property
    def root(self) -> tuple[int, ...]:
        """The points whose middle is the origin of errors "with the roots together".

        The pelvis or the hips; the shoulders where no person's hips are known in any frame.
        """
        roots = ROOTS[self.points]
        usable = (
            root
            for root in roots
            if any(np.isfinite(person.points[:, root]).all((1, 2)).any() for person in self.people)
        )
        return next(usable, roots[0])


def points_of(person: Person, points: PointSet, body: Body) -> Array:
    """The points (T, P, 3) m of a finished person that a truth of this kind knows."""
    if points == "joints":
        return person.joints[:, : SMPL.n_rotations]
    return body.landmarks_of(person.body)[:, LIMB_LANDMARKS]


def read_truth(path: Path, body: Body) -> tuple[Truth, ...]:
    """The truth in an npz: one clip, or the several views of calibrated cameras.

    body: what the surface of a result npz is taken from, when it was made with this very one.
    Raises InputError when the file holds no truth of a kind that is read here.
    """
    keys = read_npz(path, "a result npz or measured points", TRUTH_KEYS)
    if "header" in keys:
        return (_read_result(path, body),)
    if keys:
        return _read_measured(path)
    raise InputError(
        f"{path}: holds no truth; expected a result npz of hpsvid, or points that calibrated "
        "cameras measured (joints3d_m, joint_names, fps with cameras, K, rvec, t; the same with "
        "K, R_world_to_cam, t_world_to_cam of each frame; landmarks33_m, landmark_names, "
        "reproj_px, fps, K, R, t)"
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
                contacts=person.contacts,
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
        world=motion.world,
    )


def _made_with(motion: Motion, body: Body) -> bool:
    """Whether a result's surface is this body's; rendered truth names the free body's file."""
    provenance = motion.provenance
    if provenance.body is not None:
        return body.knows(str(provenance.body.get("sha256")))
    free = weights_path("free_body")
    return body.name == free.stem and provenance.other.get("body_sha256") == file_sha256(free)


_MAX_CAMERAS = 1000
_MAX_VALUES = 50_000_000  # coordinates in all cameras: 12 points, 3 hours at 30 fps, 4 cameras
_MEASURED = ("joints3d_m", "joint_names", "landmarks33_m", "landmark_names", "reproj_px", "fps",
             "cameras", "K", "rvec", "R", "t", "R_world_to_cam", "t_world_to_cam")  # fmt: skip


def _read_measured(path: Path) -> tuple[Truth, ...]:
    """One truth for each camera; x_cam = R x + t, lens distortion left out."""
    data = read_npz(path, "measured points", _MEASURED)
    try:
        world, fps = _limb_points(data), float(data["fps"].item())
        if not 0 < fps <= MAX_FPS:
            raise ValueError(f"{fps} fps")
        cameras = _cameras(path, data, world)
        people = (_measured_person(world @ R.swapaxes(-1, -2) + t, fps) for _, _, R, t in cameras)
        return tuple(
            Truth(name=name, clip=None, points="limbs", K=K, fps=fps, people=(person,))
            for (name, K, _, _), person in zip(cameras, people, strict=True)
        )
    except KeyError as error:
        raise InputError(
            f"{path}: has no `{error.args[0]}`; expected points, their names, `fps` and cameras"
        ) from error
    except (ValueError, TypeError, IndexError, OverflowError) as error:  # text, flat cameras
        raise InputError(
            f"{path}: not the values of measured points ({one_line(error)[:200]})"
        ) from error


def _measured_person(points: Array, fps: float) -> TruePerson:
    return TruePerson(
        id=0, frame_index=np.arange(len(points)), points=points, steady=_steady(points, fps)
    )


def _limb_points(data: dict[str, Array]) -> Array:
    """The twelve points (T, 12, 3) m in world axes, NaN where not known, in `LIMB_NAMES`' order.

    Raises ValueError, KeyError for what is not of this form.
    """
    kind = "landmark" if "landmarks33_m" in data else "joint"
    points = data["landmarks33_m" if kind == "landmark" else "joints3d_m"].astype(np.float64)
    names = [str(name) for name in data[f"{kind}_names"]]
    names = names if kind == "landmark" else [_limb_name(name) for name in names]
    if not set(LIMB_NAMES) <= set(names) or points.ndim != 3 or points.shape[1:] != (len(names), 3):
        raise ValueError(
            f"points {points.shape} of {', '.join(names)}; expected (T, N, 3) of at least "
            + ", ".join(LIMB_NAMES)
        )
    order = [names.index(name) for name in LIMB_NAMES]
    world = points[:, order]
    if "reproj_px" in data:
        missed = data["reproj_px"].astype(np.float64)  # (cameras, T, N)
        if missed.shape[1:] != points.shape[:2]:
            raise ValueError(f"`reproj_px` {missed.shape} of points {points.shape}")
        error = np.median(missed[..., order], axis=(0, 1))
        pairs = np.maximum(error, error[Points(LIMB_NAMES).mirror])
        world[:, ~(pairs <= MEASURED_PX)] = np.nan
    if not (abs(world[np.isfinite(world)]) < 1e7).all():
        raise ValueError("positions beyond 1e7 m")
    return world


def _cameras(
    path: Path, data: dict[str, Array], world: Array
) -> list[tuple[str, Array, Array, Array]]:
    """(name, K (3, 3), R, t) of each camera; R (3, 3) and t (3,), or of a moving one (T, ...).

    Raises ValueError, KeyError for what is not of this form.
    """
    moving = "R_world_to_cam" in data
    if moving:
        names = [path.stem.removesuffix("_truth")]
        K, R = data["K"][None], data["R_world_to_cam"][None]
        t = data["t_world_to_cam"][None, :, None]
    else:
        K, t = data["K"], data["t"]
        names = [str(n) for n in data.get("cameras", [f"cam_{i}" for i in range(len(K))])]
        if "R" not in data and data["rvec"].shape != (len(names), 3):
            raise ValueError(f"`rvec` {data['rvec'].shape} of {len(names)} cameras")
        R = data["R"] if "R" in data else Rotation.from_rotvec(data["rvec"]).as_matrix()
    count, frames = len(names), (len(world),) if moving else ()
    if count > _MAX_CAMERAS or count * world.size > _MAX_VALUES:
        raise ValueError(f"{count} cameras of {len(world)} frames")
    shapes = [K.shape, R.shape, t.shape]
    wanted = [(count, 3, 3), (count, *frames, 3, 3), (count, *frames, *(1,) * moving, 3)]
    if shapes != wanted:
        raise ValueError(f"cameras' K, R, t {shapes}, expected {wanted}")
    K, R, t = (values.astype(np.float64) for values in (K, R, t))
    if not all((abs(values) < 1e7).all() for values in (K, R, t)):
        raise ValueError("cameras that are not finite or beyond 1e7")
    for intrinsics in K:
        check_intrinsics(intrinsics)
    return list(zip(names, K, R, t, strict=True))


def _limb_name(name: str) -> str:
    """Our name of a limb point that the file calls "LShoulder"."""
    sides = {"L": "left", "R": "right"}
    return f"{sides.get(name[:1], name[:1])}_{name[1:].lower()}"


def _steady(points: Array, fps: float) -> Array:
    """Points (T, P, 3) through a low pass without lag, where all that are ever known are known."""
    if fps <= 2 * MEASURED_LOWPASS_HZ:
        return points
    finite = np.asarray(np.isfinite(points).all(-1))
    ever = finite.any(0)
    taps: Any = butter(2, MEASURED_LOWPASS_HZ / (fps / 2))
    steady = np.full_like(points, np.nan)
    for run in runs(np.asarray(finite[:, ever].all(1))):
        if run.stop - run.start > 3 * len(taps[0]):  # the padding of filtfilt
            steady[run] = filtfilt(taps[0], taps[1], points[run], axis=0)
    return steady
