"""WHAM's `wham_output.pkl` (Shin et al., CVPR 2024; yohanshin/WHAM, demo.py with --save_pkl).

joblib's pickle of a dictionary by person: `pose` (N, 72) and `trans` (N, 3) in camera axes,
`pose_world` and `trans_world` with y up, `betas` (N, 10), `verts` (left aside), `frame_ids` (N,).
Its camera's focal length is the picture's diagonal. It says neither rate nor size.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hpsvid.body.model import Body
from hpsvid.foreign.people import ForeignPerson, ForeignResult, Placed, shape_of
from hpsvid.foreign.values import from_axis_angle, numbers

TOOL = "WHAM"
KEYS = {"pose", "trans", "betas", "frame_ids"}


def read(content: Mapping[Any, Any], body: Body) -> ForeignResult:
    """The result. Raises ValueError or KeyError for values that are none."""
    people = [_person(int(key), values, body) for key, values in content.items()]
    return ForeignResult(
        tool=TOOL,
        people=people,
        fps=None,
        focal=lambda width, height: float(np.hypot(width, height)),
    )


def _person(person_id: int, values: Mapping[str, Any], body: Body) -> ForeignPerson:
    frames = numbers(values["frame_ids"], (-1,)).astype(np.int64)
    rotmats = from_axis_angle(numbers(values["pose"], (len(frames), 72)))
    shape, rest = shape_of("smpl", numbers(values["betas"], (len(frames), -1)).mean(0), body)
    world = None
    if "pose_world" in values and "trans_world" in values:
        turned = from_axis_angle(numbers(values["pose_world"], (len(frames), 72)))
        place = numbers(values["trans_world"], (len(frames), 3))
        world = Placed(root=turned[:, 0], pelvis=place + rest)
    place = numbers(values["trans"], (len(frames), 3))
    return ForeignPerson(
        id=person_id,
        frame_index=frames,
        rotmats=rotmats,
        betas=shape,
        camera=Placed(root=rotmats[:, 0], pelvis=place + rest),
        world=world,
    )
