"""Motion capture in AMASS's npz format, and what a camera sees of it.

Inside hpsvid a capture is y-up, in metres, on SMPL's 24 joints. AMASS (Mahmood et al., ICCV 2019)
is z-up unless a file's own key `up_axis` says otherwise.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT
from hpsvid.common.files import read_npz
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.common.series import interpolate, interpolate_rotations
from hpsvid.errors import InputError
from hpsvid.options import MAX_FPS
from hpsvid.types import N_BETAS, N_ROTATIONS, Array, BodyParams

# width of `poses` -> joints that it shares with SMPL, in SMPL's order; SMPL-H and SMPL-X go on
# with jaw, eyes and fingers, which a 24-joint body has not: its two hand joints stay unturned
_SHARED_JOINTS = {72: N_ROTATIONS, 156: 22, 165: 22}  # SMPL, SMPL-H, SMPL-X
_FRAME_RATE_KEYS = ("mocap_framerate", "mocap_frame_rate", "fps")
# how SMPL-X's own tools name the parts of `poses` and `trans`
_APART = ("root_orient", "global_orient", "pose_body", "body_pose", "transl")
_SMPLX_BODY = 66  # numbers of a root and 21 joints
# files beside AMASS's motions that hold a subject's shape and no motion
_SHAPE_FILES = ("shape.npz", "_stagei.npz")
_Z_UP_TO_Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MotionCapture:
    """One clip of captured motion, world axes: y up, metres."""

    name: str
    rotmats: Array  # (T, 24, 3, 3) float32, parent-relative
    transl: Array  # (T, 3) float32 m; posed vertex + transl = world point
    betas: Array  # (10,) float32
    fps: float  # Hz
    licence: str  # as the file states it; "" when it does not

    def __len__(self) -> int:
        return len(self.rotmats)


def read_mocap(path: Path, body: Body) -> tuple[MotionCapture, ...]:
    """Read one AMASS-format npz: SMPL, SMPL-H or SMPL-X `poses`, either spelling of the rate.

    body: the body that the file was fitted to; its pelvis is the point about which a z-up file
    is turned to y-up. Returns one clip, or the several clips of a merged file (`clip_nframes`).
    Raises InputError when the file is not such an npz, lacks a key or holds unusable numbers.
    """
    return read_capture(path, lambda _, betas: _pelvis(body, betas))


def read_capture(
    path: Path,
    pelvis_of: Callable[[Mapping[str, Array], Array], Array],
    fps: float | None = None,
) -> tuple[MotionCapture, ...]:
    """As `read_mocap`; pelvis_of: (the file's arrays, betas) -> its body's rest pelvis (3,) m.

    fps: of a file that does not say it.
    """
    wanted = ("poses", "trans", "betas", *_FRAME_RATE_KEYS, "up_axis", "licence", "clip_nframes",
              "clip_names", "body_model", *_APART)  # fmt: skip
    data = _put_together(path, read_npz(path, "an npz of motion capture", wanted))
    poses, transl, betas = (_numbers(path, data, key) for key in ("poses", "trans", "betas"))
    if poses.ndim != 2 or poses.shape[1] not in _SHARED_JOINTS or len(poses) == 0:
        raise InputError(
            f"{path}: `poses` is {poses.shape}, expected (T, 72) of SMPL, (T, 156) of SMPL-H "
            "or (T, 165) of SMPL-X, T at least 1"
        )
    if transl.shape != (len(poses), 3):
        raise InputError(f"{path}: `trans` is {transl.shape}, expected ({len(poses)}, 3)")
    betas = np.atleast_1d(betas.squeeze())  # some files say (1, 10)
    if betas.ndim != 1 or len(betas) < N_BETAS:
        raise InputError(f"{path}: `betas` is {betas.shape}, expected 10 or more numbers")
    betas = betas[:N_BETAS].astype(np.float32)

    shared = _SHARED_JOINTS[poses.shape[1]]
    axis_angle = torch.from_numpy(poses[:, : shared * 3]).unflatten(1, (shared, 3))
    rotmats = np.tile(np.eye(3), (len(poses), N_ROTATIONS, 1, 1))
    rotmats[:, :shared] = axis_angle_to_matrix(axis_angle).numpy()
    up_axis = str(data.get("up_axis", "z"))
    if up_axis not in ("y", "z"):
        raise InputError(f"{path}: `up_axis` is {up_axis!r}, expected 'y' or 'z'")
    pelvis = pelvis_of(data, betas)
    if up_axis == "z":
        rotmats, transl = _moved(rotmats, transl, pelvis, _Z_UP_TO_Y_UP, np.zeros(3))
    whole = MotionCapture(
        name=path.stem,
        rotmats=rotmats.astype(np.float32),
        transl=transl.astype(np.float32),
        betas=betas,
        fps=_frame_rate(path, data, fps),
        licence=str(data.get("licence", "")),
    )
    return _split(path, whole, data)


def read_mocap_folder(folder: Path, body: Body) -> Iterator[MotionCapture]:
    """All clips of all npz files under `folder`, in the order of their paths, one file at a time.

    AMASS's shape files (`shape.npz`, `*_stagei.npz`) hold no motion and are passed over.
    Raises InputError at once when there is no such folder or no motion in it, and from the
    iterator when a file cannot be used.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; expected a folder of AMASS-format npz files")
    paths = [p for p in sorted(folder.rglob("*.npz")) if not p.name.endswith(_SHAPE_FILES)]
    if not paths:
        raise InputError(f"{folder}: holds no motion capture (.npz) at any depth")
    return (clip for path in paths for clip in read_mocap(path, body))


def resample(capture: MotionCapture, fps: float) -> MotionCapture:
    """The same motion at `fps` Hz: rotations by slerp, translation linearly.

    The first frame stays the first; the last new frame is the last that lies inside the clip.
    """
    if not fps > 0:
        raise InputError(f"frame rate {fps}: expected more than 0")
    last = len(capture) - 1
    # a hair's breadth is forgiven, so that a rate of equal duration keeps its last frame
    count = int(last * fps / capture.fps + 1e-6) + 1
    place = np.minimum(np.arange(count) * (capture.fps / fps), last)
    frames = np.arange(len(capture))
    rotmats = interpolate_rotations(place, frames, capture.rotmats.astype(np.float64))
    transl = interpolate(place, frames, capture.transl)
    return replace(
        capture,
        rotmats=rotmats.astype(np.float32),
        transl=transl.astype(np.float32),
        fps=float(fps),
    )


def seen_by_camera(
    capture: MotionCapture, rotation: Array, translation: Array, body: Body
) -> BodyParams:
    """The capture in camera axes (x right, y down, z forward).

    rotation: (3, 3) or (T, 3, 3), translation: (3,) or (T, 3) m, the world-to-camera pose:
    camera point = rotation @ world point + translation. SMPL turns a body about its pelvis, not
    about the origin, so the translation depends on where `body` has the pelvis of these betas.
    """
    rotmats, transl = _moved(
        capture.rotmats, capture.transl, _pelvis(body, capture.betas), rotation, translation
    )
    return BodyParams(
        rotmats=rotmats.astype(np.float32),
        betas=capture.betas,
        transl=transl.astype(np.float32),
    )


def _pelvis(body: Body, betas: Array) -> Array:
    """Rest pelvis (3,) m of these betas, float64."""
    return body.rest_joints(torch.from_numpy(betas))[JOINT["pelvis"]].double().numpy()


def _moved(
    rotmats: Array, transl: Array, pelvis: Array, rotation: Array, translation: Array
) -> tuple[Array, Array]:
    """Rotations and transl of a body after the rigid motion x -> rotation @ x + translation.

    posed vertex = root (rest - pelvis) + pelvis + transl, so the moved body's transl is
    rotation @ (pelvis + transl) + translation - pelvis.
    """
    turned = np.array(rotmats, np.float64)
    turned[:, 0] = rotation @ turned[:, 0]
    point = (rotation @ (pelvis + transl)[..., None])[..., 0]
    return turned, point + translation - pelvis


def _numbers(path: Path, data: dict[str, Array], key: str) -> Array:
    """`data[key]` as finite float64."""
    if key not in data:
        raise InputError(f"{path}: has no `{key}`; expected AMASS's keys poses, trans, betas")
    numbers = data[key].dtype.kind in "fiu"
    values = np.asarray(data[key], np.float64) if numbers else np.array(np.nan)
    if not (np.isfinite(values) & (abs(values) < 1e9)).all():
        raise InputError(f"{path}: `{key}` holds values that are not finite numbers below 1e9")
    return values


def _put_together(path: Path, data: dict[str, Array]) -> dict[str, Array]:
    """The file's arrays with `poses` and `trans`, where it has them under SMPL-X's names."""
    if "trans" not in data and "transl" in data:
        data["trans"] = data["transl"]
    if "betas" in data and data["betas"].ndim == 2 and data["betas"].dtype.kind in "fiu":
        data["betas"] = data["betas"].mean(0)  # a row a frame
    root = next((data[key] for key in ("root_orient", "global_orient") if key in data), None)
    limbs = next((data[key] for key in ("pose_body", "body_pose") if key in data), None)
    if "poses" in data or root is None or limbs is None or len(root) != len(limbs):
        return data
    both = np.concatenate([root.reshape(len(root), -1), limbs.reshape(len(limbs), -1)], 1)
    width = next((width for width in _SHARED_JOINTS if width >= both.shape[1]), both.shape[1])
    if both.shape[1] == _SMPLX_BODY:  # root and body, without the hands
        width = max(_SHARED_JOINTS)
    return {**data, "poses": np.pad(both, ((0, 0), (0, width - both.shape[1])))}


def _frame_rate(path: Path, data: dict[str, Array], fps: float | None) -> float:
    """The clip's rate in Hz under one of its spellings; fps: that of a file without any."""
    if fps is not None and not any(key in data for key in _FRAME_RATE_KEYS):
        return fps
    key = next((key for key in _FRAME_RATE_KEYS if key in data), _FRAME_RATE_KEYS[0])
    rate = _numbers(path, data, key)
    if rate.size != 1 or not 1 <= rate.item() <= MAX_FPS:
        stated = rate.item() if rate.size == 1 else f"of shape {rate.shape}"
        raise InputError(f"{path}: `{key}` is {stated}, expected one number from 1 to {MAX_FPS} Hz")
    return float(rate.item())


def _split(path: Path, whole: MotionCapture, data: dict[str, Array]) -> tuple[MotionCapture, ...]:
    """Cut a merged file at its `clip_nframes`; a file without that key is one clip."""
    if "clip_nframes" not in data:
        return (whole,)
    counts = data["clip_nframes"]
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts > len(whole)).any():
        raise InputError(
            f"{path}: `clip_nframes` is {counts.dtype} {counts.shape}, expected a list of integers "
            f"up to {len(whole)}"
        )
    names = data.get("clip_names", np.array([f"{whole.name}_{i}" for i in range(len(counts))]))
    short = (counts < 1).any() or len(counts) > len(whole)
    if short or counts.sum() != len(whole) or names.shape != counts.shape:
        raise InputError(
            f"{path}: `clip_nframes` adds up to {counts.sum()} in {len(counts)} clips, expected "
            f"{len(whole)} frames in the {names.size} clips of `clip_names`"
        )
    ends = np.cumsum(counts)
    return tuple(
        replace(
            whole,
            name=str(name),
            rotmats=whole.rotmats[end - count : end],
            transl=whole.transl[end - count : end],
        )
        for name, count, end in zip(names, counts, ends, strict=True)
    )
