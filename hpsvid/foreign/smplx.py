"""Motion capture in AMASS's npz (Mahmood et al., ICCV 2019), of SMPL, SMPL-H or SMPL-X.

Keys as `hpsvid.mocap.amass` reads them, which SMPL-X's own tools name `root_orient` or
`global_orient`, `pose_body` or `body_pose`, and `transl`; z up unless `up_axis` says otherwise.
Fingers, jaw and eyes are left aside. hpsvid's own exports name their body (`body_model`).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hpsvid.body.model import Body
from hpsvid.errors import InputError
from hpsvid.foreign.people import Family, ForeignPerson, ForeignResult, Placed, shape_of
from hpsvid.mocap.amass import read_capture
from hpsvid.types import Array

TOOL = "AMASS"
_SMPLX_WIDTH = 165  # of `poses`


def read(path: Path, body: Body, fps: float | None) -> ForeignResult:
    """The capture; fps: of a file that does not say it. Raises InputError."""
    shapes: list[tuple[Array, Array]] = []

    def pelvis_of(data: Mapping[str, Array], betas: Array) -> Array:
        family: Family = "smplx" if data["poses"].shape[1] == _SMPLX_WIDTH else "smpl"
        if str(data.get("body_model", "")) == body.name:
            family, betas = "own", np.ravel(data["betas"])
        shapes.append(shape_of(family, betas, body))
        return shapes[0][1]

    captures = read_capture(path, pelvis_of, fps)
    if len(captures) != 1:
        raise InputError(f"{path}: holds {len(captures)} clips; expected one")
    (capture,) = captures
    shape, rest = shapes[0]
    rotmats = capture.rotmats.astype(np.float64)
    person = ForeignPerson(
        id=0,
        frame_index=np.arange(len(capture)),
        rotmats=rotmats,
        betas=shape,
        camera=None,
        world=Placed(root=rotmats[:, 0], pelvis=capture.transl.astype(np.float64) + rest),
    )
    return ForeignResult(tool=TOOL, people=[person], fps=capture.fps)
