"""33 landmarks of a track to the evidence that a solver reads, by a network trained on renders.

A temporal convolutional network in the upright crop's view: axes turned so that the optical axis
runs through the hips and the body stands upright, as the landmark network itself saw it. It reads
landmarks in metres (the network's own 3D, and the 2D ones carried to the hips' depth) and what was
kept of the landmark network's inner maps, 15 times a second, and answers for every frame. Trained
by `hpsvid train lifter` on what the landmark network sees of rendered, clothed people; see
weights/lifter.md.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from hpsvid.backbone.geometric import UNSEEN_SIGMA_M, fit_betas, place_in_camera
from hpsvid.backbone.landmarks import Landmarks
from hpsvid.backbone.lifter_network import (
    CHUNK,
    Lifted,
    Lifters,
    View,
    crop_turn,
    load_lifter,
    make_view,
    run,
)
from hpsvid.body.model import Body
from hpsvid.body.skeleton import LIMB_JOINTS, LIMB_LANDMARKS
from hpsvid.common.geometry import unit
from hpsvid.common.series import bridged, fill_gaps, interpolate, nearest, spaced_times
from hpsvid.common.weights import weights_path
from hpsvid.types import (
    N_BETAS,
    N_JOINTS,
    N_LANDMARKS,
    N_TWISTS,
    Array,
    Camera,
    Observations,
)

RATE_HZ = 15.0  # the network's own frame rate, which is how often the landmark network looks
# A temporal network's errors last: of its sigma so much is noise, as solvers were trained on. On
# held-back renders niki-temporal's PA-MPJPE is 100.4, 95.1, 94.0, 94.4 mm at 1, 0.6, 0.4, 0.25.
CHANGING = 0.4
FAR_S = 0.3  # a moment further from any seen frame counts as not seen


@cache
def default_lifter() -> Lifters:
    """The shipped network; WeightsError when its file is missing or damaged."""
    return load_lifter(weights_path("lifter"))


def lift(
    landmarks: Landmarks,
    pts_s: Array,
    camera: Camera,
    body: Body,
    *,
    model: Lifters | None = None,
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
    valid = landmarks.score > 0
    if not valid.any():
        return nothing_seen(landmarks.track_id, landmarks.frame_index)
    if landmarks.lean is None or landmarks.inner is None:
        raise ValueError("landmarks without inner maps; the geometric lifter reads them")
    times = spaced_times(bridged(pts_s))
    grid = times[0] + np.arange(int(np.ceil((times[-1] - times[0]) * RATE_HZ)) + 1) / RATE_HZ
    rays = _rays(landmarks.image, camera)
    valid_times = times[valid]
    kept = slice(None) if valid.all() else valid  # no copy of the inner maps, 4 kB a frame
    inner = landmarks.inner[kept]
    points, slopes, visibility, presence = (
        torch.from_numpy(interpolate(grid, valid_times, series[kept], np.float32))
        for series in (landmarks.world, rays, landmarks.visibility, landmarks.presence)
    )
    near = nearest(grid, valid_times)
    lean = torch.from_numpy(landmarks.lean[valid][near])
    seen = torch.from_numpy((np.abs(valid_times[near] - grid) <= FAR_S).astype(np.float32))

    def view_of(part: slice) -> View:
        maps = torch.from_numpy(interpolate(grid[part], valid_times, inner, np.float32))
        chances = visibility[part], presence[part]
        view = make_view(points[part], slopes[part], chances, lean[part], maps)
        return replace(view, seen=seen[part])

    answer = run(model, view_of, len(grid), chunk)
    # of every answer's own view, as the crop's lean may jump from look to look
    answer = _back(_in_camera(answer, crop_turn(slopes, lean)), grid, times)
    joints = answer.joints
    chance = torch.from_numpy(landmarks.visibility * landmarks.presence * valid[:, None])
    pelvis = place_in_camera(
        joints[:, LIMB_JOINTS],
        torch.from_numpy(fill_gaps(landmarks.image, valid, times))[:, LIMB_LANDMARKS],
        chance[:, LIMB_LANDMARKS],
        torch.from_numpy(camera.K).float(),
    )
    betas = answer.betas if body.free else fitted_betas(joints, body)
    sigma = answer.sigma
    sigma[~torch.from_numpy(valid)] = UNSEEN_SIGMA_M
    image_visible = np.where(valid[:, None], landmarks.visibility, 0)
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
        valid=valid,
        changing=CHANGING,
    )


def _in_camera(lifted: Lifted, turn: Tensor) -> Lifted:
    """The answer (T, ...) in camera axes; turn: (T, 3, 3)."""
    return replace(lifted, joints=lifted.joints @ turn.mT)


def _back(answer: Lifted, grid: Array, times: Array) -> Lifted:
    """The answer on the grid at the track's own times; joints by a cubic, so without kinks."""

    def linear(values: Tensor) -> Tensor:
        return torch.from_numpy(interpolate(times, grid, values.numpy(), np.float32))

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
        bend=linear(answer.bend),
        bend_sigma=linear(answer.bend_sigma),
    )


def _rays(image: Array, camera: Camera) -> Array:
    """Slopes x/z and y/z (T, 33, 2) of the rays through image points (T, 33, 2) px."""
    ahead = np.concatenate([image, np.ones_like(image[..., :1])], -1)
    rays = ahead @ np.linalg.inv(camera.K).T
    return (rays[..., :2] / rays[..., 2:]).astype(np.float32)


def fitted_betas(joints: Tensor, body: Body) -> Tensor:
    """Shape (T, 10) on `body` of joints (T, 29, 3) m, by the length of the limbs."""
    points = joints.new_zeros(len(joints), N_LANDMARKS, 3)
    points[:, LIMB_LANDMARKS] = joints[:, LIMB_JOINTS]
    return fit_betas(points, torch.ones(len(joints), N_LANDMARKS), body)


def nothing_seen(track_id: int, frame_index: Array) -> Observations:
    """Observations of a track in which a network saw nobody; frame_index: (T,) the track's."""
    total = len(frame_index)
    twist = np.zeros((total, N_TWISTS, 2), np.float32)
    twist[..., 0] = 1
    return Observations(
        track_id=track_id,
        frame_index=frame_index,
        joints=np.zeros((total, N_JOINTS, 3), np.float32),
        sigma=np.full((total, N_JOINTS), UNSEEN_SIGMA_M, np.float32),
        twist=twist,
        betas=np.zeros((total, N_BETAS), np.float32),
        landmarks2d=np.zeros((total, N_LANDMARKS, 3), np.float32),
        pelvis=np.tile(np.array([0, 0, 1], np.float32), (total, 1)),
        valid=np.zeros(total, bool),
    )
