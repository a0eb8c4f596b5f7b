"""A body in SMPL's format: shapes, forward kinematics and linear blend skinning.

Joint order and names are SMPL's; hpsvid adds five leaves (indices 24-28), surface points that
give head, hands and feet a direction (HybrIK, Li et al., CVPR 2021).
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpsvid.body.skeleton import BLAZEPOSE, SMPL, forward_kinematics
from hpsvid.common.files import read_npz
from hpsvid.errors import WeightsError
from hpsvid.types import N_BETAS, Array, BodyParams

# What earlier versions called the free body: 0.1.0 in one way with one thread, in another with two,
# later ones before it had more than ten betas. Their shapes have the further ones at 0.
EARLIER_FREE_BODY = frozenset({
    "f38dd65481d7087ec6a5346eea65d7cf8de38140f380ed6fa8e7cfd33a7dcd09",
    "a1f9f356d53cb5d31069097147c50d1a335bcc278041ddae32fc3bce14e96b30",
    "5b1e65a0ac2f80ecb3c2557a9ba6d8c40eb453e754bf0ea11c8a92f5f67d5708",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """A loaded body model. V vertices, F faces; tensors are float32 on the CPU."""

    name: str
    free: bool  # False: a licensed file of the user's own, never written into shared files
    template: Tensor  # (V, 3) m
    shape_dirs: Tensor  # (V, 3, B) m per unit of beta
    pose_dirs: Tensor  # (207, V * 3) m
    skin_weights: Tensor  # (V, 24)
    rest_mean: Tensor  # (29, 3) m, joints of the template
    rest_dirs: Tensor  # (29, 3, B) m per unit of beta
    faces: np.ndarray  # (F, 3) int64
    landmark_regressor: Tensor | None = None  # (33, V) BlazePose landmarks on the surface
    landmark_joints: Tensor | None = None  # (33, 29) share of the joints, added to the surface's
    colours: np.ndarray | None = None  # (V, 3) uint8: the body's own look (its suit)
    uv: np.ndarray | None = None  # (U, 2) texture points, origin at the lower left
    uv_faces: np.ndarray | None = None  # (F, 3) int64 into uv, corner by corner with `faces`
    usual: np.ndarray | None = None  # (B,) float64 betas of people in the mean; None: zeros
    variety: np.ndarray | None = None  # (B, B) float64, their covariance; None: 1 each
    gender: str = "neutral"  # "female", "male" or "neutral": of the people that it was fitted to

    @cached_property
    def sha256(self) -> str:
        """Of the shape space's numbers: betas mean the same on bodies that share it."""
        digest = hashlib.sha256()
        for array in (self.template, self.shape_dirs, self.rest_mean, self.rest_dirs):
            digest.update(array.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def knows(self, sha256: str) -> bool:
        """Whether a shape of the body with this hash is the same on this one."""
        return sha256 == self.sha256 or (self.free and sha256 in EARLIER_FREE_BODY)

    def rest_joints(self, betas: Tensor) -> Tensor:
        """Rest pose's joints (..., 29, 3) m for shapes `betas` (..., 10 or more)."""
        dirs = self.rest_dirs[..., : betas.shape[-1]]
        return self.rest_mean + torch.einsum("...k,jck->...jc", betas, dirs)

    def shaped(self, betas: Tensor) -> Tensor:
        """Rest pose's vertices (..., V, 3) m, unbent, for shapes `betas` (..., 10 or more)."""
        dirs = self.shape_dirs[..., : betas.shape[-1]]
        return self.template + torch.einsum("...k,vck->...vc", betas, dirs)

    def joints(self, rotmats: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
        """Posed joints (..., 29, 3) m.

        rotmats: (..., 24, 3, 3); betas: (..., 10); transl: (..., 3) m.
        """
        return forward_kinematics(rotmats, self.rest_joints(betas))[0] + transl[..., None, :]

    def vertices(self, rotmats: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
        """Posed vertices (..., V, 3) m by linear blend skinning (SMPL, Loper et al., 2015).

        rotmats: (..., 24, 3, 3); betas: (..., 10); transl: (..., 3) m. One `betas` of (10,) for
        a batch of poses shapes the body once; batches of 8-32 poses are two to four times
        faster a pose than single ones.
        """
        rest = self.rest_joints(betas)
        joints, turned = forward_kinematics(rotmats, rest)
        rest, joints = rest[..., : SMPL.n_rotations, :], joints[..., : SMPL.n_rotations, :]
        eye = torch.eye(3, dtype=rotmats.dtype)
        bend = (rotmats[..., 1:, :, :] - eye).flatten(-3)
        shaped = self.shaped(betas) + (bend @ self.pose_dirs).unflatten(-1, (-1, 3))
        offset = joints - (turned @ rest[..., None])[..., 0]
        affine = torch.cat([turned, offset[..., None]], -1).flatten(-2)  # (..., 24, 12)
        blended = (self.skin_weights @ affine).unflatten(-1, (3, 4))
        posed = (blended[..., :3] @ shaped[..., None])[..., 0] + blended[..., 3]
        return posed + transl[..., None, :]

    @cached_property
    @torch.inference_mode(False)  # it is cached, and a later caller may want gradients
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
            uv=None,
            uv_faces=None,
        )

    def landmarks(self, rotmats: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
        """The 33 BlazePose landmarks (..., 33, 3) m on the posed surface."""
        part = self.landmark_body
        assert part.landmark_regressor is not None
        surface = part.landmark_regressor @ part.vertices(rotmats, betas, transl)
        if part.landmark_joints is None:
            return surface
        return surface + part.landmark_joints @ part.joints(rotmats, betas, transl)

    @torch.inference_mode()
    def joints_of(self, params: BodyParams) -> Array:
        """Joints (T, 29, 3) float32 m of one person's motion."""
        return torch.cat([self.joints(*part) for part in _chunks(params)]).numpy()

    @torch.inference_mode()
    def landmarks_of(self, params: BodyParams) -> Array:
        """The 33 BlazePose landmarks (T, 33, 3) float32 m of one person's motion.

        A chunk of frames at a time: the vertices that carry them take 50 kB a frame on the way.
        """
        return torch.cat([self.landmarks(*part) for part in _chunks(params)]).numpy()

    @torch.inference_mode()
    def vertices_of(self, params: BodyParams, rows: Array | slice = slice(None)) -> Array:
        """Vertices (R, V, 3) float32 m in these frames of one person's motion, all by default."""
        rotmats, transl = params.rotmats[rows], params.transl[rows]
        betas = torch.from_numpy(params.betas)  # not a row each: the body is shaped once
        return self.vertices(torch.from_numpy(rotmats), betas, torch.from_numpy(transl)).numpy()


_CHUNK = 512  # frames that are posed at once


def _chunks(params: BodyParams) -> Iterator[tuple[Tensor, ...]]:
    """Rotations (T, 24, 3, 3), betas (T, 10) and transl (T, 3), _CHUNK frames at a time."""
    betas = torch.from_numpy(params.betas).expand(len(params), -1)
    tensors = (torch.from_numpy(params.rotmats), betas, torch.from_numpy(params.transl))
    return zip(*(tensor.split(_CHUNK) for tensor in tensors), strict=True)


def load_body(path: Path) -> Body:
    """Read a body model file (.npz in SMPL's keys, `leaf_vertices` among them).

    Raises WeightsError when the file is missing, damaged or not a 24-joint SMPL-format body.
    """
    return body_from_arrays(read_arrays(path), name=path.stem)


_NEEDED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
_OPTIONAL = (
    "leaf_vertices", "landmark_regressor", "landmark_joints", "colours", "uv", "uv_faces",
    "betas_mean", "betas_covariance", "licence",
)  # fmt: skip
PEOPLE = ("neutral", "female", "male")  # rows of `betas_mean` and `betas_covariance`
ARRAY_KEYS = frozenset(_NEEDED + _OPTIONAL)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a body model's .npz that body_from_arrays knows; other keys stay unread.

    Raises WeightsError when the file is missing, damaged or holds pickled objects.
    """
    return read_npz(path, "a body model", ARRAY_KEYS, WeightsError)


def body_from_arrays(data: Mapping[str, np.ndarray], *, name: str) -> Body:
    """Build a Body from SMPL's arrays (v_template, shapedirs, posedirs, J_regressor, ...).

    `leaf_vertices` (5,) names the vertices of head top, left and right middle finger tip, left
    and right big toe. Raises WeightsError when an array is missing, has another shape than a
    24-joint SMPL body's, or holds numbers that are not finite.
    """
    _check_arrays(data, name)

    def tensor(key: str) -> Tensor:
        return torch.from_numpy(np.array(data[key], np.float32))

    def optional(key: str) -> Tensor | None:
        return tensor(key) if key in data else None

    # of an official file the ten that networks know; a body that says how people are built, all
    known = data["betas_mean"].shape[1] if "betas_mean" in data else N_BETAS
    template, shape_dirs = tensor("v_template"), tensor("shapedirs")[..., :known].contiguous()
    regressor = tensor("J_regressor")
    leaves = [int(vertex) for vertex in data["leaf_vertices"]]
    # in float64: a float32 sum over all vertices has other last bits with other numbers of threads
    wide = regressor.double()
    mean = torch.cat([(wide @ template.double()).float(), template[leaves]])
    dirs = torch.einsum("jv,vck->jck", wide, shape_dirs.double()).float()
    dirs = torch.cat([dirs, shape_dirs[leaves]])
    return Body(
        name=name,
        free=str(data.get("licence", "")) == "CC0-1.0",
        template=template,
        shape_dirs=shape_dirs,
        pose_dirs=tensor("posedirs").flatten(0, 1).T.contiguous(),
        skin_weights=tensor("weights"),
        rest_mean=mean,
        rest_dirs=dirs,
        faces=np.asarray(data["f"], np.int64),
        landmark_regressor=optional("landmark_regressor"),
        landmark_joints=optional("landmark_joints"),
        colours=np.asarray(data["colours"], np.uint8) if "colours" in data else None,
        uv=np.asarray(data["uv"], np.float32) if "uv" in data else None,
        uv_faces=np.asarray(data["uv_faces"], np.int64) if "uv_faces" in data else None,
        usual=np.array(data["betas_mean"][0], np.float64) if "betas_mean" in data else None,
        variety=np.array(data["betas_covariance"][0], np.float64) if "betas_mean" in data else None,
    )


def _check_arrays(data: Mapping[str, np.ndarray], name: str) -> None:
    """Raise WeightsError about the first array that no Body can be built from."""
    for key in (*_NEEDED, "leaf_vertices"):
        if key not in data:
            raise WeightsError(f"body {name}: has no `{key}`; expected a SMPL-format model file")
    tree, template = data["kintree_table"], data["v_template"]
    joints = tree.shape[1] if tree.ndim == 2 and tree.dtype.kind in "iu" else 0
    if joints != SMPL.n_rotations:
        raise WeightsError(
            f"body {name}: has {joints} joints, expected SMPL's {SMPL.n_rotations}; "
            "SMPL-H, SMPL-X and MANO files are not read, give a SMPL one"
        )
    parents = tree[0, 1:].astype(np.int64).tolist()
    if parents != list(SMPL.parents[1 : SMPL.n_rotations]):
        raise WeightsError(f"body {name}: its joint hierarchy is not SMPL's")
    vertices = template.shape[0] if template.ndim else 0
    betas = data["shapedirs"].shape[-1] if data["shapedirs"].ndim else 0
    expected: dict[str, tuple[int | None, ...]] = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, None),
        "posedirs": (vertices, 3, 9 * (SMPL.n_rotations - 1)),
        "J_regressor": (SMPL.n_rotations, vertices),
        "weights": (vertices, SMPL.n_rotations),
        "f": (None, 3),
        "leaf_vertices": (5,),
        "landmark_regressor": (len(BLAZEPOSE.names), vertices),
        "landmark_joints": (len(BLAZEPOSE.names), len(SMPL.parents)),
        "colours": (vertices, 3),
        "uv": (None, 2),
        "betas_mean": (len(PEOPLE), betas),
        "betas_covariance": (len(PEOPLE), betas, betas),
        "uv_faces": (data["f"].shape[0] if data["f"].ndim else 0, 3),
    }
    for key, shape in expected.items():
        if key not in data:
            continue
        array = data[key]
        fits = len(array.shape) == len(shape) and all(
            want in (None, size) for want, size in zip(shape, array.shape, strict=True)
        )
        if not fits or array.dtype.kind not in "fiu":
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise WeightsError(
                f"body {name}: `{key}` is {array.dtype} {array.shape}, "
                f"expected numbers of shape ({wanted})"
            )
        if not np.isfinite(array).all():
            raise WeightsError(f"body {name}: `{key}` holds numbers that are not finite")
    if data["shapedirs"].shape[2] < N_BETAS:
        raise WeightsError(
            f"body {name}: has {data['shapedirs'].shape[2]} shape directions, expected {N_BETAS}"
        )
    for key in ("f", "leaf_vertices"):
        if data[key].size and not 0 <= data[key].min() <= data[key].max() < vertices:
            raise WeightsError(f"body {name}: `{key}` names vertices beyond its {vertices}")
