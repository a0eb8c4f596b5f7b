"""Joint names and rest axes of the rigs that files are written for, and resampling."""

from dataclasses import replace

import numpy as np
import torch

from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT, SMPL
from hpsvid.common.series import interpolate, interpolate_rotations
from hpsvid.errors import InputError
from hpsvid.options import RigName
from hpsvid.types import Array, BodyParams, Motion, Person

# Matroska counts time in whole milliseconds: frames this near to an even grid lie on it
_CLOCK_TICK_S = 1e-3
# A file of constant rate repeats a held picture: 300,000 frames are 83 min at 60 Hz
_MOST_ROWS = 300_000


def evenly_timed(
    motion: Motion, person: Person, fps: float | None, *, padded: bool = False
) -> tuple[BodyParams, float]:
    """A person's motion at one constant rate, and that rate in Hz.

    fps: wanted rate; None keeps the clip's nominal one. A clip of variable rate is resampled
    through its time stamps (rotations by slerp, translation linearly); frames that lie on the
    wanted grid already are passed on untouched. The first frame is the track's first; the last
    is the grid's nearest to the track's last, held where it lies past it by half a frame.
    padded: from the clip's first frame to its last instead, the first and last pose held.
    Raises InputError when that makes too many rows.
    """
    times = motion.pts_s[person.track.frame_index]
    grid, rate = even_times(motion, times, fps, motion.pts_s if padded else times)
    if grid is times:
        return person.body, rate
    rotmats = interpolate_rotations(grid, times, person.body.rotmats.astype(np.float64))
    transl = interpolate(grid, times, person.body.transl)
    return replace(
        person.body, rotmats=rotmats.astype(np.float32), transl=transl.astype(np.float32)
    ), rate


def even_times(motion: Motion, times: Array, fps: float | None, over: Array) -> tuple[Array, float]:
    """Moments (N,) s at one rate from the first to the last of `over`, and that rate in Hz.

    times (T,) s themselves where they are such moments already; fps: None takes the clip's
    nominal rate. Raises InputError when that makes too many.
    """
    rate = float(motion.clip.fps) if fps is None else float(fps)
    first, last = over[[0, -1]]
    rows = round(float(last - first) * rate) + 1
    if rows > max(_MOST_ROWS, len(times)):
        raise InputError(
            f"{motion.clip.path}: {len(times)} frames over {(last - first) / 3600:.1f} h would "
            f"make {rows} frames at {rate:g} Hz, expected at most "
            f"{_MOST_ROWS}; choose a lower --fps"
        )
    grid = first + np.arange(rows) / rate
    same = len(grid) == len(times) and np.abs(grid - times).max() <= _CLOCK_TICK_S
    return (times if same else grid), rate


def in_world_axes(params: BodyParams, body: Body, axes: Array) -> tuple[Array, Array, Array]:
    """Turn a body from camera axes into a world's: world point = axes @ camera point.

    axes: (3, 3) rotation. Returns rotmats (T, 24, 3, 3), the pelvis's place (T, 3) m and the
    rest joints (29, 3) m, float64. SMPL turns a body about its pelvis, J0(betas) + transl, so
    that point is what moves; a transl in the new axes is that place - J0(betas).
    """
    rest = body.rest_joints(torch.from_numpy(params.betas).float()).double().numpy()
    rotmats = params.rotmats.astype(np.float64)
    rotmats[:, 0] = axes @ rotmats[:, 0]
    pelvis = (rest[JOINT["pelvis"]] + params.transl) @ axes.T
    return rotmats, pelvis, rest


_HIK = (
    "Hips", "LeftUpLeg", "RightUpLeg", "Spine", "LeftLeg", "RightLeg", "Spine1", "LeftFoot",
    "RightFoot", "Spine2", "LeftToeBase", "RightToeBase", "Neck", "LeftShoulder",
    "RightShoulder", "Head", "LeftArm", "RightArm", "LeftForeArm", "RightForeArm", "LeftHand",
    "RightHand", "LeftHandMiddle1", "RightHandMiddle1",
)  # fmt: skip
# names of SMPL's 24 joints, in SMPL's order, as other programs expect them
RIGS: dict[RigName, tuple[str, ...]] = {
    "smpl": (
        "Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle",
        "R_Ankle", "Spine3", "L_Foot", "R_Foot", "Neck", "L_Collar", "R_Collar", "Head",
        "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist", "R_Wrist", "L_Hand",
        "R_Hand",
    ),
    "hik": _HIK,  # Autodesk HumanIK
    "mixamo": tuple(f"mixamorig:{name}" for name in _HIK),
    "cmu": (  # the MotionBuilder-friendly conversion of the CMU database
        "Hips", "LeftUpLeg", "RightUpLeg", "LowerBack", "LeftLeg", "RightLeg", "Spine",
        "LeftFoot", "RightFoot", "Spine1", "LeftToeBase", "RightToeBase", "Neck",
        "LeftShoulder", "RightShoulder", "Head", "LeftArm", "RightArm", "LeftForeArm",
        "RightForeArm", "LeftHand", "RightHand", "LeftFingerBase", "RightFingerBase",
    ),
    "rigify": (  # Blender's human meta-rig
        "spine", "thigh.L", "thigh.R", "spine.001", "shin.L", "shin.R", "spine.002", "foot.L",
        "foot.R", "spine.003", "toe.L", "toe.R", "spine.004", "shoulder.L", "shoulder.R",
        "spine.006", "upper_arm.L", "upper_arm.R", "forearm.L", "forearm.R", "hand.L", "hand.R",
        "f_middle.01.L", "f_middle.01.R",
    ),
    "ue5": (  # Unreal Engine's mannequin, which has five bones between pelvis and neck
        "pelvis", "thigh_l", "thigh_r", "spine_01", "calf_l", "calf_r", "spine_03", "foot_l",
        "foot_r", "spine_05", "ball_l", "ball_r", "neck_01", "clavicle_l", "clavicle_r", "head",
        "upperarm_l", "upperarm_r", "lowerarm_l", "lowerarm_r", "hand_l", "hand_r",
        "middle_01_l", "middle_01_r",
    ),
    "vrm": (  # VRM 1.0's humanoid bones
        "hips", "leftUpperLeg", "rightUpperLeg", "spine", "leftLowerLeg", "rightLowerLeg",
        "chest", "leftFoot", "rightFoot", "upperChest", "leftToes", "rightToes", "neck",
        "leftShoulder", "rightShoulder", "head", "leftUpperArm", "rightUpperArm",
        "leftLowerArm", "rightLowerArm", "leftHand", "rightHand", "leftMiddleProximal",
        "rightMiddleProximal",
    ),
}  # fmt: skip


def bone_names(rig: RigName) -> tuple[str, ...]:
    """Names of all 29 joints: the rig's 24, and the leaves after the joints they end."""
    names = RIGS[rig]
    leaves = (f"{names[parent]}_end" for parent in SMPL.parents[SMPL.n_rotations :])
    return (*names, *leaves)
