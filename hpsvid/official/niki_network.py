"""The authors' released NIKI networks, for the checkpoints that a user brings.

Li et al., CVPR 2023. Where their code (69f94e7) departs from the paper this follows the code: it
solves frame by frame, with masked couplings over all features and constant padding. A mask in the
checkpoint scales the influence of the shape; in the released checkpoints it is zero. Our own
networks are in `hpsvid.ik.niki`.
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from hpsvid.body.model import Body
from hpsvid.common.weights import imported_path, load_imported
from hpsvid.errors import InputError, WeightsError
from hpsvid.ik.flow import mlp
from hpsvid.ik.tensors import JOINT_DIM, POSE_DIM, TWIST_DIM, rotation_6d_to_rotmat
from hpsvid.types import N_BETAS, N_JOINTS, BodyParams, Window

Kind = Literal["niki_1stage", "niki_ts"]

# solvers whose authors released weights, and what `hpsvid weights import` calls these
OFFICIAL: dict[str, Kind] = {"niki": "niki_ts", "niki-one-stage": "niki_1stage"}

COUPLINGS, HIDDEN = 16, 512
# Joints and sigmas are padded to the width of rotations and error embedding. The authors' code
# pads with noise of a thousandth; zeros make the result repeatable.
PADDING = 60
EVIDENCE_DIM = JOINT_DIM + N_JOINTS + PADDING
SIGMA_M = 2.2  # of 1 in their sigma: the range of depth of `hpsvid.official.hybrik_network`


class MaskedFlow(nn.Module):
    """Affine couplings (RealNVP) over all features, each with its mask.

    v = u where the mask is 1, else u * exp(tanh(s(mask * u, c))) + t(mask * u, c). Scale s and
    shift t are MLPs of their own; the condition c counts by its own mask.
    """

    mask: Tensor  # (couplings, D) of 0 and 1
    condition_mask: Tensor  # (couplings,)

    def __init__(self, dim: int, n_condition: int, couplings: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("mask", torch.zeros(couplings, dim))
        if n_condition > 0:
            self.register_buffer("condition_mask", torch.zeros(couplings))
        self.s, self.t = (
            nn.ModuleList(mlp(dim + n_condition, hidden, dim) for _ in range(couplings))
            for _ in range(2)
        )

    def _affine(self, u: Tensor, condition: Tensor | None, i: int) -> tuple[Tensor, Tensor]:
        mask = self.mask[i]
        seen = u * mask
        if condition is not None:
            seen = torch.cat([seen, condition * self.condition_mask[i]], -1)
        return torch.tanh(self.s[i](seen)) * (1 - mask), self.t[i](seen) * (1 - mask)

    def forward(self, u: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features u (N, D), condition (N, C) if it takes one -> v (N, D), log-determinant (N,)."""
        log_det = u.new_zeros(len(u))
        for i in range(len(self.mask)):
            scale, shift = self._affine(u, condition, i)
            u = u * torch.exp(scale) + shift
            log_det = log_det + scale.sum(-1)
        return u, log_det

    def inverse(self, v: Tensor, condition: Tensor | None = None) -> Tensor:
        """The u (N, D) that `forward` takes to `v`."""
        for i in reversed(range(len(self.mask))):
            scale, shift = self._affine(v, condition, i)
            v = (v - shift) * torch.exp(-scale)
        return v


class ReleasedNiki(nn.Module):
    """Joints, sigmas and, for the twist-and-swing network, twists to rotations."""

    def __init__(self, kind: Kind, dims: tuple[int, int] = (COUPLINGS, HIDDEN)) -> None:
        """dims: couplings of a flow, width of its networks."""
        super().__init__()
        if kind == "niki_1stage":
            self.flow = MaskedFlow(EVIDENCE_DIM, 0, *dims)
        else:
            self.flow_j2s = MaskedFlow(EVIDENCE_DIM, N_BETAS, *dims)
            self.flow_s2r = MaskedFlow(POSE_DIM + TWIST_DIM, 0, *dims)
        self.kind: Kind = kind

    def forward(
        self,
        joints: Tensor,
        sigma: Tensor,
        twist: Tensor,
        betas: Tensor,
        padding: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Rotations (N, 24, 3, 3) and error embedding (N, 32 or 78) of N frames.

        joints: (N, 29, 3) m relative to the pelvis; sigma: (N, 29) in the authors' unit; twist:
        (N, 23, 2) of any length > 0; betas: (N, 10); padding: (N, 60), None is zeros.
        """
        padding = joints.new_zeros(len(joints), PADDING) if padding is None else padding
        evidence = torch.cat([joints.flatten(1), sigma, padding], -1)
        if self.kind == "niki_1stage":
            pose, z = self.flow(evidence)[0].tensor_split([POSE_DIM], -1)
        else:
            swings, z = self.flow_j2s(evidence, betas)[0].tensor_split([POSE_DIM], -1)
            turns = nn.functional.normalize(twist, dim=-1).flatten(1)
            out = self.flow_s2r(torch.cat([swings, turns], -1))[0]
            pose, more = out.tensor_split([POSE_DIM], -1)
            z = torch.cat([z, more], -1)
        return rotation_6d_to_rotmat(pose), z


def own_name(key: str) -> str:
    """What a parameter of the authors' checkpoints is called in `ReleasedNiki`."""
    key = key.removeprefix("regressor.").replace("jts_masks", "mask")
    key = key.replace("shape_masks", "condition_mask")
    key = re.sub(r"jts_net([st])\.(\d+)\.encoder", r"\1.\2", key)
    # the twist-and-swing networks count their dropout layers, which do nothing here
    layer = {"3": "2", "6": "4"}
    return re.sub(r"\.([36])\.(weight|bias)$", lambda m: f".{layer[m[1]]}.{m[2]}", key)


@dataclass(frozen=True)
class ReleasedSolver:
    """The authors' networks behind the `Solver` protocol; every frame on its own."""

    body: Body
    model: ReleasedNiki
    name: str  # as in `hpsvid.ik.SOLVERS`
    window_length: None = None  # takes a whole track at once

    def __call__(self, window: Window, betas: np.ndarray) -> BodyParams:
        """Solve all frames of a window for one person's shape `betas` (10,) float32."""
        obs = window.obs
        shape = torch.from_numpy(betas)
        joints, sigma, twist = (
            torch.from_numpy(x) for x in (obs.joints, obs.sigma / SIGMA_M, obs.twist)
        )
        with torch.inference_mode():
            rotmats, _ = self.model(joints, sigma, twist, shape.expand(len(obs), -1))
        rest = self.body.rest_joints(shape)[0].numpy()
        return BodyParams(rotmats=rotmats.numpy(), betas=betas, transl=obs.pelvis - rest)


def load_released(name: str, body: Body) -> ReleasedSolver:
    """The solver `name` with the authors' checkpoint that the user has imported.

    Raises InputError when the authors released none for it, WeightsError when it was not imported
    or does not fit.
    """
    if name not in OFFICIAL:
        raise InputError(
            f"solver {name!r} with weights 'official': unknown; choose one of {', '.join(OFFICIAL)}"
        )
    kind = OFFICIAL[name]
    with torch.device("meta"):
        model = ReleasedNiki(kind)
    load_imported(model, kind)
    for flow in model.children():
        assert isinstance(flow, MaskedFlow)
        if not ((flow.mask == 0) | (flow.mask == 1)).all():
            raise WeightsError(f"{imported_path(kind)}: a mask holds other numbers than 0 and 1")
    return ReleasedSolver(body, model.eval(), name)
