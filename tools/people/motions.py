"""What people do before the camera: captured, put together, or posed inside the joints' limits."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from hpsvid.body.skeleton import JOINT, SMPL
from hpsvid.mocap.amass import MotionCapture
from hpsvid.mocap.sources import MotionSource
from hpsvid.mocap.takes import chimera
from hpsvid.types import Array
from tools.people.limits import between_keys, joint_turn, random_pose

# kind -> share of the motions
KINDS = {
    "captured": 0.30,
    "varied": 0.17,  # captured, with an arm or the upper body of another motion
    "recombined": 0.17,  # limbs of several captures, bent as nobody was captured
    "limits": 0.08,  # poses inside the joints' limits
    "sitting": 0.10,
    "lying": 0.07,
    "reaching": 0.11,  # arms stretched to the camera
}
SEATS = ("chair", "floor", "crossed")  # how people sit
CALM = 0.5  # of the captured turns of a sitting or lying trunk
TUMBLED = 0.2  # of the limits' poses are turned any way round
LEGS = [JOINT[f"{s}_{p}"] for s in ("left", "right") for p in ("hip", "knee", "ankle", "foot")]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Motion:
    """One person's motion of T frames, world axes: y up, metres, facing +z at no turn."""

    kind: str
    rotmats: Array  # (T, 24, 3, 3) float64
    transl: Array  # (T, 3) m; posed vertex + transl = world point
    keeps_floor: bool  # the motion has its own heights: it may jump; else feet are put down
    facing: bool = False  # to be seen from the front
    seat: str = ""  # one of SEATS for who sits
    rests: bool = False  # lies with all its weight: it is tilted until it does

    def __len__(self) -> int:
        return len(self.rotmats)


def draw_kind(rng: np.random.Generator) -> str:
    """One of KINDS by their shares."""
    return list(KINDS)[rng.choice(len(KINDS), p=list(KINDS.values()))]


def draw_motion(rng: np.random.Generator, source: MotionSource, kind: str) -> Motion:
    """A motion of that kind, of the source's length."""
    makers = {
        "captured": _captured,
        "varied": _varied,
        "recombined": _recombined,
        "limits": _inside_limits,
        "sitting": _sitting,
        "lying": _lying,
        "reaching": _reaching,
    }
    return makers[kind](rng, source)


def _as_motion(capture: MotionCapture, kind: str, *, keeps_floor: bool) -> Motion:
    return Motion(
        kind=kind,
        rotmats=capture.rotmats.astype(np.float64),
        transl=capture.transl.astype(np.float64),
        keeps_floor=keeps_floor,
    )


def _captured(rng: np.random.Generator, source: MotionSource) -> Motion:
    return _as_motion(source.plain(rng), "captured", keeps_floor=True)


def _varied(rng: np.random.Generator, source: MotionSource) -> Motion:
    return _as_motion(source.varied(rng), "varied", keeps_floor=False)


def _recombined(rng: np.random.Generator, source: MotionSource) -> Motion:
    return _as_motion(chimera(rng, source), "recombined", keeps_floor=False)


def _inside_limits(rng: np.random.Generator, source: MotionSource) -> Motion:
    """From pose to pose in one or two moves, on the spot."""
    count = int(rng.integers(2, 4))
    at = np.linspace(0, 1, count)
    keys = np.stack([random_pose(rng) for _ in range(count)])
    rotmats = between_keys(keys, at, source.length)
    tumbled = rng.random() < TUMBLED
    root = Rotation.from_quat(rng.normal(size=4)) if tumbled else _upright(rng, 15)
    sway = between_keys(
        np.stack([_upright(rng, 10, yaw=25).as_matrix()[None] for _ in range(count)]),
        at,
        source.length,
    )
    rotmats[:, 0] = root.as_matrix() @ sway[:, 0]
    return Motion(
        kind="limits",
        rotmats=rotmats,
        transl=np.zeros((source.length, 3)),
        keeps_floor=False,
        rests=tumbled,
    )


def _upright(rng: np.random.Generator, lean_deg: float, yaw: float = 180) -> Rotation:
    """A turn about the vertical (up to `yaw` degrees each way) with a lean of that spread."""
    lean = Rotation.from_rotvec(np.radians(rng.normal(0, lean_deg, 3)) * [1, 0, 1])
    return Rotation.from_euler("y", rng.uniform(-yaw, yaw), degrees=True) * lean


def _calmed(rng: np.random.Generator, source: MotionSource) -> Array:
    """A captured motion's rotations (T, 24, 3, 3), the root unturned and the trunk's halved."""
    rotmats = source.varied(rng).rotmats.astype(np.float64)
    rotmats[:, 0] = np.eye(3)
    for name in ("spine1", "spine2", "spine3"):
        turned = Rotation.from_matrix(rotmats[:, JOINT[name]]).as_rotvec()
        rotmats[:, JOINT[name]] = Rotation.from_rotvec(CALM * turned).as_matrix()
    return rotmats


def _sitting(rng: np.random.Generator, source: MotionSource) -> Motion:
    """Somebody on a chair, on the floor with legs stretched, or cross-legged; arms as captured."""
    rotmats = _calmed(rng, source)
    seat = SEATS[rng.choice(3, p=(0.6, 0.2, 0.2))]
    bent, spread, twist, knee = {
        "chair": ((-105, -70), (0, 22), (-10, 10), (60, 115)),
        "floor": ((-95, -65), (0, 25), (-15, 15), (0, 45)),
        "crossed": ((-110, -85), (25, 45), (20, 45), (95, 135)),
    }[seat]
    alike = rng.random(4)
    for side in ("left", "right"):
        part = (0.6 * alike + 0.4 * rng.random(4)).clip(0, 1)
        low, high = np.array([bent, spread, twist, knee], float).T
        chosen = low + part * (high - low)
        angles = {
            "hip": chosen[:3],
            "knee": np.array([chosen[3], 0, 0]),
            "ankle": rng.normal([5, 0, 0], [12, 4, 4]),
        }
        for name, degrees in angles.items():
            rest = joint_turn(f"{side}_{name}", degrees)
            other = joint_turn(f"{side}_{name}", degrees + rng.normal(0, 4, 3))
            joint = JOINT[f"{side}_{name}"]
            keys = np.stack([rest, other])[:, None]
            rotmats[:, joint] = between_keys(keys, np.array([0.0, 1.0]), len(rotmats))[:, 0]
        rotmats[:, JOINT[f"{side}_foot"]] = np.eye(3)
    lean = Rotation.from_euler("x", rng.uniform(-20, 25), degrees=True)
    rotmats[:, 0] = (_upright(rng, 4) * lean).as_matrix()
    return Motion(
        kind="sitting",
        rotmats=rotmats,
        transl=np.zeros((len(rotmats), 3)),
        keeps_floor=False,
        seat=seat,
        rests=seat != "chair",
    )


def _lying(rng: np.random.Generator, source: MotionSource) -> Motion:
    """Somebody on back, belly or side; limbs as captured or inside the limits."""
    rotmats = _calmed(rng, source)
    if rng.random() < 0.4:
        pose = random_pose(rng)
        limbs = [*LEGS, *(JOINT[f"{s}_{p}"] for s in ("left", "right") for p in
                          ("shoulder", "elbow"))]  # fmt: skip
        rotmats[:, limbs] = pose[limbs]
    way = rng.choice(4, p=(0.45, 0.25, 0.15, 0.15))
    down = (("x", -90), ("x", 90), ("z", 90), ("z", -90))[way]
    flat = Rotation.from_euler(*down, degrees=True)
    yaw = Rotation.from_euler("y", rng.uniform(-180, 180), degrees=True)
    tilt = Rotation.from_rotvec(np.radians(rng.normal(0, 8, 3)))
    rotmats[:, 0] = (yaw * tilt * flat).as_matrix()
    return Motion(
        kind="lying",
        rotmats=rotmats,
        transl=np.zeros((len(rotmats), 3)),
        keeps_floor=False,
        rests=True,
    )


def _reaching(rng: np.random.Generator, source: MotionSource) -> Motion:
    """One arm or both go out straight ahead, to where the camera is, and a part of the way back."""
    motion = source.plain(rng) if rng.random() < 0.6 else source.varied(rng)
    rotmats = motion.rotmats.astype(np.float64)
    frames = len(rotmats)
    facing = Rotation.from_matrix(rotmats[frames // 2, 0]).apply([0, 0, 1])
    back = Rotation.from_euler("y", -np.arctan2(facing[0], facing[2]))
    rotmats[:, 0] = back.as_matrix() @ rotmats[:, 0]
    transl = back.apply(motion.transl.astype(np.float64))
    sides = (("left",), ("right",), ("left", "right"))[rng.choice(3, p=(0.2, 0.2, 0.6))]
    when = np.array([0, rng.uniform(0.15, 0.6), 1.0])
    for side in sides:
        out = {
            "collar": rng.uniform([-15, 0, 0], [0, 15, 1]),
            "shoulder": rng.uniform([-110, -35, -40], [-60, 35, 40]),
            "elbow": rng.uniform([-35, 0, -30], [0, 1, 40]),
            "wrist": rng.uniform([-15, -30, -5], [15, 60, 5]),
        }
        for name, degrees in out.items():
            joint = JOINT[f"{side}_{name}"]
            # a half-way return would end in the pose the capture had at the end
            keys = np.stack(
                [rotmats[0, joint],
                 joint_turn(f"{side}_{name}", degrees),
                 joint_turn(f"{side}_{name}", degrees + rng.normal(0, 8, 3))]
            )[:, None]  # fmt: skip
            rotmats[:, joint] = between_keys(keys, when, frames)[:, 0]
    for name in ("spine1", "spine2", "spine3"):
        turned = Rotation.from_matrix(rotmats[:, JOINT[name]]).as_rotvec()
        rotmats[:, JOINT[name]] = Rotation.from_rotvec(CALM * turned).as_matrix()
    return Motion(kind="reaching", rotmats=rotmats, transl=transl, keeps_floor=False, facing=True)


def hugging(rng: np.random.Generator, motion: Motion) -> Motion:
    """The motion with both arms round somebody who stands close in front; it stays on the spot."""
    rotmats = motion.rotmats.copy()
    for side in ("left", "right"):
        arms = {
            "shoulder": rng.uniform([-95, -25, -40], [-65, 20, 40]),
            "elbow": rng.uniform([-105, 0, -20], [-55, 1, 40]),
        }
        for name, degrees in arms.items():
            keys = np.stack(
                [joint_turn(f"{side}_{name}", degrees + rng.normal(0, 6, 3)) for _ in range(2)]
            )[:, None]
            joint = JOINT[f"{side}_{name}"]
            rotmats[:, joint] = between_keys(keys, np.array([0, 1.0]), len(rotmats))[:, 0]
    return replace(motion, rotmats=rotmats, transl=motion.transl * [0.2, 1, 0.2])


def turned_about(motion: Motion, yaw: float, pelvis: Array, place: Array) -> Motion:
    """The motion turned by `yaw` (rad) with its middle frame's pelvis above `place` (3,) m.

    pelvis: (3,) m, where the rest body has it: SMPL turns a body about its pelvis.
    """
    turn = Rotation.from_euler("y", yaw)
    rotmats = motion.rotmats.copy()
    rotmats[:, 0] = turn.as_matrix() @ rotmats[:, 0]
    point = turn.apply(motion.transl + pelvis)
    middle = point[len(point) // 2] * [1, 0, 1]
    return replace(motion, rotmats=rotmats, transl=point - middle + place - pelvis)


def as_capture(motion: Motion, betas: Array) -> MotionCapture:
    """The motion as `hpsvid.mocap.amass` has captures, on a body of these betas (B,)."""
    assert motion.rotmats.shape[1] == SMPL.n_rotations
    return MotionCapture(
        name=motion.kind,
        rotmats=motion.rotmats.astype(np.float32),
        transl=motion.transl.astype(np.float32),
        betas=betas,
        fps=30.0,
        licence="",
    )
