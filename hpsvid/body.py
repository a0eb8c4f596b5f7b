"""A body in SMPL's format: shapes, forward kinematics and linear blend skinning.

Joint order and names are SMPL's; hpsvid adds five leaves (indices 24-28), surface points that
give head, hands and feet a direction (HybrIK, Li et al., CVPR 2021).
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpsvid.errors import WeightsError

JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2",
    "left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar",
    "right_collar", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist", "left_hand", "right_hand",
    "head_top", "left_middle_tip", "right_middle_tip", "left_big_toe", "right_big_toe",
)  # fmt: skip
PARENTS = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21,
    15, 22, 23, 10, 11,
)  # fmt: skip
JOINT = {name: index for index, name in enumerate(JOINT_NAMES)}
N_BODY = 24  # joints that carry a rotation
LANDMARK_NAMES = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye",
    "right_eye_outer", "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky",
    "right_pinky", "left_index", "right_index", "left_thumb", "right_thumb", "left_hip",
    "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel",
    "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
LANDMARK = {name: index for index, name in enumerate(LANDMARK_NAMES)}


def forward_kinematics(rotmats: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Pose a rest skeleton.

    rotmats: (..., 24, 3, 3) parent-relative; rest: (..., 29, 3) m, broadcast against it.
    Returns joints (..., 29, 3) m, the pelvis where `rest` has it, and the joints' global
    rotations (..., 24, 3, 3).
    """
    shape = torch.broadcast_shapes(rotmats.shape[:-3], rest.shape[:-2])
    rest = rest.expand(*shape, len(PARENTS), 3)
    turned = [rotmats[..., 0, :, :].expand(*shape, 3, 3)]
    placed = [rest[..., 0, :]]
    for child in range(1, len(PARENTS)):
        parent = PARENTS[child]
        bone = rest[..., child, :] - rest[..., parent, :]
        placed.append(placed[parent] + (turned[parent] @ bone[..., None])[..., 0])
        if child < N_BODY:
            turned.append(turned[parent] @ rotmats[..., child, :, :])
    return torch.stack(placed, -2), torch.stack(turned, -3)


@dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """A loaded body model. V vertices, F faces; tensors are float32 on the CPU."""

    name: str
    free: bool  # False: a licensed file of the user's own, never written into shared files
    template: Tensor  # (V, 3) m
    shape_dirs: Tensor  # (V, 3, 10) m per unit of beta
    pose_dirs: Tensor  # (207, V * 3) m
    skin_weights: Tensor  # (V, 24)
    rest_mean: Tensor  # (29, 3) m, joints of the template
    rest_dirs: Tensor  # (29, 3, 10) m per unit of beta
    faces: np.ndarray  # (F, 3) int64
    landmark_regressor: Tensor | None = None  # (33, V) BlazePose landmarks on the surface
    colours: np.ndarray | None = None  # (V, 3) uint8: the body's own look (its suit)

    def rest_joints(self, betas: Tensor) -> Tensor:
        """Rest pose's joints (..., 29, 3) m for shapes `betas` (..., 10)."""
        return self.rest_mean + torch.einsum("...k,jck->...jc", betas, self.rest_dirs)

    def joints(self, rotmats: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
        """Posed joints (..., 29, 3) m.

        rotmats: (..., 24, 3, 3); betas: (..., 10); transl: (..., 3) m.
        """
        return forward_kinematics(rotmats, self.rest_joints(betas))[0] + transl[..., None, :]

    def vertices(self, rotmats: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
        """Posed vertices (..., V, 3) m by linear blend skinning (SMPL, Loper et al., 2015).

        rotmats: (..., 24, 3, 3); betas: (..., 10); transl: (..., 3) m.
        """
        rest = self.rest_joints(betas)
        joints, turned = forward_kinematics(rotmats, rest)
        rest, joints = rest[..., :N_BODY, :], joints[..., :N_BODY, :]
        eye = torch.eye(3, dtype=rotmats.dtype)
        bend = (rotmats[..., 1:, :, :] - eye).flatten(-3)
        shaped = self.template + torch.einsum("...k,vck->...vc", betas, self.shape_dirs)
        shaped = shaped + (bend @ self.pose_dirs).unflatten(-1, (-1, 3))
        offset = joints - (turned @ rest[..., None])[..., 0]
        affine = torch.cat([turned, offset[..., None]], -1).flatten(-2)  # (..., 24, 12)
        blended = (self.skin_weights @ affine).unflatten(-1, (3, 4))
        posed = (blended[..., :3] @ shaped[..., None])[..., 0] + blended[..., 3]
        return posed + transl[..., None, :]

    @cached_property
    def landmark_body(self) -> "Body":
        """The few vertices that carry the landmarks, as a body on the same skeleton."""
        if self.landmark_regressor is None:
            raise WeightsError(f"body {self.name}: has no landmark regressor")
        keep = torch.nonzero(self.landmark_regressor.abs().sum(0) > 0)[:, 0]
        return replace(
            self,
            template=self.template[keep],
            shape_dirs=self.shape_dirs[keep],
            pose_dirs=self.pose_dirs.unflatten(1, (-1, 3))[:, keep].flatten(1),
            skin_weights=self.skin_weights[keep],
            faces=np.zeros((0, 3), np.int64),
            landmark_regressor=self.landmark_regressor[:, keep],
            colours=None,
        )

    def landmarks(self, rotmats: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
        """The 33 BlazePose landmarks (..., 33, 3) m on the posed surface."""
        part = self.landmark_body
        assert part.landmark_regressor is not None
        return part.landmark_regressor @ part.vertices(rotmats, betas, transl)


def load_body(path: Path) -> Body:
    """Read a body model file (.npz in SMPL's keys).

    Raises WeightsError when the file is missing, damaged or not a 24-joint SMPL-format body.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            data = {key: archive[key] for key in archive.files}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as a body model ({error})") from error
    return body_from_arrays(data, name=path.stem)


def body_from_arrays(data: dict[str, np.ndarray], *, name: str) -> Body:
    """Build a Body from SMPL's arrays (v_template, shapedirs, posedirs, J_regressor, ...)."""

    def tensor(key: str) -> Tensor:
        return torch.from_numpy(np.asarray(data[key], np.float32))

    template, shape_dirs = tensor("v_template"), tensor("shapedirs")[..., :10]
    regressor = tensor("J_regressor")
    leaves = [int(i) for i in data["leaf_vertices"]]
    mean = torch.cat([regressor @ template, template[leaves]])
    dirs = torch.cat(
        [torch.einsum("jv,vck->jck", regressor, shape_dirs), shape_dirs[leaves]]
    )
    return Body(
        name=name,
        free="licence" in data,
        template=template,
        shape_dirs=shape_dirs,
        pose_dirs=tensor("posedirs").flatten(0, 1).T.contiguous(),
        skin_weights=tensor("weights"),
        rest_mean=mean,
        rest_dirs=dirs,
        faces=np.asarray(data["f"], np.int64),
        landmark_regressor=tensor("landmark_regressor") if "landmark_regressor" in data else None,
        colours=np.asarray(data["colours"]) if "colours" in data else None,
    )
