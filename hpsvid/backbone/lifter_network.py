"""The learned lifter's networks: what they are given, what they give, and their file."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hpsvid.backbone.geometric import place_in_camera
from hpsvid.backbone.inner_maps import (
    CLAMP,
    MIRROR,
    N_CHANNELS,
    READ,
    JoinedReader,
    LinearReader,
)
from hpsvid.body.hinges import HINGES
from hpsvid.body.skeleton import BLAZEPOSE, LANDMARK, mirror_points
from hpsvid.common.checkpoints import load_weights, read_config, save_weights
from hpsvid.common.geometry import axis_angle_to_matrix, rotation_to_ray
from hpsvid.common.records import join, take
from hpsvid.types import N_BETAS, N_JOINTS, N_LANDMARKS, N_TWISTS

CHUNK = 4096  # grid frames at a time; the result does not depend on it
SIGMA_RANGE_M = (0.005, 1.0)
SIGMA_RANGE_RAD = (0.02, 2.0)
PER_METRE = 3.0  # brings metres to the network's scale
DROPOUT = 0.35  # in training

# joints, their sigma, twists, shape, bends and their sigma
ANSWERS = (N_JOINTS * 3, N_JOINTS, N_TWISTS * 2, N_BETAS, len(HINGES), len(HINGES))
HIPS = (LANDMARK["left_hip"], LANDMARK["right_hip"])


@dataclass(frozen=True, slots=True, kw_only=True)
class LifterConfig:
    """Size of the network; stored in the checkpoint's metadata."""

    width: int = 256
    dilations: tuple[int, ...] = (1, 2, 4, 1)
    kept: int = 24  # numbers that are kept of the inner maps, a landmark

    @property
    def reach(self) -> int:
        """Frames to each side that an answer depends on."""
        return sum(self.dilations)

    @property
    def features(self) -> int:
        """Numbers a frame: own 3D, flat 2D, visibility, presence; nearness, lean; inner maps."""
        return N_LANDMARKS * 7 + 3 + len(READ) * self.kept


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """Landmarks as the network reads them, in the upright crop's view; any leading dimensions."""

    points: Tensor  # (..., T, 33, 3) m, the landmark network's own, from the middle of the hips
    slopes: Tensor  # (..., T, 33, 2) x/z and y/z; the optical axis runs through the hips
    visibility: Tensor  # (..., T, 33)
    presence: Tensor  # (..., T, 33)
    lean: Tensor  # (..., T) rad, of the crop against the picture
    inner: Tensor  # (..., T, 19, Q) what is kept of the inner maps, or (..., T, 19, 352) samples
    seen: Tensor  # (..., T) 1.0 or 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lifted:
    """What the network answers, in the view's axes; any leading dimensions."""

    joints: Tensor  # (..., T, 29, 3) m from the pelvis
    sigma: Tensor  # (..., T, 29) m, standard deviation per axis
    twist: Tensor  # (..., T, 23, 2) (cos, sin), length not 1
    betas: Tensor  # (..., T, 10)
    bend: Tensor  # (..., T, 4) rad, of knees and elbows, in the order of hinges.HINGES
    bend_sigma: Tensor  # (..., T, 4) rad, standard deviation


def crop_turn(rays: Tensor, lean: Tensor) -> Tensor:
    """Rotations (..., 3, 3) from the upright crop's view to camera axes.

    rays: (..., 33, 2) x/z and y/z of the landmarks; lean: (...) rad. The view's optical axis runs
    through the hips, its up is the crop's: axes in which the landmark network saw the person.
    """
    hips = rays[..., HIPS, :].mean(-2)
    return view_turn(torch.cat([hips, torch.ones_like(hips[..., :1])], -1), lean)


def view_turn(ray: Tensor, lean: Tensor) -> Tensor:
    """Rotations (..., 3, 3) to camera axes from those of a view along `ray` (..., 3), upright for
    a crop that leans by `lean` (...) rad.
    """
    return rotation_to_ray(ray) @ _leaning(lean)


def _leaning(lean: Tensor) -> Tensor:
    """Rotations (..., 3, 3) about the optical axis by `lean` (...) rad."""
    zero = torch.zeros_like(lean)
    return axis_angle_to_matrix(torch.stack([zero, zero, lean], -1))


def make_view(
    points: Tensor, rays: Tensor, chances: tuple[Tensor, Tensor], lean: Tensor, inner: Tensor
) -> View:
    """Put one or more sequences of landmarks, all of them seen, into the upright crop's view.

    points: (..., 33, 3) m; rays: (..., 33, 2) x/z and y/z in camera axes; chances: visibility and
    presence (..., 33); lean: (...) rad; inner: (..., 19, Q or 352).
    """
    turn = crop_turn(rays, lean)
    local = torch.cat([rays, torch.ones_like(rays[..., :1])], -1) @ turn  # rows: R^T ray
    return View(
        points=points @ _leaning(lean),
        slopes=local[..., :2] / local[..., 2:].clamp_min(0.1),
        visibility=chances[0],
        presence=chances[1],
        lean=lean,
        inner=inner,
        seen=torch.ones_like(lean),
    )


def mirror_view(view: View) -> View:
    """The same person in a mirror: left and right exchanged; inner maps as those of the mirror."""
    return View(
        points=mirror_points(view.points, BLAZEPOSE),
        slopes=mirror_points(view.slopes, BLAZEPOSE),
        visibility=view.visibility[..., BLAZEPOSE.mirror],
        presence=view.presence[..., BLAZEPOSE.mirror],
        lean=-view.lean,
        inner=view.inner[..., MIRROR, :],
        seen=view.seen,
    )


def flattened(view: View) -> tuple[Tensor, Tensor]:
    """2D landmarks (..., 33, 2) m at the hips' depth, from the hips, and that depth (...) m."""
    where = place_in_camera(
        view.points.reshape(-1, N_LANDMARKS, 3),
        view.slopes.reshape(-1, N_LANDMARKS, 2),
        (view.visibility * view.presence).reshape(-1, N_LANDMARKS),
        torch.eye(3, device=view.points.device),
    ).reshape(*view.lean.shape, 3)
    depth = where[..., 2].clamp(0.5, 50)
    return view.slopes * depth[..., None, None] - where[..., None, :2], depth


class _Block(nn.Module):
    """Residual: a dilated convolution over three frames, then a mix of the channels."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.over_time = nn.Conv1d(width, width, 3, dilation=dilation, padding=dilation)
        self.drop = nn.Dropout(DROPOUT)
        self.mix = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.over_time(self.norm(x).mT).mT
        return x + self.mix(self.drop(nn.functional.gelu(y)))


class Lifter(nn.Module):
    """The network: sequences of any length; an answer reads `config.reach` frames to each side."""

    joints_of_landmarks: Tensor  # (29, 33) the linear answer that the network corrects
    inner_mean: Tensor  # (352,) of the inner maps' samples in training
    inner_spread: Tensor  # (352,)

    def __init__(self, config: LifterConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("joints_of_landmarks", torch.zeros(N_JOINTS, N_LANDMARKS))
        self.register_buffer("inner_mean", torch.zeros(N_CHANNELS))
        self.register_buffer("inner_spread", torch.ones(N_CHANNELS))
        self.keep = nn.Linear(N_CHANNELS, config.kept)
        self.inner_place = nn.Parameter(torch.zeros(len(READ), config.kept))
        self.enter = nn.Linear(config.features, width)
        self.deepen = nn.Linear(width, width)
        self.drop = nn.Dropout(DROPOUT)
        self.blocks = nn.ModuleList(_Block(width, dilation) for dilation in config.dilations)
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, width)
        self.leave = nn.Linear(width, sum(ANSWERS))

    def reader(self) -> LinearReader:
        """What the landmark network's looks are to keep of the inner maps."""
        return LinearReader(
            mean=self.inner_mean.numpy(),
            spread=self.inner_spread.numpy(),
            weight=self.keep.weight.detach().T.numpy(),
            bias=self.keep.bias.detach().numpy(),
        )

    def usual(self, samples: Tensor) -> Tensor:
        """Samples (..., 19, 352) of the inner maps, each channel brought to its usual range."""
        usual = (samples.float() - self.inner_mean) / self.inner_spread
        return usual.clamp(-CLAMP, CLAMP)

    def forward(self, view: View) -> Lifted:
        """Lift sequences (B, T, ...); the view's inner maps as kept."""
        flat, depth = flattened(view)
        features = torch.cat(
            [
                view.points.flatten(-2) * PER_METRE,
                flat.flatten(-2) * PER_METRE,
                view.visibility,
                view.presence,
                torch.stack([1 / depth, view.lean.sin(), view.lean.cos()], -1),
                nn.functional.gelu(view.inner + self.inner_place).flatten(-2),
            ],
            -1,
        )
        x = self.enter(features * view.seen[..., None])
        x = x + self.deepen(self.drop(nn.functional.gelu(x)))
        for block in self.blocks:
            x = block(x)
        x = x + self.last(nn.functional.gelu(self.norm(x)))
        out = self.leave(self.drop(nn.functional.gelu(x))).float()
        joints, sigma, twist, betas, bend, bend_sigma = out.split(ANSWERS, -1)
        joints = joints.unflatten(-1, (N_JOINTS, 3)) / PER_METRE
        with torch.autocast(out.device.type, enabled=False):  # half precision is 2 mm off
            start = self.joints_of_landmarks @ (view.points * view.seen[..., None, None])
        joints = joints + start
        return Lifted(
            joints=joints - joints[..., :1, :],
            sigma=_within(sigma, SIGMA_RANGE_M),
            twist=twist.unflatten(-1, (N_TWISTS, 2)) + twist.new_tensor([1, 0]),
            betas=betas,
            bend=bend,
            bend_sigma=_within(bend_sigma, SIGMA_RANGE_RAD),
        )


def _within(number: Tensor, limits: tuple[float, float]) -> Tensor:
    """A standard deviation between the limits for a number of any size."""
    low, high = (float(np.log(limit)) for limit in limits)
    return (low + (high - low) * torch.sigmoid(number - 0.5)).exp()


class Lifters(nn.Module):
    """Networks trained apart, whose answers are averaged: what one of them got wrong by chance
    the others did not (deep ensembles, Lakshminarayanan et al., NeurIPS 2017).
    """

    def __init__(self, members: Sequence[Lifter]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.config = members[0].config

    @property
    def lifters(self) -> list[Lifter]:
        """The members."""
        return [member for member in self.members if isinstance(member, Lifter)]

    def reader(self) -> JoinedReader:
        """What the landmark network's looks are to keep of the inner maps, for all members."""
        return JoinedReader(readers=tuple(member.reader() for member in self.lifters))

    def forward(self, view: View) -> Lifted:
        """Lift sequences (B, T, ...); the view's inner maps as kept, one member after the other.

        Every member answers twice, with the inner maps and without: of rendered people they say
        more than of real ones (weights/lifter.md). sigma is what the answers expect, and how far
        they differ.
        """
        kept = view.inner.split(self.config.kept, -1)
        answers = [
            member(replace(view, inner=inner))
            for member, own in zip(self.lifters, kept, strict=True)
            for inner in (own, member.keep.bias.expand_as(own))
        ]
        joints, sigma, twist, betas, bend, bend_sigma = (
            torch.stack([getattr(answer, f.name) for answer in answers]) for f in fields(Lifted)
        )
        differ = (joints - joints.mean(0)).square().mean((0, -1))
        return Lifted(
            joints=joints.mean(0),
            sigma=(sigma.square().mean(0) + differ).sqrt(),
            twist=twist.mean(0),
            betas=betas.mean(0),
            bend=bend.mean(0),
            bend_sigma=(bend_sigma.square().mean(0) + bend.var(0, correction=0)).sqrt(),
        )


def save_lifter(model: Lifters, path: Path) -> None:
    """Write the networks in half precision, their config in the metadata."""
    save_weights(model, path, asdict(model.config) | {"members": len(model.members)})


def load_lifter(path: Path) -> Lifters:
    """Read networks that `save_lifter` wrote.

    Raises WeightsError when the file is missing, damaged or holds another network.
    """
    config = read_config(path, "hpsvid's lifter", ("width", "dilations", "kept", "members"))
    config["dilations"] = tuple(config["dilations"])
    own = LifterConfig(**{f.name: config[f.name] for f in fields(LifterConfig)})
    model = Lifters([Lifter(own) for _ in range(config["members"])])
    load_weights(model, path)
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def run(
    model: Lifter | Lifters, view_of: Callable[[slice], View], total: int, chunk: int = CHUNK
) -> Lifted:
    """The network's answer for one sequence of `total` frames.

    view_of: a stretch of them; asked for some more than `chunk` at a time, as inner maps are large.
    """
    reach = model.config.reach
    parts = []
    for start in range(0, total, chunk):
        stop = min(start + chunk, total)
        first, last = max(0, start - reach), min(total, stop + reach)
        answer = take(model(take(view_of(slice(first, last)), None)), 0)
        parts.append(take(answer, slice(start - first, stop - first)))
    return join(*parts)
