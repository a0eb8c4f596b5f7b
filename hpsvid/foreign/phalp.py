"""4D-Humans' and PHALP's `results/*.pkl` (Goel et al., ICCV 2023; brjathu/PHALP, PHALP.py).

joblib's pickle, packed by zlib in newer versions, of a dictionary by frame: `time` (its number),
and lists over the people there: `tid`, `tracked_time` (0: seen in this frame; else it holds the
last pose seen), `smpl` (`global_orient` (1, 3, 3), `body_pose` (23, 3, 3), `betas` (10,)), `camera`
(3,) m and `size` (height, width). `camera` is where the body's origin is before a camera with a
focal length of 5000 px for 256 px of the video's longer side: bodies are far away.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hpsvid.body.model import Body
from hpsvid.foreign.people import ForeignPerson, ForeignResult, Placed, shape_of
from hpsvid.foreign.values import from_matrices, numbers

TOOL = "4D-Humans"
KEYS = {"smpl", "camera", "tid", "tracked_time"}
_FOCAL_PX, _RENDERED_PX = 5000.0, 256.0


def read(content: Mapping[str, Any], body: Body) -> ForeignResult:
    """The result. Raises ValueError or KeyError for values that are none."""
    seen: dict[int, list[tuple[int, Any, Any]]] = {}
    size = None
    for number, frame in enumerate(content[name] for name in sorted(content)):
        time = int(frame.get("time", number))
        lists = (frame[key] for key in ("tid", "tracked_time", "smpl", "camera"))
        for who, missed, smpl, camera in zip(*lists, strict=True):
            if int(missed) == 0:
                seen.setdefault(int(who), []).append((time, smpl, camera))
        if size is None and len(frame.get("size", ())):
            height, width = numbers(frame["size"][0], (2,))
            size = (round(width), round(height))
    people = [_person(who, rows, body) for who, rows in sorted(seen.items())]
    return ForeignResult(
        tool=TOOL,
        people=people,
        fps=None,
        focal=lambda width, height: _FOCAL_PX / _RENDERED_PX * max(width, height),
        size=size,
    )


def _person(who: int, rows: list[tuple[int, Any, Any]], body: Body) -> ForeignPerson:
    rows = sorted(rows, key=lambda row: row[0])
    smpl = [row[1] for row in rows]
    root = numbers([numbers(one["global_orient"], (3, 3)) for one in smpl], (-1, 1, 3, 3))
    limbs = numbers([numbers(one["body_pose"], (23, 3, 3)) for one in smpl], (-1, 23, 3, 3))
    rotmats = from_matrices(np.concatenate([root, limbs], 1))
    betas = np.mean([numbers(one["betas"], (-1,)) for one in smpl], 0)
    shape, rest = shape_of("smpl", betas, body)
    place = np.stack([numbers(row[2], (3,)) for row in rows])
    return ForeignPerson(
        id=who,
        frame_index=np.array([row[0] for row in rows], np.int64),
        rotmats=rotmats,
        betas=shape,
        camera=Placed(root=rotmats[:, 0], pelvis=place + rest),
    )
