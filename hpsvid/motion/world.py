"""Which way is up, and where the ground is: from people who stand upright and their feet.

One camera that stands still; the world's axes are those of `hpsvid.types.World`.
"""

from collections.abc import Sequence

import numpy as np

from hpsvid.body.skeleton import JOINT
from hpsvid.options import Options
from hpsvid.types import Array, Person, World

LEVEL = np.array([0.0, -1.0, 0.0])  # up, of a camera that is level
# Who stands or walks: trunk and legs point the same way within so many degrees, and make up at
# least so much of the length that they have when stretched.
IN_LINE_DEG = 25.0
LEVEL_SIGMA_DEG = 15.0  # how far off level a camera usually is
AXIS_SIGMA_DEG = 4.0  # how far off a standing person's axis is, however long it is watched
SPREAD_DEG = 8.0  # of one frame's axis about the vertical; what is further off counts less
ROUNDS = 20  # of reweighting
FEET = [JOINT[f"{side}_{part}"] for side in ("left", "right") for part in ("ankle", "big_toe")]
SOLE_M = 0.02  # from a toe's joint down to the ground
STANDS_SHARE = 0.1  # of the frames in which the lowest foot is lowest: there it surely stands


def find_world(people: Sequence[Person], frames: int, options: Options) -> World:
    """The ground that these people stand on; frames: F of the clip."""
    up, sigma, made_from = _direction(people, options)
    R = _axes(up)
    feet = np.concatenate([_lowest(person, R) for person in people])
    floor = float(np.quantile(feet, STANDS_SHARE)) - SOLE_M
    first = min(people, key=lambda person: int(person.track.frame_index[0]))
    origin = R @ first.joints[0, 0].astype(np.float64)
    t = -np.array([origin[0], floor, origin[2]])
    return World(
        up=up,
        up_sigma_deg=sigma,
        R=np.repeat(R[None], frames, 0),
        t=np.repeat(t[None], frames, 0),
        made_from=made_from,
    )


def _direction(people: Sequence[Person], options: Options) -> tuple[Array, float, str]:
    """Up (3,) in the camera's axes, its standard deviation in degrees, and what says so."""
    if options.up == "camera":
        found, sigma, made_from = LEVEL, LEVEL_SIGMA_DEG, "the camera taken as level"
    else:
        axes = np.concatenate([upright_axes(person) for person in people])
        found, sigma = upright(axes)
        made_from = f"{len(axes)} frames of standing people" if len(axes) else "nobody who stands"
    if options.pitch is None and options.roll is None:
        return found, sigma, made_from
    pitch, roll = pitch_and_roll(found)
    pitch = pitch if options.pitch is None else np.deg2rad(options.pitch)
    roll = roll if options.roll is None else np.deg2rad(options.roll)
    both = options.pitch is not None and options.roll is not None
    up = up_of(pitch, roll)
    return up, 0.0 if both else sigma, "--pitch, --roll" if both else f"{made_from}; as given"


def up_of(pitch: float, roll: float) -> Array:
    """Up (3,) in camera axes of a camera that looks down by `pitch`, turned clockwise by `roll`."""
    return np.array([-np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch), -np.sin(pitch)])


def pitch_and_roll(up: Array) -> tuple[float, float]:
    """The inverse of `up_of`, rad."""
    return float(np.arcsin(np.clip(-up[2], -1, 1))), float(np.arctan2(-up[0], -up[1]))


def upright_axes(person: Person) -> Array:
    """From the ankles to the neck, unit (N, 3), in the frames where a person stands upright."""
    joints = person.joints[person.valid].astype(np.float64)
    ankles = (joints[:, JOINT["left_ankle"]] + joints[:, JOINT["right_ankle"]]) / 2
    legs, trunk = joints[:, 0] - ankles, joints[:, JOINT["neck"]] - joints[:, 0]
    cosine = (legs * trunk).sum(-1) / (
        np.linalg.norm(legs, axis=-1) * np.linalg.norm(trunk, axis=-1)
    )
    axis = (legs + trunk)[cosine > np.cos(np.deg2rad(IN_LINE_DEG))]
    return axis / np.linalg.norm(axis, axis=-1, keepdims=True)


def upright(axes: Array) -> tuple[Array, float]:
    """The direction (3,) that most axes (N, 3) agree with, and its standard deviation, degrees.

    Lying and leaning people are outvoted: an axis far from the others counts little. A camera is
    usually about level, which counts as one more axis of LEVEL_SIGMA_DEG.
    """
    if not len(axes):
        return LEVEL, LEVEL_SIGMA_DEG
    up = np.median(axes, axis=0)
    up /= np.linalg.norm(up)
    for _ in range(ROUNDS):
        off = np.rad2deg(np.arccos(np.clip(axes @ up, -1, 1)))
        weight = 1 / (1 + (off / SPREAD_DEG) ** 2) ** 2
        seen = (weight[:, None] * axes).sum(0) / weight.sum()
        level = (AXIS_SIGMA_DEG / LEVEL_SIGMA_DEG) ** 2
        up = seen / np.linalg.norm(seen) + level * LEVEL
        up /= np.linalg.norm(up)
    spread = float(np.sqrt((weight * off**2).sum() / weight.sum() / len(axes)))
    return up, float(np.hypot(AXIS_SIGMA_DEG, spread))


def _axes(up: Array) -> Array:
    """Rotation (3, 3) from camera axes to the world's: y up, the camera's view along -z."""
    forward = np.array([0.0, 0.0, 1.0])
    if abs(up @ forward) > np.cos(np.deg2rad(5)):  # straight down: the picture's top is forward
        forward = np.array([0.0, -1.0, 0.0])
    back = -(forward - (forward @ up) * up)
    back /= np.linalg.norm(back)
    return np.stack([np.cross(up, back), up, back])


def _lowest(person: Person, R: Array) -> Array:
    """Height (T,) m, in R's axes, of the lower foot in each frame."""
    return (person.joints[:, FEET].astype(np.float64) @ R.T)[..., 1].min(1)
