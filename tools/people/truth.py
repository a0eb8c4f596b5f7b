"""What is exactly true of a scene's people, in camera axes: poses, joints, who hides what."""

from dataclasses import dataclass

import numpy as np
import torch

from hpsvid.body.model import Body
from hpsvid.body.skeleton import BLAZEPOSE, SMPL
from hpsvid.mocap.amass import seen_by_camera
from hpsvid.types import Array, BodyParams
from tools.people.film import Frame
from tools.people.motions import as_capture
from tools.people.staging import Actor, Scene

# States of a joint or landmark in a frame.
SEEN, SELF_HIDDEN, HIDDEN, OUTSIDE = range(4)
# How deep a point may lie under its own clothed surface and count as seen, m, by part of its name;
# joints lie inside the body, most landmarks on its skin.
DEPTHS = (
    ("eye", 0.04), ("nose", 0.03), ("mouth", 0.03), ("ear", 0.05), ("pinky", 0.04),
    ("index", 0.05), ("thumb", 0.05), ("heel", 0.06), ("tip", 0.04), ("toe", 0.05),
    ("head_top", 0.06), ("hip", 0.17), ("pelvis", 0.18), ("spine", 0.18), ("neck", 0.11),
    ("collar", 0.13), ("head", 0.15), ("shoulder", 0.12), ("elbow", 0.09), ("wrist", 0.07),
    ("hand", 0.06), ("knee", 0.10), ("ankle", 0.09), ("foot", 0.08),
)  # fmt: skip


def depth_under_skin(names: tuple[str, ...]) -> Array:
    """DEPTHS of these joints or landmarks (P,) m."""
    return np.array([next(depth for part, depth in DEPTHS if part in name) for name in names])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PersonTruth:
    """One person over T frames, camera axes."""

    params: BodyParams
    joints: Array  # (T, 29, 3) float32 m
    landmarks: Array  # (T, 33, 3) float32 m, on the free body's surface
    joint_state: Array  # (T, 29) uint8: SEEN, SELF_HIDDEN, HIDDEN or OUTSIDE
    landmark_state: Array  # (T, 33) uint8
    joints2d: Array  # (T, 29, 2) float32 px
    landmarks2d: Array  # (T, 33, 2) float32 px


def truth_of(scene: Scene, frames: list[Frame], body: Body) -> list[PersonTruth]:
    """The truth of every actor of a filmed scene, in the scene's order."""
    return [_truth(scene, k, frames, body) for k in range(len(scene.actors))]


def camera_params(actor: Actor, scene: Scene, body: Body) -> BodyParams:
    """The actor's body in the camera's axes, frame by frame."""
    shot = scene.shot
    capture = as_capture(actor.motion, actor.betas)
    return seen_by_camera(capture, shot.rotation, shot.translation, body)


def _truth(scene: Scene, which: int, frames: list[Frame], body: Body) -> PersonTruth:
    params = camera_params(scene.actors[which], scene, body)
    rotmats, betas, transl = (
        torch.from_numpy(np.asarray(a)) for a in (params.rotmats, params.betas, params.transl)
    )
    with torch.inference_mode():
        joints = body.joints(rotmats, betas, transl).numpy()
        landmarks = body.landmarks(rotmats, betas, transl).numpy()
    states, flats = [], []
    for points, names in ((joints, SMPL.names), (landmarks, BLAZEPOSE.names)):
        depths = depth_under_skin(names)
        flat = _pixels(points, scene.shot.K)
        flats.append(flat.astype(np.float32))
        states.append(
            np.stack([
                point_states(points[t], flat[t], depths, frame, which)
                for t, frame in enumerate(frames)
            ])
        )  # fmt: skip
    return PersonTruth(
        params=params,
        joints=joints,
        landmarks=landmarks,
        joint_state=states[0],
        landmark_state=states[1],
        joints2d=flats[0],
        landmarks2d=flats[1],
    )


def _pixels(points: Array, K: Array) -> Array:
    """Picture points (..., 2) px of camera points (..., 3) m."""
    return points[..., :2] / points[..., 2:] * K[[0, 1], [0, 1]] + K[:2, 2]


def point_states(points: Array, flat: Array, depths: Array, frame: Frame, which: int) -> Array:
    """States (P,) uint8 of a person's points in a frame, by the majority of a pixel's samples.

    points: (P, 3) m, camera axes; flat: (P, 2) px; depths: (P,) m; which: the person's number.
    """
    samples, height, width = frame.owner.shape
    inside = ((flat >= 0) & (flat < [width, height])).all(1) & (points[:, 2] > 0)
    column = flat[:, 0].clip(0, width - 1).astype(int)
    row = flat[:, 1].clip(0, height - 1).astype(int)
    owner = frame.owner[:, row, column]
    with np.errstate(divide="ignore"):
        surface = 1 / frame.nearness[:, row, column]  # m; inf where nothing is
    in_front = points[:, 2] - surface  # of the point, m
    own = (owner == which) & (in_front > depths)
    other = (owner != which) & (in_front > 0)
    state = np.full(len(points), SEEN, np.uint8)
    state[own.sum(0) * 2 > samples] = SELF_HIDDEN
    state[other.sum(0) * 2 > samples] = HIDDEN
    state[~inside] = OUTSIDE
    return state
