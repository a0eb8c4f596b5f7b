"""33 landmarks of a track to the evidence that a solver reads, by geometry alone.

The seam for a learned lifter: Landmarks in, Observations out. The landmarks of the limbs lie
within two centimetres of the body's joints; trunk, head, hands and feet are placed as rigid pieces
of the rest body. What the landmarks do not show (how the trunk
bends between hips and shoulders, how a turn spreads over spine, neck and forearm) follows the
mean of motion capture (CMU and HDM05, 5,077 frames of the training split).
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from hpsvid.backbone.landmarks import Landmarks
from hpsvid.body.model import Body, load_body
from hpsvid.body.skeleton import BLAZEPOSE, JOINT, LANDMARK, SMPL
from hpsvid.common.geometry import (
    nearest_rotation,
    rotation_about,
    rotation_to_ray,
    swing_between,
    swing_twist,
    translation_onto,
    unit,
)
from hpsvid.common.series import nearest
from hpsvid.common.weights import weights_path
from hpsvid.types import N_BETAS, N_LANDMARKS, N_ROTATIONS, Array, Camera, Observations

SIDES = ("left", "right")
FACE = BLAZEPOSE.names[: LANDMARK["left_shoulder"]]
HAND_POINTS = ("pinky", "index", "thumb")
FOOT_POINTS = ("heel", "foot_index")

LEFT, AHEAD = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])  # of the rest body

# Trunk frames against the plane of hips and shoulders: least squares over motion capture whose
# landmarks carry the network's error (30 mm across and 70 mm along the view), as that noise
# decides how far a nod or a raised knee can be believed.
PELVIS_PITCH = (0.054, -0.149)  # rad, and rad per rad of the thighs' summed flexion
PELVIS_ROLL = -0.058  # rad per rad of left minus right thigh flexion
CHEST_PITCH = (-0.103, 0.203, 0.138)  # rad, and rad per rad of head's and thighs' mean flexion
# how turns spread over their chain in the same motion capture
SPINE_SHARE = (0.53, 0.78)  # pelvis to chest: at spine1, and of what is left at spine2
NECK_SHARE = 0.43  # chest to head
FOREARM_SHARE = 0.5  # upper arm to hand; a convention of that data, whose hands are poor

# Chosen by the rotation error on the rendered samples, broadly flat about these values.
# How strongly a piece's rotation is drawn to its parent's, against one for perfect landmarks:
HEAD_PRIOR, HAND_PRIOR, FOOT_PRIOR = 0.1, 0.1, 0.2

STRAIGHT = 0.3  # sine of the bend (17 deg) whose twist counts as much as the prior of no twist
FOOT_CUE = 0.3  # what the foot's heading says about the thigh's twist, against the knee's sine

BONE_ERROR_M = 0.04  # of a landmark bone length, one frame, depth error included
# prior standard deviation of betas: stature varies by 1 between people, the rest is held tighter
# than that because bone lengths hardly show it
BETA_SPREAD = torch.tensor([1.0] + [0.5] * 9)

HIDDEN_SIGMA_M = 0.3  # a hidden joint can be anywhere within a limb's reach
UNSEEN_SIGMA_M = 1.0
# Well-seen joints, root mean square error per axis. Hips, shoulders, knees, ankles, elbows and
# wrists agree with the calibrated clip (errors over sigma: 1.1 root mean square); the others are
# judged from their neighbours, as no truth is known for them.
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
    valid = landmarks.score > 0
    rows = _nearest(valid)
    points = camera_landmarks(landmarks, camera)[rows]
    image = torch.from_numpy(landmarks.image[rows])
    chance = torch.from_numpy(landmarks.visibility * landmarks.presence)[rows]
    betas = fit_betas(points, chance, body)
    joints, twist = build_figure(points, body.rest_joints(betas), body)
    pelvis = joints[:, :1]
    where = place_in_camera(points - pelvis, image, chance, torch.from_numpy(camera.K).float())
    sigma = _sigma(chance)
    sigma[~torch.from_numpy(valid)] = UNSEEN_SIGMA_M
    image_visible = np.where(valid[:, None], landmarks.visibility, 0)
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
        valid=valid,
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
    slopes = (body.rest_dirs[to_joint] - body.rest_dirs[from_joint])[..., :N_BETAS]
    slope = torch.einsum("bc,bck->bk", unit(bones), slopes) / BONE_ERROR_M
    length = (points[:, to_mark] - points[:, from_mark]).norm(dim=-1)
    miss = (length - bones.norm(dim=-1)) / BONE_ERROR_M
    weight = chance[:, from_mark] * chance[:, to_mark]
    normal = torch.einsum("tb,bk,bl->tkl", weight, slope, slope)
    normal = normal + torch.diag(BETA_SPREAD**-2)
    right = torch.einsum("tb,bk->tk", weight * miss, slope)
    return torch.linalg.solve(normal, right)


def build_figure(points: Tensor, rest: Tensor, body: Body) -> tuple[Tensor, Tensor]:
    """Joints (T, 29, 3) m where the landmarks are, and twists (cos, sin) (T, 23, 2).

    points: (T, 33, 3) m in any axes; rest: (T, 29, 3) m. Limb joints are their landmarks. The
    other joints continue them with the rest body's own bones, turned as trunk, head, hands and
    feet are: a short bone between two noisy points would point anywhere. Thighs and upper arms
    twist as the plane of their bend says, the thigh also as the foot points; a limb that is
    nearly straight tends to no twist. Other turns are shared out over their chain.
    """
    figure = _Figure(points, rest, _surface(body))
    pelvis, chest = _trunk_frames(points)
    _build_trunk(figure, pelvis, chest)
    _build_head(figure, chest)
    for side in SIDES:
        _build_arm(figure, side, chest)
        _build_leg(figure, side, pelvis)
    joints = torch.stack([figure.place[name] for name in SMPL.names], 1)
    return joints, torch.stack([figure.twists[name] for name in SMPL.rotation_names[1:]], 1)


class _Figure:
    """A body that is being put together; rotations are global and take rest to posed bones."""

    def __init__(self, points: Tensor, rest: Tensor, surface: Tensor) -> None:
        self.points, self.rest, self.surface = points, rest, surface
        one = torch.ones(len(points))
        self.untwisted = torch.stack([one, 0 * one], -1)
        self.twists = {name: self.untwisted for name in SMPL.rotation_names[1:]}
        self.place = {
            f"{side}_{part}": self.mark(f"{side}_{part}")
            for side in SIDES
            for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
        }

    def mark(self, name: str) -> Tensor:
        """A landmark (T, 3)."""
        return self.points[:, LANDMARK[name]]

    def bone(self, start: str, end: str) -> Tensor:
        """A rest bone (T, 3)."""
        return self.rest[:, JOINT[end]] - self.rest[:, JOINT[start]]

    def grow(self, piece: Tensor, start: str, *ends: str) -> None:
        """Place joints that move rigidly with `piece` (T, 3, 3) about joint `start`."""
        for end in ends:
            self.place[end] = self.place[start] + _turn(piece, self.bone(start, end))

    def aim(self, parent: Tensor, start: str, end: str, twist: Tensor | None = None) -> Tensor:
        """Rotation of joint `start` under `parent`'s, by its bone's direction and `twist`."""
        bone = self.bone(start, end)
        swing = swing_between(bone, _turn(parent.mT, self.place[end] - self.place[start]))
        self.twists[start] = self.untwisted if twist is None else twist
        cos, sin = self.twists[start].unbind(-1)
        return parent @ swing @ rotation_about(unit(bone), cos, sin)

    def turn(self, parent: Tensor, piece: Tensor, start: str, end: str) -> Tensor:
        """Twist (T, 2) of `piece` against `parent` about a rest bone."""
        return swing_twist(parent.mT @ piece, self.bone(start, end))[1]

    def fit(self, names: tuple[str, ...], origin: Tensor, parent: Tensor, prior: float) -> Tensor:
        """Rotation (T, 3, 3) of a rigid piece by its landmarks, drawn towards its parent's."""
        marks = [LANDMARK[name] for name in names]
        rest = self.surface[marks]
        fitted = torch.einsum("tnc,nd->tcd", self.points[:, marks] - origin[:, None], rest)
        return nearest_rotation(fitted / rest.square().sum() + prior * parent)


def _build_trunk(figure: _Figure, pelvis: Tensor, chest: Tensor) -> None:
    rest = figure.rest
    for piece, part, names in (
        (pelvis, "hip", ("pelvis", "spine1")),
        (chest, "shoulder", ("spine3", "neck", "left_collar", "right_collar")),
    ):
        both = [JOINT[f"{side}_{part}"] for side in SIDES]
        anchor = (figure.mark(f"left_{part}") + figure.mark(f"right_{part}")) / 2
        for name in names:
            offset = rest[:, JOINT[name]] - rest[:, both].mean(1)
            figure.place[name] = anchor + _turn(piece, offset)
    # from below and from above the spine meets at spine3; each side gives way by half
    above = figure.place["spine3"]
    between = nearest_rotation(pelvis + chest)
    figure.grow(between, "spine1", "spine2", "spine3")
    gap = (above - figure.place["spine3"]) / 2
    lower, upper = (
        figure.bone(start, end).norm(dim=-1, keepdim=True)
        for start, end in (("spine1", "spine2"), ("spine2", "spine3"))
    )
    figure.place["spine2"] = figure.place["spine2"] + gap * lower / (lower + upper)
    figure.place["spine3"] = figure.place["spine3"] + gap
    turn = figure.turn(pelvis, chest, "spine1", "spine2")
    first = figure.aim(pelvis, "spine1", "spine2", _share(turn, SPINE_SHARE[0]))
    turn = figure.turn(first, chest, "spine2", "spine3")
    second = figure.aim(first, "spine2", "spine3", _share(turn, SPINE_SHARE[1]))
    figure.twists["spine3"] = figure.turn(second, chest, "spine3", "neck")


def _build_head(figure: _Figure, chest: Tensor) -> None:
    face = figure.points[:, [LANDMARK[name] for name in FACE]].mean(1)
    # `_surface` centres the face, so the rotation comes first and the head's place after
    head = figure.fit(FACE, face, chest, HEAD_PRIOR)
    figure.grow(nearest_rotation(chest + head), "neck", "head")
    figure.grow(head, "head", "head_top")
    turn = figure.turn(chest, head, "neck", "head")
    neck = figure.aim(chest, "neck", "head", _share(turn, NECK_SHARE))
    figure.twists["head"] = figure.turn(neck, head, "head", "head_top")


def _build_arm(figure: _Figure, side: str, chest: Tensor) -> None:
    collar, shoulder, elbow, wrist, hand, tip = (
        f"{side}_{part}" for part in ("collar", "shoulder", "elbow", "wrist", "hand", "middle_tip")
    )
    place = figure.place
    base = figure.aim(chest, collar, shoulder)
    cue = _turn(figure.aim(base, shoulder, elbow).mT, unit(place[wrist] - place[elbow]))
    upper = figure.aim(base, shoulder, elbow, _twist_towards(cue, figure.bone(shoulder, elbow)))
    straight = figure.aim(upper, elbow, wrist)
    names = tuple(f"{side}_{name}" for name in HAND_POINTS)
    piece = figure.fit(names, place[wrist], straight, HAND_PRIOR)
    figure.grow(piece, wrist, hand, tip)
    turn = figure.turn(upper, piece, elbow, wrist)
    lower = figure.aim(upper, elbow, wrist, _share(turn, FOREARM_SHARE))
    figure.twists[wrist] = figure.turn(lower, piece, wrist, hand)


def _build_leg(figure: _Figure, side: str, pelvis: Tensor) -> None:
    hip, knee, ankle, foot, toe = (
        f"{side}_{part}" for part in ("hip", "knee", "ankle", "foot", "big_toe")
    )
    place = figure.place
    heading = figure.mark(f"{side}_foot_index") - figure.mark(f"{side}_heel")
    cue = FOOT_CUE * unit(heading) - unit(place[ankle] - place[knee])
    cue = _turn(figure.aim(pelvis, hip, knee).mT, cue)
    thigh = figure.aim(pelvis, hip, knee, _twist_towards(cue, figure.bone(hip, knee)))
    lower = figure.aim(thigh, knee, ankle)
    names = tuple(f"{side}_{name}" for name in FOOT_POINTS)
    piece = figure.fit(names, place[ankle], lower, FOOT_PRIOR)
    figure.grow(piece, ankle, foot, toe)
    figure.twists[ankle] = figure.turn(lower, piece, ankle, foot)


def place_in_camera(points: Tensor, image: Tensor, chance: Tensor, K: Tensor) -> Tensor:
    """Camera position (T, 3) m of the origin of `points` (T, 33, 3) m, in front of the camera.

    image: (T, 33, 2) px; chance: (T, 33) of being seen, the landmarks' weights; K: (3, 3) px.
    """
    t = translation_onto(points, image, chance.clamp_min(0.01), K)
    near = -points[..., 2].amin(-1) + 0.1  # a person stands in front of the camera
    return torch.cat([t[:, :2], torch.maximum(t[:, 2], near)[:, None]], -1)


def _nearest(seen: Array) -> Array:
    """For each frame the nearest seen frame; itself where nothing was seen at all."""
    hits = np.flatnonzero(seen)
    frames = np.arange(len(seen))
    if len(hits) == 0:
        return frames
    return hits[nearest(frames, hits)]


def _trunk_frames(points: Tensor) -> tuple[Tensor, Tensor]:
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
    return (
        pelvis @ _about(AHEAD, roll) @ _about(LEFT, pitch),
        chest @ _about(LEFT, bend),
    )


def _about(axis: Tensor, angle: Tensor) -> Tensor:
    return rotation_about(axis.expand(len(angle), 3), angle.cos(), angle.sin())


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


def _share(twist: Tensor, part: float) -> Tensor:
    """The given part of a turn (..., 2) (cos, sin)."""
    angle = part * torch.atan2(twist[..., 1], twist[..., 0])
    return torch.stack([angle.cos(), angle.sin()], -1)


def _twist_towards(cue: Tensor, bone: Tensor) -> Tensor:
    """Twist (T, 2) about the rest bone (T, 3) that brings the body's front towards `cue`.

    cue: (T, 3) as seen after the bone's swing; the shorter its part across the bone, the less
    twist.
    """
    axis = unit(bone)
    straight = unit(AHEAD - (axis @ AHEAD)[:, None] * axis)
    across = torch.linalg.cross(axis, straight)
    return unit(torch.stack([(cue * straight).sum(-1) + STRAIGHT, (cue * across).sum(-1)], -1))


@cache
def _free_body() -> Body:
    return load_body(weights_path("free_body"))


@cache
def _surface(body: Body) -> Tensor:
    """Rest landmarks (33, 3) m from their piece's origin: face middle, wrists and ankles."""
    if body.landmark_regressor is None:
        body = _free_body()  # where a nose or a heel sits is much the same on any body
    eye = torch.eye(3).expand(N_ROTATIONS, 3, 3)
    marks = body.landmarks(eye, torch.zeros(10), torch.zeros(3))
    origin = marks.clone()
    face = [LANDMARK[name] for name in FACE]
    origin[face] = marks[face].mean(0)
    for side in SIDES:
        for joint, names in (("wrist", HAND_POINTS), ("ankle", FOOT_POINTS)):
            for name in names:
                origin[LANDMARK[f"{side}_{name}"]] = body.rest_mean[JOINT[f"{side}_{joint}"]]
    return marks - origin


def _sigma(chance: Tensor) -> Tensor:
    """Standard deviation per axis (T, 29) m from the landmarks' chance (T, 33) of being seen."""
    pick = torch.zeros(len(SMPL.parents), N_LANDMARKS)
    base = torch.zeros(len(SMPL.parents))
    for joint, name in enumerate(SMPL.names):
        side, part = name.split("_", 1) if name.startswith(SIDES) else ("", name)
        base[joint] = SEEN_SIGMA_M[part]
        for source in SOURCES.get(part, (part,)):
            full = source if source in LANDMARK else f"{side}_{source}"
            pick[joint, LANDMARK[full]] = 1
    visible = chance @ (pick / pick.sum(1, keepdim=True)).T
    return base**visible * HIDDEN_SIGMA_M ** (1 - visible)
