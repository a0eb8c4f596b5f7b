"""GVHMR's `hmr4d_results.pt` (Shen et al., SIGGRAPH Asia 2024; zju3dv/GVHMR, tools/demo/demo.py).

A dictionary that `torch.save` wrote, of one person in all frames of the video: `smpl_params_incam`
(camera axes) and `smpl_params_global` (y up), each SMPL-X's `body_pose` (L, 63), `global_orient`
(L, 3), `transl` (L, 3) and `betas` (L, 10), and `K_fullimg` (L, 3, 3) px. It says no frame rate.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hpsvid.body.model import Body
from hpsvid.foreign.people import ForeignPerson, ForeignResult, Placed, shape_of
from hpsvid.foreign.values import from_axis_angle, numbers

TOOL = "GVHMR"
KEYS = {"smpl_params_incam", "smpl_params_global"}


def read(content: Mapping[str, Any], body: Body) -> ForeignResult:
    """The result. Raises ValueError or KeyError for values that are none."""
    incam, ground = content["smpl_params_incam"], content["smpl_params_global"]
    limbs = numbers(incam["body_pose"], (-1, 63))
    count = len(limbs)
    betas = numbers(incam["betas"], (count, -1)).mean(0)
    shape, rest = shape_of("smplx", betas, body)
    places, rotmats = [], None
    for part in (incam, ground):
        root = numbers(part["global_orient"], (count, 3))
        rotmats = from_axis_angle(np.concatenate([root, limbs], 1))
        places.append(Placed(root=rotmats[:, 0], pelvis=numbers(part["transl"], (count, 3)) + rest))
    assert rotmats is not None
    K = numbers(content["K_fullimg"], (-1, 3, 3))[0]
    person = ForeignPerson(
        id=0, frame_index=np.arange(count), rotmats=rotmats, betas=shape, camera=places[0],
        world=places[1],
    )  # fmt: skip
    size = (round(2 * K[0, 2]), round(2 * K[1, 2]))  # its camera looks at the picture's middle
    return ForeignResult(tool=TOOL, people=[person], fps=None, K=K, size=size)
