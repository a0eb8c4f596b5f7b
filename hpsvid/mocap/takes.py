"""Takes: captured motion, as performed or recombined, before a random camera.

Simulated landmarks are drawn on them without a picture.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT, SMPL
from hpsvid.common.geometry import axis_angle_to_matrix, matrix_to_axis_angle, swing_between
from hpsvid.errors import InputError
from hpsvid.mocap.amass import MotionCapture, seen_by_camera
from hpsvid.mocap.sources import ARMS, MotionSource
from hpsvid.types import N_BETAS, Array, BodyParams

SIZE = 448  # px, width and height of the picture
NEAREST_M = 0.6  # of a joint to the camera
TRIES = 50  # of a motion and a camera, before the captures must be at fault
BETAS_SPREAD = 0.9
FOLLOWED = 0.5  # of the cameras go with the person
# how much of the person's movement is left before such a camera: x, y (up), z
FOLLOWED_SHARE = np.array([0.15, 1, 0.15])
PITCH_DEG = (12, 18)  # mean and spread; positive looks down
PITCH_RANGE_DEG = (-20, 60)
ROLL_DEG = 20  # spread
ROLL_RANGE_DEG = (-45, 45)
DRIFT_DEG = 12  # spread of how far the camera pans in a sequence
TILT_DRIFT_RAD = 0.06  # the same of pitch and roll
DISTANCE_M = (1.8, 8)
FILLED = (0.55, 0.9)  # of the picture by the whole sweep of the motion
CUT_OFF = 0.25  # of the sequences: part of the body leaves the picture
ASIDE = (0.1, 0.4)  # of the picture's size, how far its middle is then moved
EXCHANGED = 0.35  # of the limbs come from another capture
SPREADS_DEG = (0, 5, 10, 16)  # one of them for all joints of a sequence
WIDER_DEG = {"shoulder": 40, "hip": 20}  # in half of the sequences instead
REBENT = 0.5  # of elbows and knees
REBENT_RANGE = (0, 1.3)  # of the captured angle; mostly straighter
STRETCHED = 0.2  # of the sequences have both arms straight and in any direction, an arm alone too
# moved as one when motions are put together
LIMBS = (
    *ARMS,
    *([JOINT[f"{side}_{part}"] for part in ("hip", "knee", "ankle", "foot")]
      for side in ("left", "right")),
    [JOINT["neck"], JOINT["head"]],
    [JOINT["spine1"], JOINT["spine2"], JOINT["spine3"]],
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Take:
    """One sequence of T frames: a body in camera axes and the camera that sees it."""

    params: BodyParams  # camera axes
    K: Array  # (3, 3) px, of a picture SIZE wide and high
    rotation: Array  # (T, 3, 3) world (y up) to camera
    translation: Array  # (3,) m; camera point = rotation @ world point + translation


def choose_take(
    rng: np.random.Generator, draw: Callable[[np.random.Generator], MotionCapture], body: Body
) -> Take:
    """A motion of a random shape before a random camera: pitch, roll, focal, distance, drift.

    draw: makes the motion, y up. Raises InputError when no camera keeps clear of it.
    """
    for _ in range(TRIES):
        motion = draw(rng)
        betas = (rng.normal(size=N_BETAS) * BETAS_SPREAD).astype(np.float32)
        transl = motion.transl - motion.transl.mean(0)
        if rng.random() < FOLLOWED:
            transl = transl * FOLLOWED_SHARE
        motion = replace(motion, betas=betas, transl=transl.astype(np.float32))
        steps = np.linspace(-0.5, 0.5, len(motion))
        yaw = rng.uniform(0, 2 * np.pi) + steps * rng.normal() * np.radians(DRIFT_DEG)
        pitch = np.radians(np.clip(rng.normal(*PITCH_DEG), *PITCH_RANGE_DEG))
        pitch = pitch + steps * rng.normal() * TILT_DRIFT_RAD
        roll = np.radians(np.clip(rng.normal() * ROLL_DEG, *ROLL_RANGE_DEG))
        roll = roll + steps * rng.normal() * TILT_DRIFT_RAD
        rotation = _camera_turn(yaw, pitch, roll)
        distance = float(np.exp(rng.uniform(*np.log(DISTANCE_M))))
        params = seen_by_camera(motion, rotation, np.zeros(3), body)
        shift = np.array([0, 0, distance]) - body.joints_of(params).mean((0, 1))
        params = replace(params, transl=(params.transl + shift).astype(np.float32))
        joints = body.joints_of(params)
        if joints[..., 2].min() >= NEAREST_M:
            K = _aimed(rng, joints)
            return Take(params=params, K=K, rotation=rotation, translation=shift)
    raise InputError("no camera found that sees a motion; are the captures in metres, y up?")


def _aimed(rng: np.random.Generator, joints: Array) -> Array:
    """K (3, 3) px of a camera whose picture holds joints (T, 29, 3) m, or most of them."""
    flat = joints[..., :2] / joints[..., 2:]
    low, high = flat.min((0, 1)), flat.max((0, 1))
    focal = SIZE * rng.uniform(*FILLED) / max(float((high - low).max()), 0.05)
    middle = SIZE / 2 - focal * (low + high) / 2
    if rng.random() < CUT_OFF:
        angle = rng.uniform(0, 2 * np.pi)
        aside = np.array([np.cos(angle), np.sin(angle)])
        middle = middle + SIZE * rng.uniform(*ASIDE) * aside
    return np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]])


def _camera_turn(yaw: Array, pitch: Array, roll: Array) -> Array:
    """World (y up) to camera (y down) rotations (T, 3, 3); positive pitch looks down."""

    def about(axis: int, angle: Array) -> Array:
        vector = np.zeros((len(angle), 3))
        vector[:, axis] = angle
        return axis_angle_to_matrix(torch.from_numpy(vector)).numpy()

    upright = np.diag([1.0, -1, -1])
    return about(2, roll) @ upright @ about(0, pitch) @ about(1, yaw)


def chimera(rng: np.random.Generator, source: MotionSource) -> MotionCapture:
    """A motion whose limbs come from several captures, with their joints bent further.

    People who are captured hardly ever stretch their arms and keep them in front of them or out
    to the side; a network that has seen only them would bend every arm.
    """
    motion = source.plain(rng)
    rotmats = motion.rotmats.copy()
    for limb in LIMBS:
        if rng.random() < EXCHANGED:
            rotmats[:, limb] = source.plain(rng).rotmats[:, limb]
    spread = np.full((SMPL.n_rotations, 1), np.radians(rng.choice(SPREADS_DEG)))
    for name, degrees in WIDER_DEG.items():
        for side in ("left", "right"):
            if rng.random() < 0.5:
                spread[JOINT[f"{side}_{name}"]] = np.radians(degrees)
    angle = rng.normal(size=(SMPL.n_rotations, 3)) * spread
    angle[0] = 0
    rotmats = rotmats @ axis_angle_to_matrix(torch.from_numpy(angle)).numpy()
    for name in ("left_elbow", "right_elbow", "left_knee", "right_knee"):
        if rng.random() < REBENT:
            _bend(rotmats, JOINT[name], rng.uniform(*REBENT_RANGE))
    _stretch_arms(rng, rotmats)
    return replace(motion, rotmats=rotmats.astype(np.float32))


def _bend(rotmats: Array, joint: int, share: float) -> None:
    """Scale the angle of a joint, in place."""
    bend = matrix_to_axis_angle(torch.from_numpy(rotmats[:, joint]))
    rotmats[:, joint] = axis_angle_to_matrix(bend * share).numpy()


def _stretch_arms(rng: np.random.Generator, rotmats: Array) -> None:
    """Straighten both arms or one, now and then, and point them anywhere but inwards, in place.

    The arm moves about its new direction as it did about the old one.
    """
    alike = rng.random() < 0.5
    both = rng.random() < STRETCHED
    ahead = rng.normal(size=3)
    for side, outwards in (("left", 1.0), ("right", -1.0)):
        if not alike:
            ahead = rng.normal(size=3)
        if not both and rng.random() > STRETCHED:
            continue
        shoulder, elbow = JOINT[f"{side}_shoulder"], JOINT[f"{side}_elbow"]
        _bend(rotmats, elbow, rng.uniform(0, 0.3))
        # the rest body's arms lie along x
        out = np.array([outwards, 0, 0])
        target = np.abs(ahead) * out + ahead * (1 - np.abs(out))
        before = torch.from_numpy(rotmats[0, shoulder].astype(float) @ out)
        turn = swing_between(before, torch.from_numpy(target)).numpy()
        rotmats[:, shoulder] = turn @ rotmats[:, shoulder]
