"""Errors in the world: where people go, which way is up, where the floor is, how feet stand.

Only against a truth that knows the ground. Where nothing is known or found, values are NaN.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hpsvid.body.model import Body
from hpsvid.body.world import to_world
from hpsvid.evaluation.metrics import MM, fitted, known_points
from hpsvid.evaluation.truth import TruePerson, Truth, points_of
from hpsvid.motion.feet import feet_over_ground
from hpsvid.types import Array, Person, World

WINDOW = 100  # frames: WHAM's (Shin et al., CVPR 2024)
LEAST_PATH_M = 1.0  # of the root: on a shorter path RTE would be a share of next to nothing
TOUCHES = 0.5  # probability from which a point is said to touch the ground
N_CONTACTS = 4

Claims = Iterable[tuple[Person, Array]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorldErrors:
    """One true person's errors in the world."""

    first: Array  # (T, 24) mm, windows aligned by their first two frames: W-MPJPE
    whole: Array  # (T, 24) mm, windows aligned by all their frames: WA-MPJPE
    rte_percent: float  # root's mean error, the path aligned without scale, of the path's length
    velocity: Array  # (T - 1,) mm/s of the root
    up: Array  # (T,) degrees
    floor: Array  # (T, 4) mm, height over the found ground of points that truly touch it
    skate: Array  # (T - 1, 4) mm/s of points that truly touch the ground
    true_skate: Array  # (T - 1, 4) mm/s
    slower: Array  # (T - 1,) mm/s of the slowest of heels and balls
    true_slower: Array  # (T - 1,) mm/s where that of the found one is known
    contact: Array  # (3,) counts of touching: rightly said, wrongly said, missed


def world_errors(
    truth: Truth, person: TruePerson, world: World | None, claimed: Claims, body: Body
) -> WorldErrors | None:
    """Errors of the estimated people that are this true person, in the motion's world.

    claimed: people with indices (T,) into their own frames, -1 where they have none. None where
    truth or motion do not know the ground.
    """
    if world is None or truth.world is None or truth.points != "joints":
        return None
    frames = len(person.points)
    true_joints = to_world(person.points, truth.world, person.frame_index)
    joints = np.full(true_joints.shape, np.nan)
    feet, true_feet = np.full((2, frames, N_CONTACTS, 3), np.nan)
    said = np.full((frames, N_CONTACTS), np.nan)
    up = np.full(frames, np.nan)
    if person.params is not None and person.body is not None:
        true_feet = feet_over_ground(person.params, truth.world, person.frame_index, person.body)
    for estimate, place in claimed:
        there, own = place >= 0, place[place >= 0]
        at = estimate.track.frame_index
        joints[there] = to_world(points_of(estimate, truth.points, body)[own], world, at[own])
        feet[there] = feet_over_ground(estimate.body, world, at, body)[own]
        if estimate.contacts is not None:
            said[there] = estimate.contacts[own]
        ours, true = world.R[at[own], 1], truth.world.R[person.frame_index[there], 1]
        up[there] = np.degrees(np.arccos(np.clip((ours * true).sum(-1), -1, 1)))
    whole, first = np.full((2, *joints.shape[:2]), np.nan)
    for start in range(0, frames, WINDOW):
        part = slice(start, start + WINDOW)
        first[part] = _aligned(joints[part], true_joints[part], 2)
        whole[part] = _aligned(joints[part], true_joints[part], WINDOW)
    touch, any_time = np.zeros(said.shape, bool), np.ones(said.shape, bool)
    if person.contacts is not None:
        touch = person.contacts > TOUCHES
    slower, true_slower = (_skate(of, any_time, truth.fps).min(1) for of in (feet, true_feet))
    return WorldErrors(
        first=first,
        whole=whole,
        rte_percent=_rte_percent(joints[:, 0], true_joints[:, 0]),
        velocity=_velocity_errors(joints, true_joints, truth.fps),
        up=up,
        floor=np.where(touch, feet[..., 1] * MM, np.nan),
        skate=_skate(feet, touch, truth.fps),
        true_skate=_skate(true_feet, touch, truth.fps),
        slower=slower,
        true_slower=np.where(np.isfinite(slower), true_slower, np.nan),
        contact=_contact_counts(said, touch) if person.contacts is not None else np.zeros(3),
    )


def _aligned(pred: Array, gt: Array, count: int) -> Array:
    """Distances (T, J) mm after the similarity that fits the first `count` known frames best."""
    mask = known_points(pred, gt)
    rows = np.flatnonzero(mask.any(1))[:count]
    if len(rows) < 2:
        return np.full(pred.shape[:2], np.nan)
    flat, true = pred[rows].reshape(1, -1, 3), gt[rows].reshape(1, -1, 3)
    scale, rotation, shift = (of[0] for of in fitted(flat, true, mask[rows].reshape(1, -1)))
    return np.linalg.norm(scale * pred @ rotation.T + shift - gt, axis=-1) * MM


def _rte_percent(pred: Array, gt: Array) -> float:
    """WHAM's root translation error of paths (T, 3) m, % of the true path's length."""
    known = known_points(pred, gt)
    steps = np.linalg.norm(np.diff(gt, axis=0), axis=-1)[known[1:] & known[:-1]]
    if steps.sum() < LEAST_PATH_M:
        return float("nan")
    pred, gt = pred[known], gt[known]
    _, rotation, shift = fitted(pred[None], gt[None], np.ones((1, len(pred)), bool), scaled=False)
    away = pred @ rotation[0].T + shift[0] - gt
    return float(100 * np.linalg.norm(away, axis=-1).mean() / steps.sum())


def _velocity_errors(pred: Array, gt: Array, fps: float) -> Array:
    """Errors (T - 1,) mm/s of the root's velocity; joints (T, J, 3), turned by what fits all."""
    mask = known_points(pred, gt)
    if not mask.any():
        return np.full(max(len(pred) - 1, 0), np.nan)
    flat, true = pred.reshape(1, -1, 3), gt.reshape(1, -1, 3)
    _, rotation, _ = fitted(flat, true, mask.reshape(1, -1), scaled=False)
    away = np.diff(pred[:, 0], axis=0) @ rotation[0].T - np.diff(gt[:, 0], axis=0)
    return np.linalg.norm(away, axis=-1) * fps * MM


def _skate(feet: Array, touch: Array, fps: float) -> Array:
    """Speeds (T - 1, 4) mm/s of points (T, 4, 3) m that touch in both frames; else NaN."""
    speed = np.linalg.norm(np.diff(feet, axis=0), axis=-1) * fps * MM
    return np.where(touch[1:] & touch[:-1], speed, np.nan)


def _contact_counts(said: Array, touch: Array) -> Array:
    known = np.isfinite(said)
    says = said > TOUCHES
    return np.array([(known & a & b).sum() for a, b in
                     ((says, touch), (says, ~touch), (~says, touch))])  # fmt: skip


def world_summary(errors: Sequence[WorldErrors]) -> dict[str, float]:
    """Every measure over these people; of the floor and RTE each person counts once.

    Floor: the median over people of the size of the median height of what truly touches. Nothing
    for nobody.
    """
    if not errors:
        return {}

    def average(name: str) -> float:
        values = np.concatenate([getattr(person, name).ravel() for person in errors])
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    floors = [abs(np.nanmedian(e.floor)) for e in errors if np.isfinite(e.floor).any()]
    paths = [e.rte_percent for e in errors if np.isfinite(e.rte_percent)]
    right, wrong, missed = sum((e.contact for e in errors), np.zeros(3))
    said = 2 * right + wrong + missed
    return {
        "w_mpjpe_mm": average("first"),
        "wa_mpjpe_mm": average("whole"),
        "rte_percent": float(np.mean(paths)) if paths else float("nan"),
        "root_velocity_mm_s": average("velocity"),
        "up_deg": average("up"),
        "floor_mm": float(np.median(floors)) if floors else float("nan"),
        "contact_skate_mm_s": average("skate"),
        "true_contact_skate_mm_s": average("true_skate"),
        "world_slower_foot_mm_s": average("slower"),
        "true_world_slower_foot_mm_s": average("true_slower"),
        "contact_f1": float(2 * right / said) if said else float("nan"),
    }
