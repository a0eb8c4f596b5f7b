"""WHAM's `wham_output.pkl` (Shin et al., CVPR 2024; yohanshin/WHAM, demo.py with --save_pkl).

joblib's pickle of a dictionary by person: `pose` (N, 72) and `trans` (N, 3) in camera axes,
`pose_world` and `trans_world` with y up, `betas` (N, 10), `verts` (left aside), `frame_ids` (N,).
Its camera's focal length is the picture's diagonal. It says neither rate nor size.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hpsvid.body.model import Body
from hpsvid.foreign.people import ForeignResult, smpl_person

TOOL = "WHAM"
_KEYS = ("frame_ids", "pose", "betas", "trans")
KEYS = set(_KEYS)


def read(content: Mapping[Any, Any], body: Body) -> ForeignResult:
    """The result. Raises ValueError or KeyError for values that are none."""
    people = [
        smpl_person(int(key), values, body, _KEYS, ("pose_world", "trans_world"))
        for key, values in content.items()
    ]
    return ForeignResult(
        tool=TOOL,
        people=people,
        fps=None,
        focal=lambda width, height: float(np.hypot(width, height)),
    )
