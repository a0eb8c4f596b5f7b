"""33 landmarks of a track to the evidence that a solver reads, by a network trained on renders.

A temporal convolutional network in the person's own view: axes turned so that the optical axis
runs through the hips, as the landmark network itself saw the crop. It reads landmarks in metres
(the network's own 3D, and the 2D ones carried to the hips' depth) at a steady 30 Hz and answers
for every frame. Trained by `hpsvid train lifter` on what the landmark network says of rendered
motion capture; see weights/lifter.md.
"""

import json
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from scipy.interpolate import CubicSpline
from scipy.ndimage import uniform_filter1d
from torch import Tensor, nn

from hpsvid.backbone.lifter import UNSEEN_SIGMA_M, fit_betas, place_in_camera
from hpsvid.body.model import Body
from hpsvid.body.skeleton import (
    JOINT_NAMES,
    LANDMARK,
    LANDMARK_NAMES,
    LIMB_JOINTS,
    LIMB_LANDMARKS,
    N_BODY,
    mirrored,
)
from hpsvid.common.geometry import rotation_to_ray, unit
from hpsvid.common.series import held, increasing_times
from hpsvid.common.weights import weights_path
from hpsvid.errors import WeightsError, one_line
from hpsvid.types import (
    N_BETAS,
    N_JOINTS,
    N_LANDMARKS,
    N_TWISTS,
    Array,
    Camera,
    Landmarks,
    Observations,
)

RATE_HZ = 30.0  # the network's own frame rate
FAR_S = 0.3  # a moment further from any seen frame counts as not seen
CHUNK = 4096  # grid frames at a time; the result does not depend on it
FEATURES = N_LANDMARKS * 7 + 2  # own 3D, flat 2D, visibility, presence; nearness, seen
SIGMA_RANGE_M = (0.005, 1.0)
PER_METRE = 3.0  # brings metres to the network's scale

HIPS = (LANDMARK["left_hip"], LANDMARK["right_hip"])
OTHER_LANDMARK = mirrored(LANDMARK_NAMES)
OTHER_JOINT = mirrored(JOINT_NAMES)
OTHER_TWIST = [joint - 1 for joint in mirrored(JOINT_NAMES[:N_BODY])[1:]]


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
        points=view.points[..., OTHER_LANDMARK, :] * view.points.new_tensor([-1, 1, 1]),
        flat=view.flat[..., OTHER_LANDMARK, :] * view.flat.new_tensor([-1, 1]),
        visibility=view.visibility[..., OTHER_LANDMARK],
        presence=view.presence[..., OTHER_LANDMARK],
        nearness=view.nearness,
        seen=view.seen,
    )


def mirror_lifted(lifted: Lifted) -> Lifted:
    """The mirrored person's answer for the person; betas are symmetric."""
    return Lifted(
        joints=lifted.joints[..., OTHER_JOINT, :] * lifted.joints.new_tensor([-1, 1, 1]),
        sigma=lifted.sigma[..., OTHER_JOINT],
        twist=lifted.twist[..., OTHER_TWIST, :] * lifted.twist.new_tensor([1, -1]),
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
    from safetensors.torch import save_file

    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, path, metadata={"lifter": json.dumps(asdict(model.config))})


def load_lifter(path: Path) -> Lifter:
    """Read a network that `save_lifter` wrote.

    Raises WeightsError when the file is missing, damaged or holds another network.
    """
    try:
        with safe_open(path, "pt") as stream:
            config = json.loads((stream.metadata() or {})["lifter"])
            tensors = {name: stream.get_tensor(name).float() for name in stream.keys()}  # noqa: SIM118
        config = LifterConfig(width=config["width"], dilations=tuple(config["dilations"]))
        model = Lifter(config)
        model.load_state_dict(tensors, strict=True)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: cannot be read as a lifter ({one_line(error)})") from error
    return model.eval().requires_grad_(False)


@cache
def default_lifter() -> Lifter:
    """The shipped network; WeightsError when its file is missing or damaged."""
    return load_lifter(weights_path("lifter"))


def lift(
    landmarks: Landmarks,
    pts_s: Array,
    camera: Camera,
    body: Body,
    *,
    model: Lifter | None = None,
    chunk: int = CHUNK,
) -> Observations:
    """Evidence about the body in each frame of one track; model None takes the shipped network.

    pts_s: (T,) s, times of the track's own frames, at any rate and spacing. Joints are in camera
    axes and relative to the pelvis; twist[:, j - 1] belongs to joint j of 1..23; sigma is the
    network's own standard deviation per axis. Frames that the landmark network did not see are
    filled in and are not valid. On a body other than the free one, betas are fitted to the lifted
    bones, as shapes mean something else there.
    """
    model = default_lifter() if model is None else model
    seen = landmarks.score > 0
    if not seen.any():
        return _nothing(landmarks)
    times = increasing_times(pts_s)
    grid = times[0] + np.arange(int(np.ceil((times[-1] - times[0]) * RATE_HZ)) + 1) / RATE_HZ
    rays = _rays(landmarks.image, camera)
    known = times[seen]
    points, slopes, visibility, presence = (
        torch.from_numpy(_on_grid(series[seen], known, grid))
        for series in (landmarks.world, rays, landmarks.visibility, landmarks.presence)
    )
    after = np.searchsorted(known, grid).clip(0, len(known) - 1)
    gap = np.minimum(np.abs(known[after] - grid), np.abs(known[(after - 1).clip(0)] - grid))
    near = torch.from_numpy((gap <= FAR_S).astype(np.float32))
    view = make_view(points, slopes, visibility, presence, near)
    answer = _back(run(model, view, chunk), grid, times)
    turn = view_turn(torch.from_numpy(held(rays, seen, times)))
    joints = answer.joints @ turn.mT
    chance = torch.from_numpy(landmarks.visibility * landmarks.presence * seen[:, None])
    pelvis = place_in_camera(
        joints[:, LIMB_JOINTS],
        torch.from_numpy(held(landmarks.image, seen, times))[:, LIMB_LANDMARKS],
        chance[:, LIMB_LANDMARKS],
        torch.from_numpy(camera.K).float(),
    )
    betas = answer.betas if body.free else _fitted_betas(joints, body)
    sigma = answer.sigma
    sigma[~torch.from_numpy(seen)] = UNSEEN_SIGMA_M
    image_visible = np.where(seen[:, None], landmarks.visibility, 0)
    return Observations(
        track_id=landmarks.track_id,
        frame_index=landmarks.frame_index,
        joints=joints.numpy(),
        sigma=sigma.numpy(),
        twist=unit(answer.twist).numpy(),
        betas=betas.numpy(),
        landmarks2d=np.concatenate(
            [landmarks.image, image_visible[..., None]], -1, dtype=np.float32
        ),
        pelvis=pelvis.numpy(),
        valid=seen,
    )


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


def _on_grid(series: Array, times: Array, grid: Array) -> Array:
    """A series (T, ...) at times (T,) s, at the moments `grid` (G,) s, float32.

    Linear in between; of faster clips, as many frames are averaged first as fall on one moment.
    """
    rows = series.reshape(len(series), -1).astype(np.float64)
    spacing = np.median(np.diff(times)) if len(times) > 1 else 1 / RATE_HZ
    together = max(1, round(1 / (RATE_HZ * spacing)))
    if together > 1:  # times too, so that an even count shifts nothing
        rows = uniform_filter1d(rows, together, axis=0, mode="nearest")
        times = uniform_filter1d(times, together, mode="nearest")
    columns = np.stack([np.interp(grid, times, column) for column in rows.T], -1)
    return columns.reshape(len(grid), *series.shape[1:]).astype(np.float32)


def _back(answer: Lifted, grid: Array, times: Array) -> Lifted:
    """The answer on the grid at the track's own times; joints by a cubic, so without kinks."""

    def linear(values: Tensor) -> Tensor:
        rows = values.flatten(1).numpy()
        columns = np.stack([np.interp(times, grid, column) for column in rows.T], -1)
        return torch.from_numpy(columns.astype(np.float32)).unflatten(1, values.shape[1:])

    joints = linear(answer.joints)
    if len(grid) > 3:
        joints = torch.from_numpy(
            CubicSpline(grid, answer.joints.numpy())(times).astype(np.float32)
        )
    return Lifted(
        joints=joints,
        sigma=linear(answer.sigma),
        twist=linear(answer.twist),
        betas=linear(answer.betas),
    )


def _rays(image: Array, camera: Camera) -> Array:
    """Slopes x/z and y/z (T, 33, 2) of the rays through image points (T, 33, 2) px."""
    ahead = np.concatenate([image, np.ones_like(image[..., :1])], -1)
    rays = ahead @ np.linalg.inv(camera.K).T
    return (rays[..., :2] / rays[..., 2:]).astype(np.float32)


def _fitted_betas(joints: Tensor, body: Body) -> Tensor:
    """Shape (T, 10) on `body` of joints (T, 29, 3) m, by the length of the limbs."""
    points = joints.new_zeros(len(joints), N_LANDMARKS, 3)
    points[:, LIMB_LANDMARKS] = joints[:, LIMB_JOINTS]
    return fit_betas(points, torch.ones(len(joints), N_LANDMARKS), body)


def _nothing(landmarks: Landmarks) -> Observations:
    """Observations of a track in which the landmark network saw nobody."""
    total = len(landmarks)
    twist = np.zeros((total, N_TWISTS, 2), np.float32)
    twist[..., 0] = 1
    return Observations(
        track_id=landmarks.track_id,
        frame_index=landmarks.frame_index,
        joints=np.zeros((total, N_JOINTS, 3), np.float32),
        sigma=np.full((total, N_JOINTS), UNSEEN_SIGMA_M, np.float32),
        twist=twist,
        betas=np.zeros((total, N_BETAS), np.float32),
        landmarks2d=np.zeros((total, N_LANDMARKS, 3), np.float32),
        pelvis=np.tile(np.array([0, 0, 1], np.float32), (total, 1)),
        valid=np.zeros(total, bool),
    )
