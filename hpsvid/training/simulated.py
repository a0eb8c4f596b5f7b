"""Simulated training pairs of the lifter, in any number and without a picture.

A pose from anywhere gets the errors that the landmark network made on some rendered sequence: its
linear habit (limbs read short in depth) fitted over all of them, and the rest of that one
sequence, correlated over time and landmarks as it was. There are no inner maps: their samples lie
at the mean.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpsvid.backbone.inner_maps import N_CHANNELS, READ
from hpsvid.backbone.learned import RATE_HZ
from hpsvid.backbone.lifter_network import HIPS, View, crop_turn
from hpsvid.body.model import Body
from hpsvid.body.skeleton import LANDMARK
from hpsvid.ik.hybrik import twists
from hpsvid.mocap.sources import FPS, MotionSource
from hpsvid.mocap.takes import chimera, choose_take
from hpsvid.training.pairs import Pairs, least_squares

STEP = round(FPS / RATE_HZ)  # of a motion's frames, one is looked at
# Weighs 5 mm of error against a pose of unit size, so that a few unusual poses teach nothing.
HABIT_RIDGE = 3e-3
NEAREST_M = 0.3  # of a simulated landmark to the camera, for its 2D
SHOULDERS = (LANDMARK["left_shoulder"], LANDMARK["right_shoulder"])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedTruth:
    """N sequences of T frames of truth alone, in the axes of the upright crop's view."""

    marks: Tensor  # (N, T, 33, 3) m from the camera, landmarks on the body
    joints: Tensor  # (N, T, 29, 3) m from the pelvis
    twist: Tensor  # (N, T, 23, 2)
    betas: Tensor  # (N, 10)
    lean: Tensor  # (N, T) rad


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LandmarkErrors:
    """What the landmark network got wrong on N rendered sequences, in the crop's view."""

    habit: Tensor  # (99, 99) error that follows from the pose: row landmarks @ habit
    rest: Tensor  # (N, T, 33, 3) m, the remaining error of its 3D
    flat: Tensor  # (N, T, 33, 2) m, error of its 2D at the landmark's depth
    visibility: Tensor  # (N, T, 33)
    presence: Tensor  # (N, T, 33)
    seen: Tensor  # (N, T)


def errors_of(pairs: Pairs) -> LandmarkErrors:
    """Errors of rendered pairs against their true landmarks."""
    view, marks = pairs.view, pairs.marks
    true = (marks - marks[..., HIPS, :].mean(-2, keepdim=True)).flatten(-2)
    miss = view.points.flatten(-2) - true
    seen = view.seen.bool()
    habit = least_squares(true[seen], miss[seen], HABIT_RIDGE)
    return LandmarkErrors(
        habit=habit,
        rest=(miss - true @ habit).unflatten(-1, (-1, 3)),
        flat=view.slopes * marks[..., 2:] - marks[..., :2],
        visibility=view.visibility,
        presence=view.presence,
        seen=view.seen,
    )


def with_errors(truth: SimulatedTruth, errors: LandmarkErrors, donors: Tensor) -> Pairs:
    """Simulated pairs: the sequences of `truth` with the errors of rendered ones `donors`."""
    marks = truth.marks
    true = marks - marks[..., HIPS, :].mean(-2, keepdim=True)
    usual = (true.flatten(-2) @ errors.habit).unflatten(-1, (-1, 3))
    depth = marks[..., 2:].clamp_min(NEAREST_M)
    return Pairs(
        view=View(
            points=true + usual + errors.rest[donors],
            slopes=(marks[..., :2] + errors.flat[donors]) / depth,
            visibility=errors.visibility[donors],
            presence=errors.presence[donors],
            lean=truth.lean,
            inner=torch.zeros(*truth.lean.shape, len(READ), N_CHANNELS, dtype=torch.float16),
            seen=errors.seen[donors],
        ),
        marks=marks,
        joints=truth.joints,
        twist=truth.twist,
        betas=truth.betas,
    )


def simulate(rng: np.random.Generator, source: MotionSource, body: Body) -> SimulatedTruth:
    """One sequence of recombined motion before a random camera, a STEP-th as long as the source's.

    The crop stands on the line from the hips to the shoulders.
    """
    take = choose_take(rng, lambda rng: chimera(rng, source), body)
    rotmats, betas = (
        torch.from_numpy(take.params.rotmats)[::STEP],
        torch.from_numpy(take.params.betas),
    )
    marks = torch.from_numpy(body.landmarks_of(take.params))[::STEP]
    joints = torch.from_numpy(body.joints_of(take.params))[::STEP]
    rays = marks[..., :2] / marks[..., 2:]
    up = rays[:, SHOULDERS].mean(1) - rays[:, HIPS].mean(1)
    lean = torch.atan2(up[:, 0], -up[:, 1])
    turn = crop_turn(rays, lean)
    return SimulatedTruth(
        marks=(marks @ turn)[None],
        joints=((joints - joints[:, :1]) @ turn)[None],
        twist=twists(rotmats, body.rest_joints(betas))[None],
        betas=betas[None],
        lean=lean[None],
    )
