"""Place a body in front of the camera so that it reprojects onto its evidence."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hpsvid.body.model import Body
from hpsvid.body.skeleton import BLAZEPOSE, SMPL, forward_kinematics
from hpsvid.common.geometry import (
    axis_angle_to_matrix,
    cross_matrix,
    nearest_rotation,
    project,
    translation_onto,
)
from hpsvid.common.records import take
from hpsvid.common.series import chunks, fill_gaps
from hpsvid.types import Array, Camera, Observations

# How much a landmark counts in placement. The network puts 11 of its 33 points on the face and
# 6 on the fingers; at full weight they would outvote the trunk, which carries depth best.
_FACE, _FINGERS = range(11), range(17, 23)
LANDMARK_WEIGHT = np.array(
    [0.2 if i in _FACE else 0.3 if i in _FINGERS else 1.0 for i in range(len(BLAZEPOSE.names))]
)
MIN_VISIBILITY = 0.5  # below it the network itself says "probably hidden"
MIN_EVIDENCE = 4.0  # sum of weights x visibility for a frame to be placed on its own
NORMAL_RESIDUAL = 0.06  # px over the person's size in the picture; beyond it trust fades
NEAREST_M = 0.3  # no landmark is placed closer to the camera
PLACED_ERROR_M = 0.03  # of a landmark across the view, for how far off a placed distance is
PRIOR_M = 0.5  # how far a badly seen frame may leave the path between its neighbours
GAUSS_NEWTON_STEPS = 8
# Of a person's size in the picture: a body that misses its landmarks by more is wrong. Such frames
# of rendered people (2 %) err by twice as much as others (PA-MPJPE).
MOST_OFF = 0.08

# Refinement: how far off each piece of evidence is taken to be. Chosen together on bodypose3d and
# caliscope, once bodies had people's bones (docs/measurements.md, "Refinement"): with right bones
# the picture tells depth, too, and what was solved of it counts for little.
LANDMARK_ERROR_M = 0.02  # across the view
DEPTH_ERROR_M = 0.3  # of a landmark against the pelvis, along the view
ROTATION_ERROR = 0.45  # rad, of a joint's rotation as solved
ROOT_ERROR_M = (0.05, 0.05, 0.2)
REFINED_JOINTS = tuple(range(22))  # all but the hands, which no landmark resolves
REFINE_STEPS = 4
CHUNK = 128  # frames at a time: 30 MB


def place(body: Body, rotmats: Array, betas: Array, obs: Observations, camera: Camera) -> Array:
    """Where the root must be for the body's landmarks to fall on the observed ones.

    rotmats: (T, 24, 3, 3); betas: (10,). Returns transl (T, 3) float32 m. Robust to wrong
    landmarks; hidden ones count little, landmarks outside the picture like any other. Frames
    with too few are held near the path between their neighbours in the track; with no frame
    that has enough, near `obs.pelvis`. All points end up in front of the camera.
    """
    posed = posed_landmarks(body, rotmats, betas)
    marks = landmark_evidence(obs)
    good = (marks.weight.sum(1) >= MIN_EVIDENCE) & torch.from_numpy(obs.valid)
    if good.any():
        K = torch.from_numpy(camera.K)
        alone = torch.cat(
            [
                translation_onto(posed[at], marks.image[at], marks.weight[at], K)
                for at in chunks(len(posed), CHUNK)
            ]
        )
        start = torch.from_numpy(fill_gaps(alone.numpy(), good.numpy(), obs.frame_index))
    else:
        rest = body.rest_joints(torch.from_numpy(betas))[0].double()
        start = torch.from_numpy(obs.pelvis).double() - rest
    lower = NEAREST_M - posed[..., 2].amin(1)
    start[:, 2] = torch.maximum(start[:, 2], lower)
    prior = torch.where(good, 1e-6, 1.0)
    pieces = [
        _place_robust(posed[at], take(marks, at), camera, start[at], prior[at], lower[at])
        for at in chunks(len(posed), CHUNK)
    ]
    return torch.cat(pieces).float().numpy()


def posed_landmarks(body: Body, rotmats: Array, betas: Array) -> Tensor:
    """The body's landmarks (T, 33, 3) m with transl at zero, float64."""
    turned = torch.from_numpy(np.ascontiguousarray(rotmats, np.float32))
    shape = torch.from_numpy(betas)
    with torch.no_grad():
        pieces = [
            body.landmarks(part, shape.expand(len(part), -1), torch.zeros(len(part), 3)).double()
            for part in turned.split(CHUNK)
        ]
    return torch.cat(pieces)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Marks:
    """Observed landmarks and how much each counts, float64."""

    image: Tensor  # (T, 33, 2) px
    weight: Tensor  # (T, 33)


def landmark_evidence(obs: Observations) -> Marks:
    """The landmarks of one track; those that are hidden or not valid weigh nothing."""
    image = torch.from_numpy(obs.landmarks2d[..., :2]).double()
    visibility = obs.landmarks2d[..., 2].astype(np.float64)
    weight = LANDMARK_WEIGHT * np.where(visibility >= MIN_VISIBILITY, visibility, 0)
    weight = np.where(obs.valid[:, None] & np.isfinite(obs.landmarks2d).all(-1), weight, 0)
    weight = torch.from_numpy(weight)
    return Marks(image=torch.where(weight[..., None] > 0, image, 0.0), weight=weight)


def distance_doubt(marks: Marks, depth: Array, camera: Camera) -> Array:
    """Standard deviation (T,) of a placed body's distance from the camera, as a share of it.

    depth: (T,) m. By how far its landmarks lie apart: the less of a body is seen, the more do
    their errors make it look nearer or farther.
    """
    K = torch.from_numpy(camera.K)
    slopes = (marks.image - K[:2, 2]) / torch.stack([K[0, 0], K[1, 1]])
    place = slopes * torch.from_numpy(depth).double()[:, None, None]
    weight = marks.weight[..., None]
    middle = (weight * place).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1e-9)
    spread = (weight * (place - middle) ** 2).sum((1, 2))
    return (PLACED_ERROR_M / spread.clamp_min(1e-9).sqrt()).clamp_max(1).numpy()


def _place_robust(
    posed: Tensor, marks: Marks, camera: Camera, start: Tensor, prior: Tensor, lower: Tensor
) -> Tensor:
    """Gauss-Newton on a robust cost of the reprojection, all frames at once.

    First Huber's, which is convex, then Geman-McClure's, which lets go of wrong landmarks.

    start: (T, 3), also the prior's mean; prior: (T,) its strength (1 = PRIOR_M); lower: (T,) the
    smallest allowed depth.
    """
    K = torch.from_numpy(camera.K)
    size = _size_px(posed + start[:, None], K)
    transl = start.clone()
    hold = prior[:, None, None] * torch.eye(3, dtype=posed.dtype) / PRIOR_M**2
    for step in range(GAUSS_NEWTON_STEPS):
        points = posed + transl[:, None]
        z = points[..., 2]
        residual = (marks.image - project(points, K)) / size[:, None, None]
        relative = residual.norm(dim=-1) / NORMAL_RESIDUAL
        huber, redescending = 1 / relative.clamp_min(1), (1 + relative**2) ** -2
        trust = huber if step < GAUSS_NEWTON_STEPS // 2 else redescending
        robust = marks.weight * trust / NORMAL_RESIDUAL**2
        J = torch.zeros(*residual.shape, 3, dtype=posed.dtype)
        J[..., 0, 0] = K[0, 0] / z
        J[..., 1, 1] = K[1, 1] / z
        J[..., 0, 2] = -K[0, 0] * points[..., 0] / z**2
        J[..., 1, 2] = -K[1, 1] * points[..., 1] / z**2
        J = J / size[:, None, None, None]
        normal = torch.einsum("tlia,tl,tlib->tab", J, robust, J) + hold
        moment = torch.einsum("tlia,tl,tli->ta", J, robust, residual)
        moment = moment + (hold @ (start - transl)[..., None])[..., 0]
        transl = transl + torch.linalg.solve(normal, moment)
        transl[:, 2] = torch.maximum(transl[:, 2], lower)
    return transl


def _size_px(points: Tensor, K: Tensor) -> Tensor:
    """Size (T,) px of each frame's posed landmarks in the picture: their box's diagonal."""
    image = project(points, K)
    return (image.amax(1) - image.amin(1)).norm(dim=-1).clamp_min(1.0)


def reprojection_error(points: Tensor, marks: Marks, camera: Camera) -> Array:
    """Weighted mean distance (T,) float32 px between camera points and the observed ones."""
    distance = (project(points, torch.from_numpy(camera.K)) - marks.image).norm(dim=-1)
    mean = (marks.weight * distance).sum(1) / marks.weight.sum(1)  # 0 / 0 is NaN: nothing seen
    return mean.float().numpy()


def plainly_off(error: Array, joints2d: Array) -> Array:
    """Frames (T,) bool whose body cannot be the person's; False where nothing was seen.

    error: (T,) px, as `reprojection_error` has it; joints2d: (T, J, 2) px, the body's own.
    """
    return error > MOST_OFF * np.ptp(joints2d, axis=1).max(1)


def refine(
    body: Body, rotmats: Array, betas: Array, transl: Array, obs: Observations, camera: Camera
) -> tuple[Array, Array]:
    """Turn the joints a little so that the landmarks fall on the observed ones.

    What a solver makes of a network's 3D inherits its poor depth and, through bones of another
    length, misses its good 2D. Gauss-Newton from the solved pose, all frames at once, on three
    costs: reprojection (robust, hidden landmarks left out), the landmarks' depth against the
    pelvis as solved, the joints' rotations as solved. rotmats: (T, 24, 3, 3); betas: (B,), or
    (T, B) of several people; transl: (T, 3) m. Returns rotations and transl, float32. Frames
    without evidence stay as they are.
    """
    marks = landmark_evidence(obs)
    K = torch.from_numpy(camera.K)
    pieces = [
        refine_frames(
            body, Pose(rotmats[at], betas if betas.ndim == 1 else betas[at], transl[at]),
            take(marks, at), K,
        )
        for at in chunks(len(rotmats), CHUNK)
    ]  # fmt: skip
    return (
        np.concatenate([part.rotmats for part in pieces]),
        np.concatenate([part.transl for part in pieces]),
    )


class Pose(NamedTuple):
    """Bodies in some frames."""

    rotmats: Array  # (T, 24, 3, 3) float32
    betas: Array  # (B,) or, of several people, (T, B) float32
    transl: Array  # (T, 3) float32 m


def refine_frames(
    body: Body, start: Pose, marks: Marks, K: Tensor, shape_prior: Tensor | None = None
) -> Pose:
    """As `refine`, all at once; with `shape_prior` the shape that the frames share is refined, too.

    shape_prior: (B, B), inverse covariance of the shape about `start`'s; what the frames say of the
    shape counts as much as one of them would, as their errors last.
    """
    # exactly orthogonal: below, products along the limbs would multiply float32's rounding
    turned = nearest_rotation(torch.from_numpy(start.rotmats).double())
    root = torch.from_numpy(start.transl).double()
    solved = torch.from_numpy(start.betas).double()
    shape = solved
    spread = torch.tensor([ROTATION_ERROR] * 3 * len(REFINED_JOINTS) + [*ROOT_ERROR_M])
    prior = 1 / spread.double() ** 2
    moved = torch.zeros(len(turned), len(prior), dtype=torch.float64)
    depth = posed_landmarks(body, start.rotmats, start.betas)[..., 2]
    trusted = torch.from_numpy(LANDMARK_WEIGHT).expand(len(turned), -1)
    # of the poses as solved: it changes little with them
    as_shaped = None if shape_prior is None else _by_shape(body, start)
    for _ in range(REFINE_STEPS):
        posed = posed_landmarks(body, turned.float().numpy(), shape.float().numpy())
        joints, global_turns = forward_kinematics(turned, body.rest_joints(shape.float()).double())
        points = posed + root[:, None]
        miss, trust = _misses(points, marks, K)
        drift = (depth - posed[..., 2]) / DEPTH_ERROR_M
        off = torch.cat([miss, drift[..., None]], -1)  # (T, 33, 3)
        weight = torch.stack([trust, trust, trusted], -1)[..., None]
        by = _seen(_by_pose(body, posed, joints), points)
        by[:, :, 2, -3:] = 0  # depth is against the pelvis
        weighted = (weight * by).flatten(1, 2).mT
        normal = weighted @ by.flatten(1, 2) + torch.diag(prior)
        moment = (weighted @ off.flatten(1)[..., None])[..., 0] - prior * moved
        step = torch.linalg.solve(normal, moment)
        if shape_prior is not None and as_shaped is not None:
            by_shape = _seen(as_shaped, points).flatten(1, 2)
            with_pose = weighted @ by_shape
            alone = torch.linalg.solve(normal, with_pose)
            told = (weight.expand_as(by[..., :1]).flatten(1, 2) * by_shape).mT
            left = (told @ by_shape - with_pose.mT @ alone).mean(0)
            pull = told @ off.flatten(1)[..., None] - with_pose.mT @ step[..., None]
            back = shape_prior @ (shape - solved)
            change = torch.linalg.solve(left + shape_prior, pull.mean(0)[:, 0] - back)
            shape, step = shape + change, step - alone @ change
        moved = moved + step
        root = root + step[:, -3:]
        turned = turned.clone()
        turns = axis_angle_to_matrix(step[:, :-3].unflatten(-1, (-1, 3)))
        for i, joint in enumerate(REFINED_JOINTS):
            if joint == 0:
                turned[:, 0] = turns[:, i] @ turned[:, 0]
            else:
                above = global_turns[:, SMPL.parents[joint]]
                turned[:, joint] = above.mT @ turns[:, i] @ above @ turned[:, joint]
        root[:, 2] = torch.maximum(root[:, 2], NEAREST_M - posed[..., 2].amin(1))
    return Pose(turned.float().numpy(), shape.float().numpy(), root.float().numpy())


def _misses(points: Tensor, marks: Marks, K: Tensor) -> tuple[Tensor, Tensor]:
    """How far landmarks (T, 33, 3) m miss the observed ones, (T, 33, 2) in usual errors, and how
    much each of them counts, (T, 33): pixels as metres at the landmark's depth.
    """
    metres = points[..., 2:] / torch.stack([K[0, 0], K[1, 1]])
    miss = (marks.image - project(points, K)) * metres / LANDMARK_ERROR_M
    # Geman-McClure at three sigma
    return miss, marks.weight / (1 + (miss**2).sum(-1) / 9) ** 2


def _seen(by: Tensor, points: Tensor) -> Tensor:
    """How landmarks move (T, 33, 3, N) m, across the picture and in depth, in usual errors.

    points: (T, 33, 3) m.
    """
    ray = points[..., :2] / points[..., 2:]
    across = (by[:, :, :2] - ray[..., None] * by[:, :, 2:]) / LANDMARK_ERROR_M
    return torch.cat([across, by[:, :, 2:] / DEPTH_ERROR_M], 2)


def _by_pose(body: Body, posed: Tensor, joints: Tensor) -> Tensor:
    """How landmarks move, (T, 33, 3, 3 J + 3) m, as joints turn (rad, camera's axes) and the root
    moves.

    posed: (T, 33, 3) m; joints: (T, 29, 3) m. A turn w of a joint moves what it carries, x, by
    w x (x - joint).
    """
    arms = (posed[:, :, None] - joints[:, None, REFINED_JOINTS]) * _carried(body)[..., None]
    turns = -cross_matrix(arms).transpose(2, 3).flatten(3)
    root = torch.eye(3, dtype=torch.float64).expand(*turns.shape[:3], 3)
    return torch.cat([turns, root], -1)


def _by_shape(body: Body, start: Pose) -> Tensor:
    """How landmarks move with betas, (T, 33, 3, B) m; they are linear in them."""
    count = len(start.betas)
    shapes = np.concatenate([np.zeros((1, count), np.float32), np.eye(count, dtype=np.float32)])
    mean, *each = (posed_landmarks(body, start.rotmats, betas) for betas in shapes)
    return torch.stack(each, -1) - mean[..., None]


def _carried(body: Body) -> Tensor:
    """Share (33, J) of each landmark's skin that moves with each refined joint, or below it."""
    part = body.landmark_body
    assert part.landmark_regressor is not None
    own = part.landmark_regressor.double() @ part.skin_weights.double()
    for joint in range(SMPL.n_rotations - 1, 0, -1):
        own[:, SMPL.parents[joint]] += own[:, joint]
    return own[:, REFINED_JOINTS]
