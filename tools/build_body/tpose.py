"""Turn MakeHuman's A-pose into SMPL's T-pose, batched over people."""

import numpy as np
from scipy.spatial.transform import Rotation

# Bones that are turned; every other MakeHuman bone follows its nearest turned ancestor.
TURNED = (
    "clavicle", "shoulder01", "upperarm01", "lowerarm01", "wrist",
    "upperleg01", "lowerleg01", "foot",
)  # fmt: skip
GROUPS = ("body", *(f"{bone}.{side}" for side in "LR" for bone in TURNED))
# Directions of the left limbs in the T-pose (x left, y up, z front), read off published figures
# of SMPL's rest pose; the right side is mirrored.
UPPER_ARM = np.array([0.99, -0.05, -0.10])
FOREARM = np.array([1.0, 0.02, -0.01])
HAND = np.array([1.0, -0.03, 0.0])
LEG = np.array([0.025, -0.997, -0.06])  # hip to ankle
CLAVICLE_RAISE = np.radians(10)
SHOULDER_RAISE = np.radians(7)
FOOT_OUT = np.radians(6)

Heads = dict[str, np.ndarray]  # bone -> (people, 3) m


def group_of(bone: str, parents: dict[str, str]) -> int:
    """Index in GROUPS of the turned bone that carries `bone`."""
    while bone and bone not in GROUPS:
        bone = parents[bone]
    return GROUPS.index(bone) if bone else 0


def to_t_pose(heads: Heads) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (people, G, 3, 3) and offsets (people, G, 3) m that take each group to T-pose."""
    frames = _Frames(len(heads["root"]))
    for side, sign in (("L", 1.0), ("R", -1.0)):
        _pose_arm(frames, heads, side, np.array([sign, 1, 1]))
        _pose_leg(frames, heads, side, np.array([sign, 1, 1]))
    return frames.rotations, frames.offsets


def posed_head(
    heads: Heads, frames: tuple[np.ndarray, np.ndarray], bone: str, parents: dict[str, str]
) -> np.ndarray:
    """Where a bone's head lies after `frames` (rotations, offsets): (people, 3) m."""
    group = group_of(bone, parents)
    rotations, offsets = frames
    return _turn(rotations[:, group], heads[bone]) + offsets[:, group]


class _Frames:
    """The groups' rigid motions while they are being built, parents first."""

    def __init__(self, people: int) -> None:
        self.rotations = np.tile(np.eye(3), (people, len(GROUPS), 1, 1))
        self.offsets = np.zeros((people, len(GROUPS), 3))

    def of(self, group: str) -> np.ndarray:
        return self.rotations[:, GROUPS.index(group)]

    def put(self, group: str, parent: str, rotation: np.ndarray, pivot: np.ndarray) -> None:
        """Turn `group` to the world `rotation` about `pivot`, a rest point that `parent` moves."""
        index, above = GROUPS.index(group), GROUPS.index(parent)
        held = _turn(self.rotations[:, above], pivot) + self.offsets[:, above]
        self.rotations[:, index] = rotation
        self.offsets[:, index] = held - _turn(rotation, pivot)


def _pose_arm(frames: _Frames, heads: Heads, side: str, flip: np.ndarray) -> None:
    clavicle, shoulder, upper, lower, wrist = (f"{bone}.{side}" for bone in TURNED[:5])
    front = np.array([0, 0, 1.0])
    raised = rotation_about(front, np.array(flip[0] * CLAVICLE_RAISE))[None]
    frames.put(clavicle, "body", raised, heads[clavicle])
    raised = frames.of(clavicle) @ rotation_about(front, np.array(flip[0] * SHOULDER_RAISE))
    frames.put(shoulder, clavicle, raised, heads[shoulder])

    hangs = _turn(frames.of(shoulder), heads[lower] - heads[upper])
    frames.put(upper, shoulder, rotation_between(hangs, UPPER_ARM * flip) @ frames.of(shoulder),
               heads[upper])  # fmt: skip
    hangs = _turn(frames.of(upper), heads[wrist] - heads[lower])
    straight = rotation_between(hangs, FOREARM * flip) @ frames.of(upper)

    # Roll the forearm until the line of knuckles lies level, so that the palm looks down; half
    # of the roll is made at the elbow, the other half at the wrist.
    axis = unit(FOREARM * flip)
    knuckles = _turn(straight, heads[f"finger2-1.{side}"] - heads[f"finger5-1.{side}"])
    now = unit(knuckles - (knuckles @ axis)[:, None] * axis)
    wanted = unit(front - (front @ axis) * axis)
    angle = np.arctan2((np.cross(now, wanted) * axis).sum(-1), (now * wanted).sum(-1))
    half = rotation_about(axis, 0.5 * angle)
    frames.put(lower, upper, half @ straight, heads[lower])
    rolled = half @ half @ straight
    middle = (heads[f"finger3-1.{side}"] + heads[f"finger4-1.{side}"]) / 2 - heads[wrist]
    level = rotation_between(_turn(rolled, middle), HAND * flip)
    frames.put(wrist, lower, level @ rolled, heads[wrist])


def _pose_leg(frames: _Frames, heads: Heads, side: str, flip: np.ndarray) -> None:
    """Turn the whole leg about the hip and keep its natural shape; feet stay level."""
    upper, lower, foot = (f"{bone}.{side}" for bone in TURNED[5:])
    up = np.array([0, 1.0, 0])
    hip = 0.7 * heads[upper] + 0.3 * heads[f"upperleg02.{side}"]
    outwards = rotation_about(up, np.array(flip[0] * FOOT_OUT * 0.5))
    turned = outwards @ rotation_between(heads[foot] - hip, LEG * flip)
    frames.put(upper, "body", turned, hip)
    frames.put(lower, upper, turned, heads[lower])
    level = np.broadcast_to(rotation_about(up, np.array(flip[0] * FOOT_OUT)), turned.shape)
    frames.put(foot, lower, level, heads[foot])


def _turn(rotations: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.einsum("nij,nj->ni", rotations, points)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) at length one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def rotation_about(axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) by `angle` (...) rad about the unit `axis` (..., 3)."""
    return (
        Rotation.from_rotvec((axis * angle[..., None]).reshape(-1, 3))
        .as_matrix()
        .reshape(*angle.shape, 3, 3)
    )


def rotation_between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Smallest rotations (..., 3, 3) from directions `source` (..., 3) to `target` (3,)."""
    source, target = unit(source), unit(target)
    axis = np.cross(source, target)
    angle = np.arctan2(np.linalg.norm(axis, axis=-1), source @ target)
    return rotation_about(unit(axis), angle)


def dual_quaternions(rotations: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rigid motions (..., 3, 3), (..., 3) as real and dual parts (..., 4), scalar first, real >= 0.

    Kavan et al., "Skinning with dual quaternions", I3D 2007. No motion here turns by half a
    circle or more against the trunk, so the sign of the scalar keeps all on one hemisphere.
    """
    real = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_quat()[:, [3, 0, 1, 2]]
    real *= np.where(real[:, :1] < 0, -1, 1)
    real = real.reshape(*rotations.shape[:-2], 4)
    scalar, vector = real[..., :1], real[..., 1:]
    dual = np.concatenate(
        [
            -(offsets * vector).sum(-1, keepdims=True),
            scalar * offsets + np.cross(offsets, vector),
        ],
        -1,
    )
    return real, 0.5 * dual


def blend_skin(
    points: np.ndarray, weights: np.ndarray, real: np.ndarray, dual: np.ndarray
) -> np.ndarray:
    """Dual quaternion skinning of points ([n,] V, 3) by weights (V, B) and parts (n, B, 4)."""
    real, dual = weights @ real, weights @ dual
    length = np.linalg.norm(real, axis=-1, keepdims=True)
    real, dual = real / length, dual / length
    scalar, vector = real[..., :1], real[..., 1:]
    shift = 2 * (scalar * dual[..., 1:] - dual[..., :1] * vector + np.cross(vector, dual[..., 1:]))
    return points + 2 * np.cross(vector, np.cross(vector, points) + scalar * points) + shift
