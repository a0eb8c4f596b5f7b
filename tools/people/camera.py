"""Cameras as people hold, hang and carry them: where they stand, and how they move."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from hpsvid.types import Array
from tools.people.room import View

SIZES = ((384, 384), (480, 336), (336, 480), (448, 336))  # width, height px
SIZE_SHARES = (0.25, 0.3, 0.25, 0.2)
PITCH_RANGE_DEG = (-10, 45)  # positive looks down
LEVEL_PITCH_DEG = (8, 9)  # mean and spread of the half of the cameras that stand as usual
ROLL_DEG = 3.5  # spread of most
TILTED = 0.15  # of the cameras are rolled by anything up to TILTED_DEG
TILTED_DEG = 30
DISTANCE_M = (1.5, 9)  # from lens to the person, more often near
LOWEST_EYE_M, CEILING_M, MAST_M = 0.08, 3.2, 7.0  # a lens on the floor; indoors; outdoors
FILLED = (0.3, 0.9)  # of the picture by the person in view, seen whole
CLOSE = 0.22  # of the shots are closer than that: part of the person is outside
CLOSE_FILLED = (1.0, 1.9)
CLOSE_ASIDE = (0.15, 0.45)  # of the picture, how far the person is then off its middle
FOV_DEG = (18, 100)  # across the picture's longer side
NEAREST_M = 0.3  # of a joint to the lens
INSIDE = 0.4  # of each person's joints over a shot, at least
MOVES = {"static": 0.42, "pan": 0.22, "follow": 0.12, "hand": 0.24}
DOLLY_M_S = (0.2, 0.9)  # how fast a camera is carried along a line, aimed at the people
UPRIGHT = np.diag([1.0, -1, -1])  # world y up to camera y down, looking along -z


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shot:
    """A camera over T frames: camera point = rotation @ world point + translation."""

    K: Array  # (3, 3) px
    rotation: Array  # (T, 3, 3) world to camera
    translation: Array  # (T, 3) m
    width: int  # px
    height: int
    move: str  # one of MOVES, or "dolly"

    @property
    def eyes(self) -> Array:
        """Places of the lens (T, 3) m."""
        return -np.einsum("tji,tj->ti", self.rotation, self.translation)

    def view(self, frame: int) -> View:
        """One frame's camera as `tools.people.room` has it."""
        return View(
            K=self.K,
            rotation=self.rotation[frame],
            translation=self.translation[frame],
            width=self.width,
            height=self.height,
        )

    def camera_points(self, world: Array) -> Array:
        """World points (T, P, 3) m in camera axes."""
        return np.einsum("tij,tpj->tpi", self.rotation, world) + self.translation[:, None]

    def pixels(self, world: Array) -> Array:
        """Picture points (T, P, 2) px of world points (T, P, 3) m."""
        camera = self.camera_points(world)
        return camera[..., :2] / camera[..., 2:] * self.K[[0, 1], [0, 1]] + self.K[:2, 2]


def turn(yaw: Array, pitch: Array, roll: Array) -> Array:
    """World (y up) to camera (y down) rotations (T, 3, 3) from angles (T,) rad.

    yaw 0 looks along -z, at people who face +z; positive pitch looks down.
    """
    about = [
        Rotation.from_euler(axis, angle[:, None]).as_matrix()
        for axis, angle in (("z", roll), ("x", pitch), ("y", yaw))
    ]
    return about[0] @ UPRIGHT @ about[1] @ about[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """How a camera is held, where that is not left to chance."""

    move: str  # one of MOVES, or "dolly": by hand, carried along a line
    pitch_deg: float  # positive looks down
    roll_deg: float


def draw_shot(
    rng: np.random.Generator,
    people: Array,
    *,
    yaw: float | None,
    indoors: bool,
    mount: Mount | None = None,
) -> Shot | None:
    """A random camera that sees the people; None when this one does not, for another try.

    people: (T, P, 29, 3) m world joints, all of whom are to be seen; yaw: rad to look from, None
    for anywhere; mount: None leaves it to chance. A ceiling may lower a given pitch.
    """
    frames = len(people)
    width, height = SIZES[rng.choice(len(SIZES), p=SIZE_SHARES)]
    yaw = rng.uniform(-np.pi, np.pi) if yaw is None else yaw
    target = people.mean((0, 1, 2))
    distance = float(np.exp(rng.uniform(*np.log(DISTANCE_M))))
    pitch = rng.normal(*LEVEL_PITCH_DEG) if rng.random() < 0.5 else rng.uniform(*PITCH_RANGE_DEG)
    pitch = np.radians(np.clip(mount.pitch_deg if mount else pitch, *PITCH_RANGE_DEG))
    highest = CEILING_M if indoors else MAST_M
    rise = np.clip(target[1] + distance * np.sin(pitch), LOWEST_EYE_M, highest) - target[1]
    pitch = np.arcsin(np.clip(rise / distance, -0.95, 0.95))
    roll = (
        rng.uniform(-TILTED_DEG, TILTED_DEG) if rng.random() < TILTED else rng.normal(0, ROLL_DEG)
    )
    move = list(MOVES)[rng.choice(len(MOVES), p=list(MOVES.values()))]
    if mount is not None:
        move, roll = mount.move, mount.roll_deg
    yaws, pitches, rolls, shift = _motion(rng, move, people.mean(1), frames)
    # the place of the lens is set by the undisturbed direction
    ahead = turn(*(np.array([a]) for a in (yaw, pitch, 0.0)))[0, 2]
    eyes = target - distance * ahead + shift
    if move == "dolly":
        away = target - eyes
        yaws = yaws + np.unwrap(np.arctan2(away[:, 0], -away[:, 2])) - yaw
        yaws -= 2 * np.pi * np.round(yaws.mean() / (2 * np.pi))
    rotation = turn(yaw + yaws, pitch + pitches, np.radians(roll) + rolls)
    eyes[:, 1] = eyes[:, 1].clip(LOWEST_EYE_M, highest)
    shot = _aimed(rng, people, rotation, eyes, (width, height), move)
    return shot if shot is not None and sees(shot, people) else None


def _motion(
    rng: np.random.Generator, move: str, person: Array, frames: int
) -> tuple[Array, Array, Array, Array]:
    """Changes of yaw, pitch and roll (T,) rad and of the lens's place (T, 3) m."""
    yaw, pitch, roll = (np.zeros(frames) for _ in range(3))
    shift = np.zeros((frames, 3))
    steps = np.linspace(-0.5, 0.5, frames)
    if move == "pan":
        yaw = steps * np.radians(rng.normal(0, 14))
        pitch = steps * np.radians(rng.normal(0, 4))
        roll = steps * np.radians(rng.normal(0, 2))
    elif move == "follow":
        path = person[:, 0] - person[:, 0].mean(0)
        shift = np.stack([_smooth(path[:, k], 8) for k in range(3)], 1) * [1, 0.2, 1]
    elif move == "dolly":
        course, pace = rng.uniform(-np.pi, np.pi), rng.uniform(*DOLLY_M_S)
        length = pace * frames / 30
        shift = steps[:, None] * length * np.array([np.sin(course), 0.0, np.cos(course)])
    if move in ("hand", "follow", "dolly"):
        size = rng.uniform(0.15, 1.2)
        yaw, pitch, roll = (
            angle + np.radians(size) * _tremor(rng, frames) for angle in (yaw, pitch, roll)
        )
        shift = shift + 0.02 * size * np.stack([_tremor(rng, frames) for _ in range(3)], 1)
    return yaw, pitch, roll, shift


def _tremor(rng: np.random.Generator, frames: int) -> Array:
    """A hand's unrest (T,) of unit size at 30 Hz: slow sway and a weaker shake."""
    time = np.arange(frames) / 30
    out = np.zeros(frames)
    for frequency, size in ((0.35, 1.0), (0.9, 0.5), (2.3, 0.2), (6.0, 0.07)):  # Hz
        rate = frequency * rng.uniform(0.7, 1.4)
        out += size * np.sin(2 * np.pi * (rate * time + rng.random()))
    return out


def _smooth(values: Array, reach: int) -> Array:
    """A running mean (T,) over `reach` frames each way, ends repeated."""
    padded = np.pad(values, reach, mode="edge")
    return np.convolve(padded, np.ones(2 * reach + 1) / (2 * reach + 1), "valid")


def _aimed(
    rng: np.random.Generator,
    people: Array,
    rotation: Array,
    eyes: Array,
    size: tuple[int, int],
    move: str,
) -> Shot | None:
    """The shot whose focal length and aim show the people as large as wanted."""
    width, height = size
    translation = -np.einsum("tij,tj->ti", rotation, eyes)
    joints = people.reshape(len(people), -1, 3)
    camera = np.einsum("tij,tpj->tpi", rotation, joints) + translation[:, None]
    if camera[..., 2].min() < NEAREST_M:
        return None
    flat = camera[..., :2] / camera[..., 2:]
    low, high = flat.min(1), flat.max(1)
    extent = np.maximum((high - low).mean(0), 0.02)
    close = rng.random() < CLOSE
    filled = rng.uniform(*(CLOSE_FILLED if close else FILLED))
    focal = filled * min(width / extent[0], height / extent[1])
    longer = max(size) / 2
    limits = [longer / np.tan(np.radians(fov) / 2) for fov in FOV_DEG]
    focal = float(np.clip(focal, limits[1], limits[0]))
    # turn the camera so that the person is where it should be: the lens keeps its middle
    wanted = np.zeros(2)
    if close:
        angle = rng.uniform(0, 2 * np.pi)
        wanted = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(*CLOSE_ASIDE)
    else:
        free = np.maximum(1 - focal * extent / size, 0) / 2
        wanted = rng.uniform(-1, 1, 2) * free * 0.8
    aim = ((low + high) / 2).mean(0) - wanted * np.array(size) / focal
    rotation = _towards(aim) @ rotation
    return Shot(
        K=np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]]),
        rotation=rotation,
        translation=-np.einsum("tij,tj->ti", rotation, eyes),
        width=width,
        height=height,
        move=move,
    )


def _towards(aim: Array) -> Array:
    """The rotation (3, 3) that brings the ray (aim, 1) to the picture's middle, upright."""
    ahead = np.array([*aim, 1.0]) / np.linalg.norm([*aim, 1.0])
    right = np.cross([0.0, 1.0, 0.0], ahead)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(ahead, right), ahead])


def sees(shot: Shot, people: Array) -> bool:
    """Whether everybody (T, P, 29, 3) stays before the lens and enough of them in the picture."""
    camera = shot.camera_points(people.reshape(len(people), -1, 3))
    if camera[..., 2].min() < NEAREST_M:
        return False
    flat = camera[..., :2] / camera[..., 2:] * shot.K[[0, 1], [0, 1]] + shot.K[:2, 2]
    inside = ((flat >= 0) & (flat < [shot.width, shot.height])).all(-1)
    share = inside.reshape(people.shape[:3]).mean(2)  # of each person's joints in each frame
    return bool((share.mean(0) > INSIDE).all() and (share > 0.15).mean() > 0.85)
