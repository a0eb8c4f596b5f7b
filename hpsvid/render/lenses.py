"""Where pictures of a motion are taken from: the clip's camera, or one beside, above, around."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hpsvid.body.world import to_world
from hpsvid.options import ViewName
from hpsvid.types import Array, Motion

ORBIT_S = 10.0  # of a whole turn
_ORBIT_DOWN = math.radians(12)  # how far the circling camera looks down
_ROOM_M = 1.3  # around the pelves, so that whole bodies are in the picture
_CAMERA_TO_Y_UP = np.diag([1.0, -1.0, -1.0])
_FOCAL = 1.5  # of the picture's longer side: a narrow lens, little perspective
# rows: the virtual camera's x right, y down, z forward in a world with y up
_SIDE = np.array([[0.0, 0, -1], [0, -1, 0], [-1, 0, 0]])  # looks along -x
_TOP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # looks down
OF_THE_CLIP: tuple[ViewName, ...] = ("overlay", "skeleton", "mesh")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lens:
    """A camera in the world, y up: its point = R world point + t."""

    R: Array  # (3, 3) float64
    t: Array  # (3,) float64 m
    K: Array  # (3, 3) px

    def sees(self, points: Array) -> Array:
        """Points (N, 3) m of the world in this camera's axes, float32."""
        return (points @ self.R.T + self.t).astype(np.float32)


LensAt = Callable[[int], Lens]
"""The camera of a frame of the clip."""


def placed(motion: Motion, points: Array, index: int) -> Array:
    """Points (N, 3) m of the clip's camera in a world with y up: the ground's where it is known."""
    if motion.world is None:
        return points @ _CAMERA_TO_Y_UP
    return to_world(points[None], motion.world, np.array([index]))[0]


def pelvis_ways(motion: Motion) -> Array:
    """Where all pelves are over time, (N, 3) m, as `placed` has them; the origin for nobody."""
    return np.concatenate(
        [np.zeros((0 if motion.people else 1, 3))]
        + [
            placed(motion, person.joints[row, :1], int(index))
            for person in motion.people
            for row, index in enumerate(person.track.frame_index)
        ]
    )


def lens_of(view: ViewName, motion: Motion) -> LensAt:
    """The camera of a view: the clip's own, or one that sees all of the motion.

    side and top stand still; orbit goes round the middle of the motion once in ten seconds.
    """
    if view in OF_THE_CLIP:
        return lambda index: _own_lens(motion, index)
    width, height = motion.clip.width, motion.clip.height
    ways = pelvis_ways(motion)
    focal = _FOCAL * max(width, height)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    if view == "orbit":
        return _orbit(motion, ways, K)
    still = _still(ways, _SIDE if view == "side" else _TOP, K)
    return lambda index: still


def _own_lens(motion: Motion, index: int) -> Lens:
    K = motion.camera.K
    if motion.world is None:
        return Lens(R=_CAMERA_TO_Y_UP, t=np.zeros(3), K=K)
    R = motion.world.R[index].T
    return Lens(R=R, t=-R @ motion.world.t[index], K=K)


def _still(ways: Array, turn: Array, K: Array) -> Lens:
    """A camera with the axes `turn` that sees all of the pelves' ways (N, 3)."""
    seen = ways @ turn.T
    low, high = seen.min(0) - _ROOM_M, seen.max(0) + _ROOM_M
    middle, (wide, tall, deep) = (low + high) / 2, high - low
    width, height = 2 * K[:2, 2]
    distance = K[0, 0] * max(wide / width, tall / height) + deep / 2
    return Lens(R=turn, t=np.array([0, 0, distance]) - middle, K=K)


def _orbit(motion: Motion, ways: Array, K: Array) -> LensAt:
    """A camera that circles around the ways (N, 3) and always sees all of them."""
    low, high = ways.min(0), ways.max(0)
    middle, tall = (low + high) / 2, (high[1] - low[1]) / 2 + _ROOM_M
    radius = float(np.linalg.norm((ways - middle)[:, [0, 2]], axis=1).max()) + _ROOM_M
    half_x, half_y = (math.atan(float(side) / K[0, 0]) for side in K[:2, 2])
    away = np.array([0, 0, max(radius / math.sin(half_x), tall / math.tan(half_y) + radius)])
    cos, sin = math.cos(_ORBIT_DOWN), math.sin(_ORBIT_DOWN)
    down = np.array([[1, 0, 0], [0, -cos, -sin], [0, sin, -cos]])

    def lens(index: int) -> Lens:
        angle = 2 * math.pi * float(motion.pts_s[index] - motion.pts_s[0]) / ORBIT_S
        cos, sin = math.cos(angle), math.sin(angle)
        R = down @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
        return Lens(R=R, t=away - R @ middle, K=K)

    return lens
