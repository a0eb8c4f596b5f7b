"""People who stand keep their balance: what they lean along the view is taken back.

One camera hardly shows whether somebody leans towards it or away from it, and the networks err by
some degrees, the same way for a whole clip. Where the scene says which way is up, balance tells
the rest: over a few steps the mass is above the feet.
"""

from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from hpsvid.body.model import Body
from hpsvid.body.world import to_world
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.common.series import spaced_times
from hpsvid.motion.lock import reposed
from hpsvid.motion.smoothing import biweight
from hpsvid.motion.upright import standing_axes, support
from hpsvid.types import Array, Camera, Person, World

UP = np.array([0.0, 1.0, 0.0])  # of the world
LASTS_S = 2.0  # deviation of the weights of the frames about one: some steps
# How well up is to be known for half of a lean to be taken back, and the chance to stand that is
# needed for as much. Chosen on rendered takes (tools.tables.world, 0-33), where it hardly matters.
SURE_DEG, STANDS = 2.0, 0.1
MOST = np.deg2rad(20.0)  # who leans more leans on something, or sits


def righted(person: Person, body: Body, camera: Camera, world: World, pts_s: Array) -> Person:
    """The person turned about the feet by what it leans along the view, as far as up is known.

    pts_s: (F,) s of the clip's frames. The pose stays; in the picture joints move by about half a
    hundredth of the person's height.
    """
    at = person.track.frame_index
    joints = to_world(person.joints, world, at)
    view = (joints[:, 0] - world.t[at]) * (1 - UP)
    view /= np.linalg.norm(view, axis=-1, keepdims=True).clip(1e-9)
    axes, weight = standing_axes(joints, UP)
    lean = np.arcsin((axes * view).sum(-1).clip(-1, 1))
    weight = weight * person.valid * biweight(lean / MOST)
    lean = lasting(lean, weight, pts_s[at]) / (1 + (world.up_sigma_deg / SURE_DEG) ** 2)
    turn = axis_angle_to_matrix(torch.from_numpy(-lean[:, None] * np.cross(UP, view))).numpy()
    moved = (turn - np.eye(3)) @ (joints[:, 0] - support(joints, UP))[..., None]
    R = world.R[at]
    rotmats = person.body.rotmats.copy()
    rotmats[:, 0] = R.mT @ turn @ R @ rotmats[:, 0]
    transl = (person.body.transl + (R.mT @ moved)[..., 0]).astype(np.float32)
    return reposed(person, replace(person.body, rotmats=rotmats, transl=transl), body, camera)


def lasting(lean: Array, weight: Array, pts_s: Array) -> Array:
    """What of angles (T,) rad lasts for some steps, the less the fewer frames tell it.

    weight: (T,) 0 to 1; pts_s: (T,) s.
    """
    width = LASTS_S / float(np.median(np.diff(spaced_times(pts_s)))) if len(pts_s) > 1 else 1.0
    both = np.stack([weight * lean, weight, np.ones(len(lean))], 1)
    total, sure, frames = gaussian_filter1d(both, width, axis=0, mode="constant").T
    return np.asarray(total / (sure + STANDS * frames))
