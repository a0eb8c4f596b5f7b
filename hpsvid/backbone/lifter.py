"""33 landmarks of a track to the evidence that a solver reads, by geometry alone.

The seam for a learned lifter: Landmarks in, Observations out. Surface landmarks of the limbs lie
within millimetres of the body's joints (their rings are centred on them); trunk, head, hands and
feet are placed as rigid pieces of the rest body. What the landmarks do not show (how the trunk
bends between hips and shoulders, how a turn spreads over spine, neck and forearm) follows the
mean of motion capture (CMU and HDM05, 8,900 frames of the training split).
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from hpsvid.body import JOINT, JOINT_NAMES, LANDMARK, Body, load_body
from hpsvid.geometry import (
    nearest_rotation,
    rotation_about,
    rotation_to_ray,
    swing_between,
    swing_twist,
    unit,
)
from hpsvid.types import N_LANDMARKS, N_TWISTS, Array, Camera, Landmarks, Observations
from hpsvid.weights import weights_path

SIDES = ("left", "right")
FACE = tuple(range(LANDMARK["nose"], LANDMARK["mouth_right"] + 1))
HAND_POINTS = ("pinky", "index", "thumb")
FOOT_POINTS = ("heel", "foot_index")

# trunk frames against the plane of hips and shoulders, by least squares over motion capture
PELVIS_PITCH = (0.070, -0.172)  # rad, and rad per rad of the thighs' summed flexion
PELVIS_ROLL = -0.092  # rad per rad of left minus right thigh flexion
CHEST_PITCH = (-0.204, 0.525, 0.150)  # rad, and rad per rad of head's and thighs' mean flexion
SPINE_SHARE = (0.5, 0.67)  # of the turn between pelvis and chest: at spine1, at the next (of rest)
NECK_SHARE = 0.65  # of the turn between chest and head
FOREARM_SHARE = 0.5  # of the turn between upper arm and hand

STRAIGHT = 0.2  # sine of a bend (12 deg) that says as much about a limb's twist as no twist does
FOOT_CUE = 0.3  # what the foot's heading says about the thigh's twist, against the knee's sine

BONE_ERROR_M = 0.04  # of a landmark bone length, one frame, depth error included
BETA_SPREAD = 0.5  # prior standard deviation of betas: one frame must not make a giant

HIDDEN_SIGMA_M = 0.3  # a hidden joint can be anywhere within a limb's reach
UNSEEN_SIGMA_M = 1.0
# well-seen joints: root mean square error per axis of the network's own 3D
SEEN_SIGMA_M = {
    "pelvis": 0.03, "hip": 0.03, "spine1": 0.04, "spine2": 0.05, "spine3": 0.05, "neck": 0.06,
    "collar": 0.06, "shoulder": 0.06, "head": 0.07, "head_top": 0.08, "knee": 0.06, "ankle": 0.08,
    "foot": 0.09, "big_toe": 0.09, "elbow": 0.07, "wrist": 0.09, "hand": 0.10, "middle_tip": 0.11,
}  # fmt: skip
# the landmarks that a joint's place rests on
SOURCES = {
    "pelvis": ("left_hip", "right_hip"),
    "spine1": ("left_hip", "right_hip"),
    "spine2": ("left_hip", "right_hip", "left_shoulder", "right_shoulder"),
    "spine3": ("left_shoulder", "right_shoulder"),
    "neck": ("left_shoulder", "right_shoulder"),
    "collar": ("shoulder",),
    "head": ("nose", "left_ear", "right_ear"),
    "head_top": ("nose", "left_ear", "right_ear"),
    "hand": ("wrist", "index"),
    "middle_tip": ("wrist", "index"),
    "foot": ("ankle", "foot_index"),
    "big_toe": ("foot_index",),
}


def lift_geometrically(landmarks: Landmarks, camera: Camera, body: Body) -> Observations:
    """Evidence about the body in each frame of one track.

    Joints are in camera axes and relative to the pelvis. twist[:, j - 1] belongs to joint j of
    1..23: its parent-relative rotation is swing @ twist, the twist about the rest bone to the
    child that continues the limb (spine3: neck; head, hands and feet: their leaf). sigma is a
    standard deviation per axis, from the network's known error and its visibility. Frames
    without a landmark copy the nearest seen frame and are not valid.
    """
    seen = landmarks.score > 0
    rows = _nearest(seen)
    points = camera_landmarks(landmarks, camera)[rows]
    image = torch.from_numpy(landmarks.image[rows])
    chance = torch.from_numpy(landmarks.visibility * landmarks.presence)[rows]
    betas = fit_betas(points, chance, body)
    joints, turned = place_joints(points, body.rest_joints(betas), body)
    twist = find_twists(joints, turned, points, body.rest_joints(betas))
    pelvis = joints[:, :1]
    where = place_in_camera(points - pelvis, image, chance, torch.from_numpy(camera.K).float())
    sigma = _sigma(chance)
    sigma[~torch.from_numpy(seen)] = UNSEEN_SIGMA_M
    image_visible = np.where(seen[:, None], landmarks.visibility, 0)
    return Observations(
        track_id=landmarks.track_id,
        frame_index=landmarks.frame_index,
        joints=(joints - pelvis).numpy(),
        sigma=sigma.numpy(),
        twist=twist.numpy(),
        betas=betas.numpy(),
        landmarks2d=np.concatenate(
            [landmarks.image, image_visible[..., None]], -1, dtype=np.float32
        ),
        pelvis=where.numpy(),
        valid=seen,
    )


def camera_landmarks(landmarks: Landmarks, camera: Camera) -> Tensor:
    """World landmarks (T, 33, 3) m in camera axes, still relative to the middle of the hips.

    The network sees each crop as if it lay on the optical axis; the person lies on the ray
    through the hips.
    """
    hips = landmarks.image[:, [LANDMARK["left_hip"], LANDMARK["right_hip"]]].mean(1)
    ray = np.linalg.solve(camera.K, np.concatenate([hips, np.ones((len(hips), 1))], 1).T).T
    turn = rotation_to_ray(torch.from_numpy(ray).float())
    return torch.from_numpy(landmarks.world) @ turn.mT


def fit_betas(points: Tensor, chance: Tensor, body: Body) -> Tensor:
    """Shape (T, 10) whose rest bones are as long as the landmarks', each frame for itself.

    points: (T, 33, 3) m; chance: (T, 33) of being seen. Ridge least squares on the lengths,
    linear about the mean shape.
    """
    ends = [
        (f"{side}_{upper}", f"{side}_{lower}")
        for upper, lower in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"),
                             ("elbow", "wrist"), ("shoulder", "hip"))
        for side in SIDES
    ] + [("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")]  # fmt: skip
    from_joint, to_joint = ([JOINT[pair[k]] for pair in ends] for k in (0, 1))
    from_mark, to_mark = ([LANDMARK[pair[k]] for pair in ends] for k in (0, 1))
    bones = body.rest_mean[to_joint] - body.rest_mean[from_joint]
    slopes = body.rest_dirs[to_joint] - body.rest_dirs[from_joint]
    slope = torch.einsum("bc,bck->bk", unit(bones), slopes) / BONE_ERROR_M
    found = (points[:, to_mark] - points[:, from_mark]).norm(dim=-1)
    miss = (found - bones.norm(dim=-1)) / BONE_ERROR_M
    weight = chance[:, from_mark] * chance[:, to_mark]
    normal = torch.einsum("tb,bk,bl->tkl", weight, slope, slope)
    normal = normal + torch.eye(slope.shape[1]) / BETA_SPREAD**2
    right = torch.einsum("tb,bk->tk", weight * miss, slope)
    return torch.linalg.solve(normal, right)


def place_joints(points: Tensor, rest: Tensor, body: Body) -> tuple[Tensor, dict[str, Tensor]]:
    """The 29 joints (T, 29, 3) m where the landmarks are, and the rigid pieces' rotations.

    points: (T, 33, 3) m; rest: (T, 29, 3) m. The rotations (T, 3, 3) take the rest body to the
    landmarks' axes and belong to the joints pelvis, spine3, head, and left and right wrist and
    ankle.
    """

    def mark(name: str) -> Tensor:
        return points[:, LANDMARK[name]]

    def middle(name: str) -> Tensor:
        return (mark(f"left_{name}") + mark(f"right_{name}")) / 2

    def bone(start: str, end: str) -> Tensor:
        return rest[:, JOINT[end]] - rest[:, JOINT[start]]

    place: dict[str, Tensor] = {}
    turned = _trunk_frames(points)
    for side in SIDES:
        for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"):
            place[f"{side}_{part}"] = mark(f"{side}_{part}")

    def attach(names: tuple[str, ...], piece: str, anchor: Tensor, rest_anchor: Tensor) -> None:
        for name in names:
            offset = rest[:, JOINT[name]] - rest_anchor
            place[name] = anchor + _turn(turned[piece], offset)

    rest_hips, rest_shoulders = (
        (rest[:, JOINT[f"left_{part}"]] + rest[:, JOINT[f"right_{part}"]]) / 2
        for part in ("hip", "shoulder")
    )
    attach(("pelvis", "spine1"), "pelvis", middle("hip"), rest_hips)
    attach(
        ("spine2", "spine3", "neck", "left_collar", "right_collar"),
        "spine3", middle("shoulder"), rest_shoulders,
    )  # fmt: skip

    surface = _surface(body)
    face, face_now = surface[list(FACE)], points[:, FACE]
    turned["head"] = _fit_rotation(face - face.mean(0), face_now - face_now.mean(1, keepdim=True))
    place["head"] = face_now.mean(1) - _turn(turned["head"], face.mean(0))
    place["head_top"] = place["head"] + _turn(turned["head"], bone("head", "head_top"))

    for side in SIDES:
        wrist, ankle = f"{side}_wrist", f"{side}_ankle"
        for joint, names in ((wrist, HAND_POINTS), (ankle, FOOT_POINTS)):
            marks = [LANDMARK[f"{side}_{name}"] for name in names]
            turned[joint] = _fit_rotation(surface[marks], points[:, marks] - place[joint][:, None])
        attach((f"{side}_hand", f"{side}_middle_tip"), wrist, place[wrist], rest[:, JOINT[wrist]])
        attach((f"{side}_foot",), ankle, place[ankle], rest[:, JOINT[ankle]])
        toe = LANDMARK[f"{side}_foot_index"]
        to_toe = bone(ankle, f"{side}_big_toe") - surface[toe]
        place[f"{side}_big_toe"] = points[:, toe] + _turn(turned[ankle], to_toe)
    return torch.stack([place[name] for name in JOINT_NAMES], 1), turned


def find_twists(joints: Tensor, turned: dict[str, Tensor], points: Tensor, rest: Tensor) -> Tensor:
    """Twist (cos, sin) (T, 23, 2) of joints 1..23 about their rest bones.

    joints, rest: (T, 29, 3) m; turned: from `place_joints`; points: (T, 33, 3) m. Thighs and
    upper arms turn as the plane of their bend says, the thigh also as the foot points; a limb
    that is nearly straight turns towards no twist. Other turns are shared out over their chain.
    """
    one = torch.ones(len(joints))
    none = torch.stack([one, 0 * one], -1)
    twists = {name: none for name in JOINT_NAMES[1:24]}

    def bones(start: str, end: str) -> tuple[Tensor, Tensor]:
        here, there = JOINT[start], JOINT[end]
        return rest[:, there] - rest[:, here], joints[:, there] - joints[:, here]

    def aim(parent: Tensor, start: str, end: str, twist: Tensor = none) -> Tensor:
        """Global rotation of joint `start` under `parent`; records its twist."""
        rest_bone, bone = bones(start, end)
        swing = swing_between(rest_bone, _turn(parent.mT, bone))
        twists[start] = twist
        return parent @ swing @ rotation_about(unit(rest_bone), twist[..., 0], twist[..., 1])

    def turn_between(parent: Tensor, piece: Tensor, start: str, end: str) -> Tensor:
        return swing_twist(parent.mT @ piece, bones(start, end)[0])[1]

    chest, head = turned["spine3"], turned["head"]
    turn = turn_between(turned["pelvis"], chest, "spine1", "spine2")
    above = aim(turned["pelvis"], "spine1", "spine2", _share(turn, SPINE_SHARE[0]))
    turn = turn_between(above, chest, "spine2", "spine3")
    above = aim(above, "spine2", "spine3", _share(turn, SPINE_SHARE[1]))
    twists["spine3"] = turn_between(above, chest, "spine3", "neck")
    turn = turn_between(chest, head, "neck", "head")
    above = aim(chest, "neck", "head", _share(turn, NECK_SHARE))
    twists["head"] = turn_between(above, head, "head", "head_top")

    forward = torch.tensor([0.0, 0.0, 1.0])
    for side in SIDES:
        shoulder, elbow, wrist, hand = (
            f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hand")
        )
        collar = aim(chest, f"{side}_collar", shoulder)
        upper_bone, _ = bones(shoulder, elbow)
        _, forearm = bones(elbow, wrist)
        cue = _turn(aim(collar, shoulder, elbow).mT, unit(forearm))
        upper = aim(collar, shoulder, elbow, _twist_towards(cue, upper_bone, forward))
        turn = turn_between(upper, turned[wrist], elbow, wrist)
        lower = aim(upper, elbow, wrist, _share(turn, FOREARM_SHARE))
        twists[wrist] = turn_between(lower, turned[wrist], wrist, hand)

        hip, knee, ankle, foot = (f"{side}_{part}" for part in ("hip", "knee", "ankle", "foot"))
        thigh_bone, _ = bones(hip, knee)
        _, shank = bones(knee, ankle)
        heading = points[:, LANDMARK[f"{side}_foot_index"]] - points[:, LANDMARK[f"{side}_heel"]]
        cue = FOOT_CUE * unit(heading) - unit(shank)
        cue = _turn(aim(turned["pelvis"], hip, knee).mT, cue)
        thigh = aim(turned["pelvis"], hip, knee, _twist_towards(cue, thigh_bone, forward))
        lower = aim(thigh, knee, ankle)
        twists[ankle] = turn_between(lower, turned[ankle], ankle, foot)
    assert len(twists) == N_TWISTS
    return torch.stack([twists[name] for name in JOINT_NAMES[1:24]], 1)


def place_in_camera(points: Tensor, image: Tensor, chance: Tensor, K: Tensor) -> Tensor:
    """Camera position (T, 3) m of the origin of `points` (T, 33, 3) m, by linear least squares.

    image: (T, 33, 2) px; chance: (T, 33) weights; K: (3, 3) px. Each landmark gives
    (p + t)_xy = ray_xy (p + t)_z, linear in t (DLT with known rotation).
    """
    ray = (image - K[:2, 2]) / torch.stack([K[0, 0], K[1, 1]])
    one, zero = torch.ones_like(ray[..., 0]), torch.zeros_like(ray[..., 0])
    rows = torch.stack(
        [torch.stack([one, zero, -ray[..., 0]], -1), torch.stack([zero, one, -ray[..., 1]], -1)], -2
    )  # (T, 33, 2, 3)
    right = ray * points[..., 2:] - points[..., :2]
    weight = chance.clamp_min(0.01)
    normal = torch.einsum("tl,tlrc,tlrd->tcd", weight, rows, rows)
    t = torch.linalg.solve(normal, torch.einsum("tl,tlrc,tlr->tc", weight, rows, right))
    near = -points[..., 2].amin(-1) + 0.1  # a person stands in front of the camera
    return torch.cat([t[:, :2], torch.maximum(t[:, 2], near)[:, None]], -1)


def _nearest(seen: Array) -> Array:
    """For each frame the nearest seen frame; itself where nothing was seen at all."""
    hits = np.flatnonzero(seen)
    frames = np.arange(len(seen))
    if len(hits) == 0:
        return frames
    after = np.searchsorted(hits, frames).clip(0, len(hits) - 1)
    before = (after - 1).clip(0)
    nearer = np.abs(hits[before] - frames) <= np.abs(hits[after] - frames)
    return np.where(nearer, hits[before], hits[after])


def _trunk_frames(points: Tensor) -> dict[str, Tensor]:
    """Rotations (T, 3, 3) of pelvis and chest (spine3) from hips, shoulders, knees and ears."""
    left = {name: points[:, LANDMARK[f"left_{name}"]] for name in ("hip", "shoulder", "ear")}
    right = {name: points[:, LANDMARK[f"right_{name}"]] for name in ("hip", "shoulder", "ear")}
    middle = {name: (left[name] + right[name]) / 2 for name in left}
    trunk = middle["shoulder"] - middle["hip"]
    pelvis = _frame(left["hip"] - right["hip"], trunk)
    chest = _frame(left["shoulder"] - right["shoulder"], trunk)
    flexion = [
        -_pitch(pelvis, points[:, LANDMARK[f"{side}_hip"]] - points[:, LANDMARK[f"{side}_knee"]])
        for side in SIDES
    ]
    nod = _pitch(chest, middle["ear"] - middle["shoulder"])
    pitch = PELVIS_PITCH[0] + PELVIS_PITCH[1] * (flexion[0] + flexion[1])
    roll = PELVIS_ROLL * (flexion[0] - flexion[1])
    bend = CHEST_PITCH[0] + CHEST_PITCH[1] * nod + CHEST_PITCH[2] * (flexion[0] + flexion[1]) / 2
    x, z = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    return {
        "pelvis": pelvis
        @ rotation_about(z.expand(len(roll), 3), roll.cos(), roll.sin())
        @ rotation_about(x.expand(len(roll), 3), pitch.cos(), pitch.sin()),
        "spine3": chest @ rotation_about(x.expand(len(roll), 3), bend.cos(), bend.sin()),
    }


def _pitch(frame: Tensor, direction: Tensor) -> Tensor:
    """Angle (T,) rad of `direction` (T, 3) from the frame's up towards its front."""
    local = _turn(frame.mT, direction)
    return torch.atan2(local[..., 2], local[..., 1])


def _frame(x: Tensor, y: Tensor) -> Tensor:
    """Rotation (..., 3, 3) with columns along `x` (..., 3), nearly along `y`, and their cross."""
    x = unit(x)
    y = unit(y - (y * x).sum(-1, keepdim=True) * x)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def _turn(rotation: Tensor, vector: Tensor) -> Tensor:
    return (rotation @ vector[..., None])[..., 0]


def _fit_rotation(source: Tensor, target: Tensor) -> Tensor:
    """Rotation (T, 3, 3) that takes the vectors `source` (N, 3) to `target` (T, N, 3) best."""
    return nearest_rotation(torch.einsum("tnc,nd->tcd", target, source))


def _share(twist: Tensor, part: float) -> Tensor:
    """The given part of a turn (..., 2) (cos, sin)."""
    angle = part * torch.atan2(twist[..., 1], twist[..., 0])
    return torch.stack([angle.cos(), angle.sin()], -1)


def _twist_towards(cue: Tensor, bone: Tensor, ahead: Tensor) -> Tensor:
    """Twist (T, 2) about `bone` (T, 3) that brings the direction `ahead` (3,) towards `cue`.

    cue: (T, 3) as seen after the bone's swing; the shorter its part across the bone, the less
    twist.
    """
    axis = unit(bone)
    straight = unit(ahead - (axis @ ahead)[:, None] * axis)
    across = torch.linalg.cross(axis, straight)
    return unit(torch.stack([(cue * straight).sum(-1) + STRAIGHT, (cue * across).sum(-1)], -1))


@cache
def _free_body() -> Body:
    return load_body(weights_path("free_body"))


@cache
def _surface(body: Body) -> Tensor:
    """Rest landmarks (33, 3) m from the joint that carries them: head, wrists and ankles."""
    if body.landmark_regressor is None:
        body = _free_body()  # where a nose or a heel sits is much the same on any body
    eye = torch.eye(3).expand(24, 3, 3)
    marks = body.landmarks(eye, torch.zeros(10), torch.zeros(3))
    origin = marks.clone()
    origin[list(FACE)] = body.rest_mean[JOINT["head"]]
    for side in SIDES:
        for joint, names in (("wrist", HAND_POINTS), ("ankle", FOOT_POINTS)):
            for name in names:
                origin[LANDMARK[f"{side}_{name}"]] = body.rest_mean[JOINT[f"{side}_{joint}"]]
    return marks - origin


def _sigma(chance: Tensor) -> Tensor:
    """Standard deviation per axis (T, 29) m from the landmarks' chance (T, 33) of being seen."""
    pick = torch.zeros(len(JOINT_NAMES), N_LANDMARKS)
    base = torch.zeros(len(JOINT_NAMES))
    for joint, name in enumerate(JOINT_NAMES):
        side, part = name.split("_", 1) if name.startswith(SIDES) else ("", name)
        base[joint] = SEEN_SIGMA_M[part]
        for source in SOURCES.get(part, (part,)):
            full = source if source in LANDMARK else f"{side}_{source}"
            pick[joint, LANDMARK[full]] = 1
    seen = chance @ (pick / pick.sum(1, keepdim=True)).T
    return base**seen * HIDDEN_SIGMA_M ** (1 - seen)
