"""Which way is up: what people's balance and the ground under their feet say, weighed.

A cue is a direction and how sure it is along the view (pitch) and across it (roll).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpsvid.body.skeleton import JOINT
from hpsvid.types import Array

LEVEL = np.array([0.0, -1.0, 0.0])  # up, of a camera that is level
LEVEL_PITCH_DEG, LEVEL_ROLL_DEG = 18.0, 10.0  # how far off level a camera usually is
ROUNDS = 20  # of reweighting
OUTLIER = 3.0  # standard deviations: a cue that is further off hardly counts

# Who keeps balance has the mass above the feet. As the engine sees people, that axis leans away
# from the camera by LEAN_RAD, and is off by so much along the view and across it, whoever is
# looked at and however long (30 people of rendered takes, tools.tables.world, seeds 0-26: leaning
# 1.8 degrees, off by 5.2 and 4.4, median absolute deviations times 1.48).
LEAN_RAD = 0.03
AXIS_PITCH_DEG, AXIS_ROLL_DEG = 6.5, 4.5
BENT_DEG = 25.0  # between legs and trunk: whose are more bent says less
SUPPORT_M = 0.04  # a foot this much higher than the other carries a third of what that carries
# share of the body's mass and where it lies between two joints (de Leva, J. Biomech. 1996)
_LIMBS = (
    (0.142, "hip", "knee", 0.41), (0.043, "knee", "ankle", 0.44), (0.014, "ankle", "big_toe", 0.4),
    (0.027, "shoulder", "elbow", 0.57), (0.022, "elbow", "wrist", 0.6),
)  # fmt: skip
_PARTS = [
    (0.07, "neck", "head_top", 0.5),
    (0.215, "pelvis", "spine3", 0.3),
    (0.215, "spine3", "neck", 0.3),
    *(
        (m, f"{side}_{a}", f"{side}_{b}", at)
        for side in ("left", "right")
        for m, a, b, at in _LIMBS
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cue:
    """A direction of up, and how sure it is."""

    up: Array  # (3,) unit
    pitch_deg: float  # standard deviation along the view
    roll_deg: float  # across it
    made_from: str


def fused(cues: Sequence[Cue]) -> tuple[Array, Array]:
    """The up (3,) that the cues agree on best, and its information (2, 2), 1/rad^2.

    The prior, a camera about level, is one more cue. A cue far from the others counts little.
    """
    prior = Cue(up=LEVEL, pitch_deg=LEVEL_PITCH_DEG, roll_deg=LEVEL_ROLL_DEG, made_from="")
    cues = [*cues, prior]
    trust = 1 / np.deg2rad([[cue.pitch_deg, cue.roll_deg] for cue in cues]) ** 2
    directions = np.stack([cue.up for cue in cues])
    up = (directions * trust.sum(1)[:, None]).sum(0)
    up /= np.linalg.norm(up)
    for _ in range(ROUNDS):
        off = (directions - up) @ tangents(up).T
        weight = trust / (1 + (off**2 * trust).sum(1, keepdims=True) / OUTLIER**2) ** 2
        up = up + ((weight * off).sum(0) / weight.sum(0)) @ tangents(up)
        up /= np.linalg.norm(up)
    return up, np.diag(weight.sum(0))


def tangents(up: Array) -> Array:
    """Unit vectors (2, 3) orthogonal to `up` (3,): along the view, and across it."""
    forward = forward_of(up)
    return np.stack([forward, np.cross(forward, up)])


def forward_of(up: Array) -> Array:
    """The horizontal direction (3,) in which a camera looks; straight down: the picture's top."""
    view = np.array([0.0, 0.0, 1.0])
    if abs(up @ view) > np.cos(np.deg2rad(5)):
        view = np.array([0.0, -1.0, 0.0])
    forward = view - (view @ up) * up
    return forward / np.linalg.norm(forward)


def balance_cue(joints: Array, up: Array) -> Cue | None:
    """What one person's balance says; None where nobody stands.

    joints: (T, 29, 3) m in the axes of one camera; up: (3,) about which way up is, so that the
    foot that carries is known.
    """
    if not len(joints):
        return None
    joints = joints.astype(np.float64)
    axes, upright = standing_axes(joints, up)
    sure = upright.mean()
    if sure < 0.02:
        return None
    axis = (upright[:, None] * axes).sum(0)
    axis /= np.linalg.norm(axis)
    ray = joints[:, 0].mean(0)
    away = ray - (ray @ axis) * axis
    axis = axis - np.tan(LEAN_RAD) * away / np.linalg.norm(away)
    wide = 1 / np.sqrt(min(1.0, 2 * sure))
    return Cue(
        up=axis / np.linalg.norm(axis),
        pitch_deg=AXIS_PITCH_DEG * wide,
        roll_deg=AXIS_ROLL_DEG * wide,
        made_from="people who stand",
    )


def standing_axes(joints: Array, up: Array) -> tuple[Array, Array]:
    """Directions (T, 3) that are upright on the mean while somebody stands or walks, and how much
    each says (T,), 0 to 1; joints: (T, 29, 3) m.
    """
    ankles = (joints[:, JOINT["left_ankle"]] + joints[:, JOINT["right_ankle"]]) / 2
    neck = joints[:, JOINT["neck"]]
    bent = np.rad2deg(_angle(joints[:, 0] - ankles, neck - joints[:, 0]))
    axes = _unit(body_axes(joints) + _unit(_mass(joints) - support(joints, up)))
    stands = axes @ up > np.cos(np.deg2rad(60))  # who lies says nothing
    return axes, np.exp(-((bent / BENT_DEG) ** 2)) * stands


def body_axes(joints: Array) -> Array:
    """Directions (T, 3) from between the ankles to the neck; joints: (T, 29, 3) m."""
    ankles = (joints[:, JOINT["left_ankle"]] + joints[:, JOINT["right_ankle"]]) / 2
    return _unit(joints[:, JOINT["neck"]] - ankles)


def _mass(joints: Array) -> Array:
    """The centre of mass (T, 3) of joints (T, 29, 3)."""
    total = sum(share for share, *_ in _PARTS)
    parts = (
        share * (joints[:, JOINT[a]] * (1 - at) + joints[:, JOINT[b]] * at)
        for share, a, b, at in _PARTS
    )
    return np.sum(list(parts), axis=0) / total


def support(joints: Array, up: Array) -> Array:
    """Where the feet carry the body, (T, 3) m: the lower one more."""
    feet = np.stack(
        [0.4 * joints[:, JOINT[f"{s}_ankle"]] + 0.6 * joints[:, JOINT[f"{s}_big_toe"]]
         for s in ("left", "right")], 1,
    )  # fmt: skip
    height = feet @ up
    load = np.exp(-(height - height.min(1, keepdims=True)) / SUPPORT_M)
    return (feet * (load / load.sum(1, keepdims=True))[..., None]).sum(1)


def _unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-9)


def _angle(a: Array, b: Array) -> Array:
    return np.arccos(np.clip((_unit(a) * _unit(b)).sum(-1), -1, 1))
