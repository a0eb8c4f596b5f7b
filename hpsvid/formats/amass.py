"""AMASS's npz (Mahmood et al., ICCV 2019) in SMPL-H's layout, one file a person.

z is up, the ground at 0, and the person is seen from -y: the camera looks along +y. In the camera's
frame it is taken as level: where it was pitched or rolled, the figure leans by that angle. `betas`
are those of the body that hpsvid used (`body_model`): SMPL's own only when that was a SMPL file.
"""

from pathlib import Path

import numpy as np
import torch

from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT
from hpsvid.common.files import write_npz
from hpsvid.common.geometry import matrix_to_axis_angle
from hpsvid.formats.figure import figures
from hpsvid.options import ExportOptions
from hpsvid.types import Motion

_SMPLH_JOINTS = 52  # 22 of the body, 30 of the fingers
_BODY_JOINTS = 22  # SMPL's two hand joints have no counterpart in SMPL-H
_SMPLH_BETAS = 16


def write_amass(
    motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM_personNN.npz` for each person at the clip's rate or `options.fps`.

    The file starts with the person's first frame, `start_s` seconds into the clip. Readers
    differ in the keys that they look for: `poses_root` or `root_orient`, `poses_body` or
    `pose_body`, `mocap_framerate`, `mocap_frame_rate` or `fps`.
    """
    paths = []
    for figure in figures(motion, body, options, "z"):
        poses = np.zeros((len(figure.rotmats), _SMPLH_JOINTS, 3))
        poses[:, :_BODY_JOINTS] = matrix_to_axis_angle(
            torch.from_numpy(figure.rotmats[:, :_BODY_JOINTS])
        ).numpy()
        pose_body = poses[:, 1:_BODY_JOINTS].reshape(len(poses), -1)
        rate = np.array(figure.fps)
        betas = np.zeros(_SMPLH_BETAS)
        betas[: len(figure.betas)] = figure.betas
        path = out_dir / f"{stem}_person{figure.id:02d}.npz"
        write_npz(
            path,
            {
                "poses": poses.reshape(len(poses), -1),
                "poses_root": poses[:, 0],
                "root_orient": poses[:, 0],
                "poses_body": pose_body,
                "pose_body": pose_body,
                "trans": figure.pelvis - figure.rest[JOINT["pelvis"]],
                "betas": betas,
                "gender": np.array(body.gender),
                "mocap_framerate": rate,
                "mocap_frame_rate": rate,
                "fps": rate,
                "start_s": np.array(figure.start_s),
                "body_model": np.array(body.name),
            },
        )
        paths.append(path)
    return paths
