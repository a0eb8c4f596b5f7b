"""Joint angles in the manner of the International Society of Biomechanics, in degrees.

Wu et al., J. Biomech. 2002 (hip, ankle, spine) and 2005 (shoulder, elbow). A segment's frame has x
to the front, y along the segment to its proximal end, z to the right. Frames are put into the rest
pose from its joint centres, so a straight limb in line with its parent is at zero. Trunk, hip and
knee turn about z, x, y one after the other, the shoulder about y, x, y; left limbs are mirrored, so
that signs mean the same on both sides.
"""

import numpy as np

from hpsvid.body.skeleton import JOINT
from hpsvid.formats.euler import euler_zxy
from hpsvid.formats.figure import WORLD_AXES, Figure
from hpsvid.types import Array

_FRONT, _TOP = np.array([0.0, 0, 1]), np.array([0.0, 1, 0])  # of the rest pose
_MIRROR = np.diag([1.0, 1.0, -1.0])  # right for left, in a segment's frame
_LIMBS = {  # segment: joint that turns it, the joint at its far end
    "thigh": ("hip", "knee"), "shank": ("knee", "ankle"),
    "upper_arm": ("shoulder", "elbow"), "forearm": ("elbow", "wrist"),
}  # fmt: skip
_SIDES = {"r": "right", "l": "left"}
PELVIS_ANGLES = ("pelvis_tilt", "pelvis_list", "pelvis_rotation")
_TRUNK_ANGLES = ("lumbar_extension", "lumbar_bending", "lumbar_rotation")


def joint_angles(figure: Figure) -> dict[str, Array]:
    """Angles (T,) in degrees by OpenSim's names, where it has one for what they mean.

    Positive: pelvis_tilt backward, pelvis_list to the right, pelvis_rotation to the left (all
    three are 0 for someone upright who faces +x); lumbar_extension backward, bending to the right,
    rotation to the left; hip_flexion forward, hip_adduction and hip_rotation inward; knee_angle
    bent; ankle_angle toes up; shoulder_plane 0 to the side and 90 to the front,
    shoulder_elevation raised, shoulder_rotation inward (plane and rotation are not determined
    while the arm hangs or points straight up); elbow_flex bent; pro_sup palm inward from beside
    the body to the back.
    """
    frames = _segment_frames(figure)
    upright = WORLD_AXES[figure.up].T @ frames["pelvis"]  # in a world with y up
    angles: dict[str, Array] = dict(zip(PELVIS_ANGLES, _zxy(upright), strict=True))
    trunk = frames["pelvis"].mT @ frames["thorax"]
    angles |= dict(zip(_TRUNK_ANGLES, _zxy(trunk), strict=True))
    for side in _SIDES:
        angles |= {f"{name}_{side}": values for name, values in _limbs(frames, side).items()}
    return angles


def _limbs(frames: dict[str, Array], side: str) -> dict[str, Array]:
    """The angles of one side's arm and leg."""

    def between(parent: str, child: str) -> Array:
        relative = frames[parent].mT @ frames[child]
        return relative if side == "r" else _MIRROR @ relative @ _MIRROR

    flexion, adduction, rotation = _zxy(between("pelvis", f"thigh_{side}"))
    plane, elevation, turn = _yxy(between("thorax", f"upper_arm_{side}"))
    elbow, _, pronation = _zxy(between(f"upper_arm_{side}", f"forearm_{side}"))
    return {
        "hip_flexion": flexion,
        "hip_adduction": adduction,
        "hip_rotation": rotation,
        "knee_angle": -_zxy(between(f"thigh_{side}", f"shank_{side}"))[0],
        "ankle_angle": _zxy(between(f"shank_{side}", f"foot_{side}"))[0],
        "shoulder_plane": plane,
        "shoulder_elevation": elevation,
        "shoulder_rotation": turn,
        "elbow_flex": elbow,
        "pro_sup": pronation,
    }


def _segment_frames(figure: Figure) -> dict[str, Array]:
    """Frames (T, 3, 3) of the segments by name, columns x, y, z; sides as `_r`, `_l`."""
    turned, upright = figure.posed[1], _frame(_TOP)
    frames = {"pelvis": turned[:, 0] @ upright, "thorax": turned[:, JOINT["spine3"]] @ upright}
    for letter, side in _SIDES.items():
        frames[f"foot_{letter}"] = turned[:, JOINT[f"{side}_ankle"]] @ upright
        for segment, (near, far) in _LIMBS.items():
            joint = JOINT[f"{side}_{near}"]
            along = figure.rest[joint] - figure.rest[JOINT[f"{side}_{far}"]]
            frames[f"{segment}_{letter}"] = turned[:, joint] @ _frame(along)
    return frames


def _frame(along: Array) -> Array:
    """A segment's frame (3, 3) in the rest pose, y along `along`, x to the front."""
    y = along / np.linalg.norm(along)
    x = _FRONT - (_FRONT @ y) * y
    x /= np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)], 1)


def _zxy(rotmats: Array) -> Array:
    """Angles (3, T) about z, x, y in degrees, continuous, the first as near to 0 as can be."""
    return _degrees(euler_zxy(rotmats))


def _yxy(rotmats: Array) -> Array:
    """Plane, elevation in [0, 180], axial rotation (3, T), degrees; R = Ry Rx(-elevation) Ry."""
    r = rotmats
    elevation = np.arctan2(np.hypot(r[:, 0, 1], r[:, 2, 1]), r[:, 1, 1])
    plane = np.arctan2(-r[:, 0, 1], -r[:, 2, 1])
    turn = np.arctan2(-r[:, 1, 0], r[:, 1, 2])
    return _degrees(np.stack([np.unwrap(plane), elevation, np.unwrap(turn)], 1))


def _degrees(angles: Array) -> Array:
    """Angles (T, 3) in radians as (3, T) degrees, whole turns of the first row taken off."""
    full = 2 * np.pi * np.round(angles[:1] / (2 * np.pi))
    return np.rad2deg(angles - full).T
