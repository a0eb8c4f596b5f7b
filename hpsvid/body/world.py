"""A person in the world: from the camera's axes to the ground's."""

import numpy as np

from hpsvid.types import Array, BodyParams, Person, World


def in_world(person: Person, world: World) -> BodyParams:
    """A person's body in the world's axes: y up, the ground at 0, metres.

    SMPL turns a body about its pelvis, J0(betas) + transl, so that point is what moves.
    """
    at = person.track.frame_index
    rotmats = person.body.rotmats.copy()
    rotmats[:, 0] = world.R[at] @ rotmats[:, 0]
    pelvis = person.joints[:, 0].astype(np.float64)
    rest = pelvis - person.body.transl  # J0(betas)
    transl = to_world(pelvis[:, None], world, at)[:, 0] - rest
    return BodyParams(rotmats=rotmats, betas=person.body.betas, transl=transl.astype(np.float32))


def to_world(points: Array, world: World, frame_index: Array) -> Array:
    """Points (T, N, 3) m of the camera in these frames (T,) of the clip, in world axes, float64."""
    R, t = world.R[frame_index], world.t[frame_index]
    return points.astype(np.float64) @ R.mT + t[:, None]
