"""From a solved track to a person in front of a camera: camera, shape, placement, refinement.

Everything here is batched over the frames of one track.
"""

from dataclasses import replace

import numpy as np
import torch

from hpsvid.body.model import Body
from hpsvid.body.people import of_stature, whole_shape
from hpsvid.common.geometry import project
from hpsvid.common.series import fill_gaps, fill_rotations
from hpsvid.motion.path import FEET, steady_path
from hpsvid.motion.placing import (
    LANDMARK_WEIGHT,
    distance_doubt,
    landmark_evidence,
    place,
    plainly_off,
    posed_landmarks,
    refine,
    reprojection_error,
)
from hpsvid.motion.shape import fit_shape
from hpsvid.motion.smoothing import (
    FILLED_WEIGHT,
    Smoothed,
    certainty,
    of_bones,
    smooth_rotations,
    steady_corrections,
)
from hpsvid.options import Options
from hpsvid.types import Array, BodyParams, Camera, Observations, Person, Track


def person_betas(obs: Observations) -> Array:
    """Ten betas (10,) float32 of a track: the median over its frames, weighted by certainty.

    Frames without evidence do not count; without any, the mean shape (zeros).
    """
    if not obs.valid.any():
        return np.zeros(obs.betas.shape[1], np.float32)
    betas = obs.betas[obs.valid].astype(np.float64)
    weight = 1 / np.maximum(obs.sigma[obs.valid].astype(np.float64) ** 2, 1e-6).mean(1)
    order = np.argsort(betas, axis=0, kind="stable")
    mass = np.cumsum(weight[order], axis=0)
    middle = (mass >= mass[-1:] / 2).argmax(0)
    return np.take_along_axis(betas, np.take_along_axis(order, middle[None], 0), 0)[0].astype(
        np.float32
    )


def shape_of(obs: Observations, options: Options, body: Body) -> Array:
    """A track's whole shape (B,): the likeliest by what was seen and the height that is known."""
    betas = whole_shape(person_betas(obs), body)
    height = options.heights.get(obs.track_id, options.heights.get(None))
    return betas if height is None else of_stature(betas, height, body)


def make_person(
    track: Track, evidence: Smoothed, rotmats: Array, betas: Array, body: Body, camera: Camera
) -> Person:
    """Place, refine, fill and smooth one solved track.

    rotmats: (T, 24, 3, 3) as solved; betas: (B,). `reprojection_px` is that of the finished
    body, which the overlay shows, on the landmarks as they were seen.
    """
    obs, pts_s = evidence.obs, evidence.pts_s
    betas = fit_shape(body, rotmats, betas, obs, camera)
    transl = place(body, rotmats, betas, obs, camera)
    marks = landmark_evidence(obs)
    seen = marks.weight.sum(1).numpy() / LANDMARK_WEIGHT.sum()
    refined, transl = refine(body, rotmats, betas, transl, obs, camera)
    if obs.masks is not None:
        from hpsvid.motion.align import align  # it loads numba

        refined, transl = align(body, refined, betas, transl, obs, camera)
    rotmats = steady_corrections(rotmats, refined, seen, pts_s)
    rotmats = fill_rotations(rotmats, obs.valid, pts_s)
    if obs.valid.any():
        transl = fill_gaps(transl.astype(np.float64), obs.valid, pts_s)
    sure = certainty(obs.sigma.astype(np.float64) ** 2, obs.valid)
    rotmats = smooth_rotations(rotmats, of_bones(sure), pts_s)
    params = BodyParams(rotmats=rotmats, betas=betas, transl=transl.astype(np.float32))
    joints, weight = body.joints_of(params), np.clip(seen, FILLED_WEIGHT, 1)
    doubt = distance_doubt(marks, joints[:, 0, 2], camera)
    feet = [] if evidence.carried else FEET
    path = steady_path(joints[:, 0], weight, doubt, joints[:, feet] - joints[:, :1], pts_s)
    params = replace(params, transl=params.transl + path - joints[:, 0])
    person = with_joints(track, evidence.raw, params, body, camera)
    off = plainly_off(person.reprojection_px, person.joints2d)
    return replace(person, valid=person.valid & ~off)


def with_joints(
    track: Track, raw: Observations, params: BodyParams, body: Body, camera: Camera
) -> Person:
    """The person that these parameters describe, its joints, and how far they miss the evidence.

    A solver moves a joint away from evidence that it holds to be wrong (NIKI's error embedding).
    That distance, with sigma, says how far the joint can be trusted.
    """
    joints = torch.from_numpy(body.joints_of(params))
    moved = torch.from_numpy(params.transl).double()
    posed = posed_landmarks(body, params.rotmats, params.betas) + moved[:, None]
    joints2d = project(joints, torch.from_numpy(camera.K).float())
    error = (joints - joints[:, :1] - torch.from_numpy(raw.joints)).norm(dim=-1).numpy()
    return Person(
        track=track,
        body=params,
        joints=joints.numpy(),
        joints2d=joints2d.numpy(),
        sigma=raw.sigma,
        valid=raw.valid,
        reprojection_px=reprojection_error(posed, landmark_evidence(raw), camera),
        evidence_error=np.where(raw.valid[:, None], error, np.float32(np.nan)),
    )
