"""The learned lifter's network: what it is given, what it gives, and its file."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hpsvid.backbone.geometric import place_in_camera
from hpsvid.body.skeleton import BLAZEPOSE, LANDMARK, SMPL, mirror_points, mirror_twists
from hpsvid.common.checkpoints import load_weights, read_config, save_weights
from hpsvid.common.geometry import rotation_to_ray
from hpsvid.types import N_BETAS, N_JOINTS, N_LANDMARKS, N_TWISTS

CHUNK = 4096  # grid frames at a time; the result does not depend on it
FEATURES = N_LANDMARKS * 7 + 2  # own 3D, flat 2D, visibility, presence; nearness, seen
SIGMA_RANGE_M = (0.005, 1.0)
PER_METRE = 3.0  # brings metres to the network's scale

HIPS = (LANDMARK["left_hip"], LANDMARK["right_hip"])


@dataclass(frozen=True, slots=True, kw_only=True)
class LifterConfig:
    """Size of the network; stored in the checkpoint's metadata."""

    width: int = 256
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1)

    @property
    def reach(self) -> int:
        """Frames to each side that an answer depends on."""
        return sum(self.dilations)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """Landmarks as the network reads them, in the person's own view; any leading dimensions."""

    points: Tensor  # (..., T, 33, 3) m, the landmark network's own, from the middle of the hips
    flat: Tensor  # (..., T, 33, 2) m, the 2D landmarks at the hips' depth
    visibility: Tensor  # (..., T, 33)
    presence: Tensor  # (..., T, 33)
    nearness: Tensor  # (..., T) 1 / m
    seen: Tensor  # (..., T) 1.0 or 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lifted:
    """What the network answers, in the view's axes; any leading dimensions."""

    joints: Tensor  # (..., T, 29, 3) m from the pelvis
    sigma: Tensor  # (..., T, 29) m, standard deviation per axis
    twist: Tensor  # (..., T, 23, 2) (cos, sin), length not 1
    betas: Tensor  # (..., T, 10)


def view_turn(rays: Tensor) -> Tensor:
    """Rotations (..., 3, 3) from the person's view to camera axes.

    rays: (..., 33, 2) x/z and y/z of the landmarks.
    """
    hips = rays[..., HIPS, :].mean(-2)
    return rotation_to_ray(torch.cat([hips, torch.ones_like(hips[..., :1])], -1))


def make_view(
    points: Tensor, rays: Tensor, visibility: Tensor, presence: Tensor, seen: Tensor
) -> View:
    """Put one or more sequences of landmarks into the person's view.

    points: (..., 33, 3) m; rays: (..., 33, 2) x/z and y/z in camera axes; visibility, presence:
    (..., 33); seen: (...) 1.0 where these are the network's words, 0.0 where they are filled in.
    """
    shape = points.shape[:-2]
    turn = view_turn(rays)
    local = torch.cat([rays, torch.ones_like(rays[..., :1])], -1) @ turn  # rows: R^T ray
    local = local[..., :2] / local[..., 2:].clamp_min(0.1)
    where = place_in_camera(
        points.reshape(-1, N_LANDMARKS, 3),
        local.reshape(-1, N_LANDMARKS, 2),
        (visibility * presence).reshape(-1, N_LANDMARKS),
        torch.eye(3, device=points.device),
    ).reshape(*shape, 3)
    depth = where[..., 2].clamp(0.5, 50)
    return View(
        points=points,
        flat=local * depth[..., None, None] - where[..., None, :2],
        visibility=visibility,
        presence=presence,
        nearness=1 / depth,
        seen=seen,
    )


def mirror_view(view: View) -> View:
    """The same person in a mirror: left and right exchanged."""
    return View(
        points=mirror_points(view.points, BLAZEPOSE),
        flat=mirror_points(view.flat, BLAZEPOSE),
        visibility=view.visibility[..., BLAZEPOSE.mirror],
        presence=view.presence[..., BLAZEPOSE.mirror],
        nearness=view.nearness,
        seen=view.seen,
    )


def mirror_lifted(lifted: Lifted) -> Lifted:
    """The mirrored person's answer for the person; betas are symmetric."""
    return Lifted(
        joints=mirror_points(lifted.joints, SMPL),
        sigma=lifted.sigma[..., SMPL.mirror],
        twist=mirror_twists(lifted.twist),
        betas=lifted.betas,
    )


class _Block(nn.Module):
    """Residual: a dilated convolution over three frames, then a mix of the channels."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.over_time = nn.Conv1d(width, width, 3, dilation=dilation, padding=dilation)
        self.mix = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.over_time(self.norm(x).mT).mT
        return x + self.mix(nn.functional.gelu(y))


class Lifter(nn.Module):
    """The network: sequences of any length; an answer reads `config.reach` frames to each side."""

    joints_of_landmarks: Tensor  # (29, 33) the linear answer that the network corrects

    def __init__(self, config: LifterConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("joints_of_landmarks", torch.zeros(N_JOINTS, N_LANDMARKS))
        self.enter = nn.Linear(FEATURES, width)
        self.deepen = nn.Linear(width, width)
        self.blocks = nn.ModuleList(_Block(width, dilation) for dilation in config.dilations)
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, width)
        self.leave = nn.Linear(width, N_JOINTS * 4 + N_TWISTS * 2 + N_BETAS)

    def forward(self, view: View) -> Lifted:
        """Lift sequences (B, T, ...)."""
        features = torch.cat(
            [
                view.points.flatten(-2) * PER_METRE,
                view.flat.flatten(-2) * PER_METRE,
                view.visibility,
                view.presence,
                view.nearness[..., None],
                torch.ones_like(view.seen)[..., None],
            ],
            -1,
        )
        features = features * view.seen[..., None]
        x = self.enter(features)
        x = x + self.deepen(nn.functional.gelu(x))
        for block in self.blocks:
            x = block(x)
        x = x + self.last(nn.functional.gelu(self.norm(x)))
        out = self.leave(nn.functional.gelu(x)).float()
        joints, sigma, twist, betas = out.split([N_JOINTS * 3, N_JOINTS, N_TWISTS * 2, N_BETAS], -1)
        joints = joints.unflatten(-1, (N_JOINTS, 3)) / PER_METRE
        with torch.autocast(out.device.type, enabled=False):  # half precision is 2 mm off
            start = self.joints_of_landmarks @ (view.points * view.seen[..., None, None])
        joints = joints + start
        low, high = (float(np.log(limit)) for limit in SIGMA_RANGE_M)
        return Lifted(
            joints=joints - joints[..., :1, :],
            sigma=(low + (high - low) * torch.sigmoid(sigma - 0.5)).exp(),
            twist=twist.unflatten(-1, (N_TWISTS, 2)) + twist.new_tensor([1, 0]),
            betas=betas,
        )


def save_lifter(model: Lifter, path: Path) -> None:
    """Write the network in half precision, its config in the metadata."""
    save_weights(model, path, asdict(model.config))


def load_lifter(path: Path) -> Lifter:
    """Read a network that `save_lifter` wrote.

    Raises WeightsError when the file is missing, damaged or holds another network.
    """
    config = read_config(path, "hpsvid's lifter", ("width", "dilations"))
    model = Lifter(LifterConfig(width=config["width"], dilations=tuple(config["dilations"])))
    load_weights(model, path)
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def run(model: Lifter, view: View, chunk: int = CHUNK) -> Lifted:
    """The network's answer for one sequence (T, ...), averaged with that for its mirror image."""
    total, reach = len(view.seen), model.config.reach
    parts = []
    for start in range(0, total, chunk):
        stop = min(start + chunk, total)
        first, last = max(0, start - reach), min(total, stop + reach)
        piece = View(**{f.name: getattr(view, f.name)[None, first:last] for f in fields(View)})
        answers = (model(piece), mirror_lifted(model(mirror_view(piece))))
        parts.append(
            [
                sum(getattr(a, f.name)[0, start - first : stop - first] for a in answers) / 2
                for f in fields(Lifted)
            ]
        )
    joints, sigma, twist, betas = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
    return Lifted(joints=joints, sigma=sigma, twist=twist, betas=betas)
