"""Poses inside the joints' limits.

Ranges in degrees after the American Academy of Orthopaedic Surgeons' "Joint Motion: Method of
Measuring and Recording" (1965), trunk and neck shared out over SMPL's chains. Angles of the left
side on SMPL's T-pose (x left, y up, z front); the right side is mirrored.
"""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from hpsvid.body.skeleton import JOINT, SMPL
from hpsvid.common.geometry import slerp
from hpsvid.types import Array

# joint -> axes of the turns, outermost first, and the range about each
LIMITS: dict[str, tuple[str, tuple[tuple[float, float], ...]]] = {
    "hip": ("XZY", ((-115, 20), (-15, 45), (-35, 35))),  # bent forwards is negative
    "knee": ("XZY", ((0, 140), (-2, 2), (-10, 10))),
    "ankle": ("XZY", ((-20, 45), (-15, 20), (-10, 10))),
    "collar": ("YZX", ((-15, 10), (-5, 25), (-5, 5))),
    "shoulder": ("YZX", ((-125, 35), (-88, 80), (-70, 70))),
    "elbow": ("YZX", ((-145, 0), (-3, 3), (-60, 80))),
    "wrist": ("YZX", ((-25, 25), (-60, 60), (-10, 10))),
    "spine1": ("XZY", ((-8, 25), (-12, 12), (-12, 12))),
    "spine2": ("XZY", ((-8, 20), (-10, 10), (-14, 14))),
    "spine3": ("XZY", ((-6, 14), (-8, 8), (-14, 14))),
    "neck": ("XZY", ((-20, 25), (-18, 18), (-35, 35))),
    "head": ("XZY", ((-20, 20), (-12, 12), (-30, 30))),
}
_FLIP = np.diag([-1.0, 1, 1])


def turn(axes: str, degrees: Array) -> Array:
    """Rotations (..., 3, 3) by `degrees` (..., 3) about the body's axes, outermost first."""
    flat = Rotation.from_euler(axes, np.reshape(degrees, (-1, 3)), degrees=True).as_matrix()
    return flat.reshape(*np.shape(degrees)[:-1], 3, 3)


def mirrored_turn(rotation: Array) -> Array:
    """A rotation (..., 3, 3) of the left side as the right side has it."""
    return _FLIP @ rotation @ _FLIP


def joint_turn(name: str, degrees: Array) -> Array:
    """A joint's rotation (3, 3) by angles (3,) as LIMITS counts them; right sides mirrored."""
    side, _, part = name.rpartition("_")
    rotation = turn(LIMITS[part][0], degrees)
    return mirrored_turn(rotation) if side == "right" else rotation


def random_pose(rng: np.random.Generator) -> Array:
    """Rotations (24, 3, 3) inside the limits; the root is left unturned.

    Extremes are rarer than the middle: the angles follow a beta distribution.
    """
    pose = np.tile(np.eye(3), (SMPL.n_rotations, 1, 1))
    for part, (_, ranges) in LIMITS.items():
        low, high = np.array(ranges).T
        names = [part] if part in JOINT else [f"left_{part}", f"right_{part}"]
        for name in names:
            pose[JOINT[name]] = joint_turn(name, low + (high - low) * rng.beta(1.3, 1.3, 3))
    return pose


def between_keys(keys: Array, at: Array, frames: int) -> Array:
    """Rotations (frames, J, 3, 3) that rest at `keys` (K, J, 3, 3) at the times `at` (K,), 0..1.

    Eased in and out, as limbs start and stop.
    """
    place = np.linspace(0, 1, frames)
    after = np.clip(np.searchsorted(at, place), 1, len(at) - 1)
    share = (place - at[after - 1]) / (at[after] - at[after - 1])
    eased = 0.5 - 0.5 * np.cos(np.pi * share.clip(0, 1))
    start, end = torch.from_numpy(keys[after - 1]), torch.from_numpy(keys[after])
    return slerp(start, end, torch.from_numpy(eased)[:, None]).numpy()
