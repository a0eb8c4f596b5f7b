"""3DPW's `sequenceFiles` (von Marcard et al., ECCV 2018): the truth about people filmed outdoors.

The files are Python 2 pickles under a licence of their own; a user who has them points here. They
are read through an unpickler that lets them name plain arrays and nothing else.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL
from hpsvid.body.smpl import find_gendered, load_smpl
from hpsvid.common.geometry import axis_angle_to_matrix, check_intrinsics
from hpsvid.common.pickle_files import read_plain_pickle
from hpsvid.common.pickles import plain_array
from hpsvid.errors import HpsvidError, InputError, one_line
from hpsvid.evaluation.truth import TruePerson, Truth
from hpsvid.mocap.amass import MotionCapture, seen_by_camera
from hpsvid.types import N_BETAS, Array

FPS = 30.0  # Hz, of the pictures
MAX_ACTORS = 100  # the data set has up to two
_KEYS = ("sequence", "betas", "poses", "trans", "jointPositions", "genders", "cam_poses",
         "cam_intrinsics", "campose_valid")  # fmt: skip


def read_sequence(path: Path, smpl: Path | None) -> Truth:
    """One sequence, every actor in the camera's axes.

    smpl: the user's neutral SMPL file; the actors' surfaces come from the male and female files
    beside it, and where there are none joints alone are known. The joints are SMPL's 24 as the
    file has them (`jointPositions`); frames whose camera was not aligned (`campose_valid`) are
    not known, as in the data set's own protocol.
    Raises InputError when the file is no such sequence.
    """
    data = read_plain_pickle(path, "sequence of 3DPW", InputError)
    if missing := [key for key in _KEYS if key not in data]:
        raise InputError(f"{path}: has no `{missing[0]}`; expected a sequence of 3DPW")
    try:
        return _sequence(path, data, smpl)
    except HpsvidError:
        raise
    except Exception as error:  # values of any kind may stand where arrays should
        raise InputError(
            f"{path}: not the values of a 3DPW sequence ({one_line(error)[:120]})"
        ) from error


def _sequence(path: Path, data: Mapping[str, Any], smpl: Path | None) -> Truth:
    extrinsics = _numbers(data["cam_poses"], (-1, 4, 4))
    actors = len(data["poses"])
    if actors > MAX_ACTORS:
        raise ValueError(f"{actors} actors")
    K = _numbers(data["cam_intrinsics"], (3, 3))
    check_intrinsics(K)
    return Truth(
        name=path.stem,
        clip=_pictures(path),
        points="joints",
        K=K,
        fps=FPS,
        people=tuple(_actor(data, i, extrinsics, smpl) for i in range(actors)),
    )


def _pictures(path: Path) -> Path | None:
    """The sequence's folder of pictures, `imageFiles/NAME` beside `sequenceFiles`."""
    folders = (parent / "imageFiles" / path.stem for parent in path.absolute().parents)
    return next((folder for folder in folders if folder.is_dir()), None)


def _actor(data: Mapping[str, Any], i: int, extrinsics: Array, smpl: Path | None) -> TruePerson:
    turn, shift = extrinsics[:, :3, :3], extrinsics[:, :3, 3]
    count = len(extrinsics)
    joints = _numbers(data["jointPositions"][i], (count, SMPL.n_rotations, 3))
    points = joints @ turn.swapaxes(1, 2) + shift[:, None]
    points[_numbers(data["campose_valid"][i], (count,)) == 0] = np.nan
    gender, params = data["genders"][i], None
    body = _gendered(smpl, gender if isinstance(gender, str) else "")
    if body is not None:
        pose = torch.from_numpy(_numbers(data["poses"][i], (count, SMPL.n_rotations, 3)))
        capture = MotionCapture(
            name="",
            rotmats=axis_angle_to_matrix(pose).numpy(),
            transl=_numbers(data["trans"][i], (count, 3)),
            betas=_numbers(data["betas"][i], (-1,))[:N_BETAS].astype(np.float32),
            fps=FPS,
            licence="",
        )
        params = seen_by_camera(capture, turn, shift, body)
    return TruePerson(
        id=i, frame_index=np.arange(count), points=points, steady=points, params=params, body=body
    )


def _gendered(smpl: Path | None, gender: str) -> Body | None:
    path = None if smpl is None else find_gendered(smpl, gender)
    return None if path is None else load_smpl(path)


def _numbers(value: Any, shape: tuple[int, ...]) -> Array:
    """`value` as finite float64 of this shape."""
    array = np.array(plain_array(value), np.float64).reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError("numbers that are not finite")
    return array
