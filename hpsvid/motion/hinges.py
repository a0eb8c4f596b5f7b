"""Knees and elbows as far bent as they are read to be.

A limb's joints, each a little off, hardly ever lie on one line: what solvers make of them is bent
where the person is straight. How far it is bent is therefore read on its own.
"""

import numpy as np
import torch
from torch import Tensor

from hpsvid.body.hinges import HINGES, bends
from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL, forward_kinematics
from hpsvid.common.geometry import axis_angle_to_matrix, unit
from hpsvid.common.series import CHUNK, chunks
from hpsvid.types import Array, Observations

SOLVED_ERROR = np.radians(20)


def bend_hinges(rotmats: Array, betas: Array, obs: Observations, body: Body) -> Array:
    """Rotations (T, 24, 3, 3) with knees and elbows bent as `obs.bends` says.

    Each hinge turns about the axis that it is already bent around, from the bend as solved to the
    mean of that and the one read, weighted by their variances.
    """
    if obs.bends is None:
        return rotmats
    rest = body.rest_joints(torch.from_numpy(betas)).double()
    pieces = [
        _bend(torch.from_numpy(rotmats[part]).double(), rest, obs.bends[part], obs.valid[part])
        for part in chunks(len(rotmats), CHUNK)
    ]
    return np.concatenate(pieces)


def _bend(turned: Tensor, rest: Tensor, seen: Array, valid: Array) -> Array:
    joints, turns = forward_kinematics(turned, rest)
    read, sigma = torch.from_numpy(seen).double().unbind(-1)
    solved = bends(joints)
    trust = SOLVED_ERROR**2 / (SOLVED_ERROR**2 + sigma**2)
    trust = trust * torch.from_numpy(valid)[:, None]
    more = trust * (read.clamp_min(0) - solved)
    for number, (above, hinge, below) in enumerate(HINGES):
        upper, lower = joints[:, hinge] - joints[:, above], joints[:, below] - joints[:, hinge]
        axis = unit(torch.linalg.cross(upper, lower))
        turn = axis_angle_to_matrix(axis * more[:, number, None])
        frame = turns[:, SMPL.parents[hinge]]
        turned[:, hinge] = frame.mT @ turn @ frame @ turned[:, hinge]
    return turned.float().numpy()
