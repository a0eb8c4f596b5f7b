"""Hold planted feet: inverse kinematics of the legs, within what the picture shows.

Where heel and ball of a foot touch the ground, its ankle is drawn to one place in the world; before
and after, the correction fades. The foot keeps its direction, the knee its plane.
"""

from dataclasses import replace

import numpy as np
import torch

from hpsvid.body.hinges import HINGES
from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL, forward_kinematics
from hpsvid.body.world import in_world
from hpsvid.common.geometry import axis_angle_to_matrix, project, swing_between
from hpsvid.common.series import runs, spaced_times
from hpsvid.options import Options
from hpsvid.types import Array, BodyParams, Camera, Person, World
from hpsvid.video.egomotion import CameraTurn

PLANTED = 0.5  # probability of contact of heel and ball
PLANTED_S = 0.1  # a foot that touches more briefly is not held
FADE_S = 0.2  # in which a correction comes and goes
ACROSS_SHARE = 0.01  # of the body's height: how far a foot may be moved in the picture
ALONG_M = 0.08  # and along the view, where it is least known
STRAIGHT = 0.995  # of its length: a knee is not stretched further than this, or than it was

SURE_DEG = 10.0  # how well up is to be known for feet to be held without being asked


def holds_feet(world: World, turn: CameraTurn, options: Options) -> bool:
    """Whether planted feet are to be held; unasked not before a camera that travels."""
    if options.foot_lock != "auto":
        return options.foot_lock == "always"
    return world.up_sigma_deg < SURE_DEG and not turn.parallax


def lock_feet(person: Person, body: Body, camera: Camera, world: World, pts_s: Array) -> Person:
    """The person with planted feet held; as it is where contacts are not known.

    pts_s: (F,) s of the clip's frames. Distances to the evidence stay those of before.
    """
    if person.contacts is None or len(person.track) < 3:
        return person
    at = person.track.frame_index
    placed = in_world(person, world)
    local, joints, turned = posed(placed, body)
    rest = body.rest_joints(torch.from_numpy(placed.betas)).double()
    height = float(np.ptp(rest.numpy()[:, 1]))
    rays = joints - world.t[at][:, None]
    for i, leg in enumerate(HINGES[:2]):
        ankle = leg[2]
        planted = person.contacts[:, 2 * i : 2 * i + 2].min(1) > PLANTED
        move = _moves(joints[:, ankle], planted, spaced_times(pts_s[at]))
        move = _bounded(move, rays[:, ankle], ACROSS_SHARE * height)
        bend_limb(local, joints, turned, move, leg)
    local[:, 0] = person.body.rotmats[:, 0]
    params = replace(person.body, rotmats=local.astype(np.float32))
    return reposed(person, params, body, camera)


def posed(params: BodyParams, body: Body) -> tuple[Array, Array, Array]:
    """Rotations (T, 24, 3, 3), joints (T, 29, 3) m and global rotations (T, 24, 3, 3), float64."""
    rest = body.rest_joints(torch.from_numpy(params.betas)).double()
    local = params.rotmats.astype(np.float64)
    joints, turned = forward_kinematics(torch.from_numpy(local), rest)
    return local, joints.numpy() + params.transl[:, None].astype(np.float64), turned.numpy()


def reposed(person: Person, params: BodyParams, body: Body, camera: Camera) -> Person:
    """The person in another pose; distances to the evidence stay those of before."""
    points = body.joints_of(params)
    image = project(torch.from_numpy(points), torch.from_numpy(camera.K).float()).numpy()
    return replace(person, body=params, joints=points, joints2d=image)


def bend_limb(
    local: Array, joints: Array, turned: Array, move: Array, limb: tuple[int, int, int]
) -> None:
    """Bend a limb so that its end moves, as far as it reaches; hand or foot keep their direction.

    local: (T, 24, 3, 3) rotations, changed in place; joints: (T, 29, 3) m and turned:
    (T, 24, 3, 3) global rotations of before; move: (T, 3) m; limb: hip, knee, ankle, or an arm's.
    """
    root, middle, end = limb
    upper, lower = _leg(joints[:, list(limb)], turned, move, (root, middle))
    local[:, root] = turned[:, SMPL.parents[root]].mT @ upper
    local[:, middle] = upper.mT @ lower
    local[:, end] = lower.mT @ turned[:, end]


def _moves(ankle: Array, planted: Array, times: Array) -> Array:
    """How far an ankle (T, 3) m is to be moved so that it rests while it is planted (T,)."""
    knots, values = [], []
    last = -np.inf
    for run in runs(planted):
        begin, end = times[run.start], times[run.stop - 1]
        if end - begin < PLANTED_S:
            continue
        if begin - last > 2 * FADE_S:
            knots += [*([last + FADE_S] if np.isfinite(last) else []), begin - FADE_S]
            values += [np.zeros(3)] * (2 if np.isfinite(last) else 1)
        knots += times[run].tolist()
        values += list(np.median(ankle[run], 0) - ankle[run])
        last = end
    if not knots:
        return np.zeros_like(ankle)
    knots.append(last + FADE_S)
    values.append(np.zeros(3))
    return np.stack([np.interp(times, knots, np.array(values)[:, k]) for k in range(3)], -1)


def _bounded(move: Array, ray: Array, across_m: float) -> Array:
    """Moves (T, 3) m no longer than `across_m` across the rays (T, 3), ALONG_M along them."""
    view = ray / np.linalg.norm(ray, axis=-1, keepdims=True)
    along = (move * view).sum(-1, keepdims=True)
    across = move - along * view
    size = np.linalg.norm(across, axis=-1, keepdims=True)
    across = across * np.minimum(1, across_m / np.maximum(size, 1e-9))
    return across + along.clip(-ALONG_M, ALONG_M) * view


def _leg(joints: Array, turned: Array, move: Array, which: tuple[int, int]) -> tuple[Array, Array]:
    """Global rotations (T, 3, 3) of hip and knee that bring the ankle to where it is moved.

    joints: (T, 3, 3) m, hip, knee, ankle; turned: (T, 24, 3, 3) global rotations before.
    """
    hip, knee, ankle = joints[:, 0], joints[:, 1], joints[:, 2]
    thigh, shank = knee - hip, ankle - knee
    a, b = np.linalg.norm(thigh, axis=-1), np.linalg.norm(shank, axis=-1)
    before = np.linalg.norm(ankle - hip, axis=-1)
    wanted = np.linalg.norm(ankle + move - hip, axis=-1)
    wanted = wanted.clip(np.abs(a - b) + 1e-3, np.maximum(before, STRAIGHT * (a + b)))
    bend = _bend(a, b, wanted) - _bend(a, b, before)  # of the knee, straighter if negative
    normal = np.cross(thigh, shank)
    size = np.linalg.norm(normal, axis=-1, keepdims=True)
    axis = np.where(size > 1e-6, normal / np.maximum(size, 1e-9), turned[:, which[1], :, 0])
    bent = axis_angle_to_matrix(torch.from_numpy(axis * bend[:, None])).numpy()
    reached = thigh + (bent @ shank[..., None])[..., 0]
    goal = ankle + move - hip
    swing = swing_between(torch.from_numpy(reached), torch.from_numpy(goal)).numpy()
    return swing @ turned[:, which[0]], swing @ bent @ turned[:, which[1]]


def _bend(a: Array, b: Array, distance: Array) -> Array:
    """Angle (T,) rad by which a chain of two bones of these lengths is bent to span `distance`."""
    cosine = (distance**2 - a**2 - b**2) / (2 * a * b)
    return np.arccos(cosine.clip(-1, 1))
