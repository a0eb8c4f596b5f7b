"""Hold planted feet: inverse kinematics of the legs, within what the picture shows.

The more likely a heel or ball touches the ground, the less it is to move there; what the foot has
to be moved for that comes and goes smoothly. The foot keeps its direction, the knee its plane.
"""

from dataclasses import replace

import numpy as np
import torch
from scipy.linalg import solveh_banded

from hpsvid.body.hinges import HINGES
from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL, forward_kinematics
from hpsvid.body.world import in_world
from hpsvid.common.geometry import axis_angle_to_matrix, project, swing_between
from hpsvid.common.series import runs, spaced_times
from hpsvid.motion.feet import feet_over_ground
from hpsvid.motion.smoothing import add_bends, add_squares, biweight
from hpsvid.options import Options
from hpsvid.types import Array, BodyParams, Camera, Person, World

PLANTED = 0.5  # probability of contact of heel and ball
PLANTED_S = 0.1  # a foot that touches more briefly is not held
FADE_S = 0.2  # in which a correction comes and goes
# How a planted foot's correction is weighed: what is left of its sliding, what a foot in the air
# may keep of it, and how suddenly it may come: within about sqrt(FREE_M / EASE_M_S2) s.
HELD_M, FREE_M, EASE_M_S2 = 0.002, 0.03, 6.0
# The same of a foot that slides, chosen on rendered training pairs with contacts told by weights
# that had not seen them, and OFF_M on bodypose3d: speed of a point that surely touches, and for how
# long it errs by that; how far a foot is off where it is seen, for how long, and how suddenly.
# Steps are no slides: what is faster than STEPS_M_S hardly counts.
SLIDE_M_S, SLIDE_LASTS_S, OFF_M, OFF_LASTS_S, SUDDEN_M_S2, STEPS_M_S = (
    0.25,
    0.1,
    0.07,
    0.3,
    8.0,
    0.6,
)
AIRBORNE = 0.1  # a chance of contact up to which a foot is not held at all
ROUNDS = 5  # of finding out what steps
# How far foot and knee may be moved in the picture: this share of the body's height, or as far as
# the evidence itself says that it may be off (sigma)
ACROSS_SHARE = 0.01
KNEE_ROUNDS = 2  # of a leg that is nearly straight the knee goes with the root of the ankle's move
ALONG_M = 0.15  # and along the view, where it is least known
NEAR_FLOOR_M = 0.1
STRAIGHT = 0.995  # of its length: a knee is not stretched further than this, or than it was

SURE_DEG = 10.0  # how well up is to be known for feet to be held without being asked


def holds_feet(world: World, options: Options) -> bool:
    """Whether feet are to be held; unasked not where up is hardly known."""
    if options.foot_lock != "auto":
        return options.foot_lock != "off"
    return world.up_sigma_deg < SURE_DEG


def lock_feet(
    person: Person, body: Body, camera: Camera, world: World, pts_s: Array, *, level: bool = False
) -> Person:
    """The person with planted feet held; as it is where contacts are not known.

    pts_s: (F,) s of the clip's frames; level: feet are only kept on the floor, not held sideways.
    Distances to the evidence stay those of before.
    """
    if person.contacts is None or len(person.track) < 3:
        return person
    at = person.track.frame_index
    placed, times = in_world(person, world), spaced_times(pts_s[at])
    local, joints, turned = posed(placed, body)
    rest = body.rest_joints(torch.from_numpy(placed.betas)).double()
    least_m = ACROSS_SHARE * float(np.ptp(rest.numpy()[:, 1]))
    rays = joints - world.t[at][:, None]
    points = feet_over_ground(person.body, world, at, body)
    for i, leg in enumerate(HINGES[:2]):
        foot, touch = points[:, 2 * i : 2 * i + 2], person.contacts[:, 2 * i : 2 * i + 2]
        if level:
            move = _levelled(foot[..., 1].min(1), touch.mean(1) > PLANTED, times)
            across_m = np.full((len(at), 2, 1), least_m)
        else:
            move = standing_moves(foot, touch, times)
            across_m = np.maximum(person.sigma[:, leg[1:], None].astype(np.float64), least_m)
        move = _bounded(move, rays[:, leg[2]], across_m[:, 1])
        for _ in range(KNEE_ROUNDS):
            knee = _middle_move(joints, turned, move, leg)
            shown = np.linalg.norm(_across(knee, rays[:, leg[1]]), axis=-1, keepdims=True)
            move *= (_soft(shown, across_m[:, 0]) / np.maximum(shown, 1e-9)) ** 2
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
    upper, lower = bent_leg(joints[:, list(limb)], turned, move, (root, middle))
    local[:, root] = turned[:, SMPL.parents[root]].mT @ upper
    local[:, middle] = upper.mT @ lower
    local[:, end] = lower.mT @ turned[:, end]


def standing_moves(points: Array, chance: Array, times: Array) -> Array:
    """How far (T, 3) m a foot is to be moved so that what touches the ground does not slide.

    points: (T, P, 3) m of the foot, in the world; chance: (T, P) that they touch; times: (T,) s.
    Minimises over time the squares of (points' velocity / SLIDE_M_S), by their chance and less for
    those that step, of the move / OFF_M, and of its acceleration / SUDDEN_M_S2.
    """
    step = np.diff(times)
    rate = np.stack([-1 / step, 1 / step], -1)
    velocity = np.diff(points, axis=0) / step[:, None, None]
    sure = ((chance - AIRBORNE) / (1 - AIRBORNE)).clip(0)
    both = np.minimum(sure[1:], sure[:-1]) * step[:, None]
    both = both / (2 * SLIDE_LASTS_S * SLIDE_M_S**2)
    free = np.zeros((3, len(times)))
    free[-1] = np.gradient(times) / (2 * OFF_LASTS_S * OFF_M**2)
    add_bends(free, times, SUDDEN_M_S2)
    move = np.zeros((len(times), 3))
    for _ in range(ROUNDS):
        left = velocity + (np.diff(move, axis=0) / step[:, None])[:, None]
        stays = both / (1 + (np.linalg.norm(left, axis=-1) / STEPS_M_S) ** 2) ** 2
        bands = free.copy()
        add_squares(bands, rate, stays.sum(1))
        pull = -(stays[..., None] * velocity).sum(1)
        moment = np.zeros_like(move)
        moment[:-1] += rate[:, :1] * pull
        moment[1:] += rate[:, 1:] * pull
        move = solveh_banded(bands, moment)
    return move


def held_moves(ankle: Array, planted: Array, times: Array) -> Array:
    """How far an ankle (T, 3) m is to be moved so that it rests while it is planted (T,)."""
    want, sure = np.zeros_like(ankle), np.zeros(len(ankle))
    for run in runs(planted):
        if times[run.stop - 1] - times[run.start] >= PLANTED_S:
            want[run], sure[run] = np.median(ankle[run], 0) - ankle[run], 1
    return _eased(want, sure, times)


def _eased(want: Array, sure: Array, times: Array) -> Array:
    """Moves (T, C) m that follow `want` (T, C) where it is sure (T,), and come and go smoothly.

    They minimise the time integral of sure ((m - want) / HELD_M)^2 + (m / FREE_M)^2 +
    (m'' / EASE_M_S2)^2.
    """
    dt = np.gradient(times)
    bands = np.zeros((3, len(times)))
    bands[-1] = dt * (sure / HELD_M**2 + 1 / FREE_M**2)
    add_bends(bands, times, EASE_M_S2)
    return solveh_banded(bands, (dt * sure / HELD_M**2)[:, None] * want)


def _levelled(height: Array, planted: Array, times: Array) -> Array:
    """How far a foot whose lower end is at `height` (T,) m is to rise or sink, (T, 3) m.

    Planted (T,), it is to be on the floor; in the air, not below it. The further from the floor,
    the less: from NEAR_FLOOR_M on it is the floor that is wrong for this person.
    """
    near = biweight(height / NEAR_FLOOR_M)
    up = _eased(-height[:, None], np.where(planted | (height < 0), near, 0.0), times)
    return up * np.array([0.0, 1, 0])


def _bounded(move: Array, ray: Array, across_m: Array) -> Array:
    """Moves (T, 3) m shorter than `across_m` (T, 1) across the rays (T, 3), ALONG_M along them."""
    across = _across(move, ray)
    size = np.linalg.norm(across, axis=-1, keepdims=True)
    across = across * _soft(size, across_m) / np.maximum(size, 1e-9)
    along = move - _across(move, ray)
    size = np.linalg.norm(along, axis=-1, keepdims=True)
    return across + along * _soft(size, ALONG_M) / np.maximum(size, 1e-9)


def _across(move: Array, ray: Array) -> Array:
    """The part of moves (T, 3) that is across the rays (T, 3)."""
    view = ray / np.linalg.norm(ray, axis=-1, keepdims=True)
    return move - (move * view).sum(-1, keepdims=True) * view


def _soft(size: Array, most: Array | float) -> Array:
    """Sizes >= 0 that come near to `most` but stay below it, without a corner."""
    most = np.maximum(most, 1e-9)
    return size / (1 + (size / most) ** 4) ** 0.25


def _middle_move(joints: Array, turned: Array, move: Array, limb: tuple[int, int, int]) -> Array:
    """How far (T, 3) m a limb's middle goes when its end moves."""
    upper, _ = bent_leg(joints[:, list(limb)], turned, move, limb[:2])
    bone = joints[:, limb[1]] - joints[:, limb[0]]
    return ((upper @ turned[:, limb[0]].mT - np.eye(3)) @ bone[..., None])[..., 0]


def bent_leg(
    joints: Array, turned: Array, move: Array, which: tuple[int, int]
) -> tuple[Array, Array]:
    """Global rotations (T, 3, 3) of hip and knee that bring the ankle to where it is moved.

    joints: (T, 3, 3) m, hip, knee, ankle; turned: (T, 24, 3, 3) global rotations before.
    """
    hip, knee, ankle = joints[:, 0], joints[:, 1], joints[:, 2]
    thigh, shank = knee - hip, ankle - knee
    a, b = np.linalg.norm(thigh, axis=-1), np.linalg.norm(shank, axis=-1)
    before = np.linalg.norm(ankle - hip, axis=-1)
    wanted = np.linalg.norm(ankle + move - hip, axis=-1)
    room = np.maximum(STRAIGHT * (a + b) - before, 0)
    wanted = np.where(wanted > before, before + _soft((wanted - before).clip(0), room), wanted)
    wanted = wanted.clip(np.abs(a - b) + 1e-3, None)
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
