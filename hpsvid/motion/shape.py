"""One shape of a person, fitted to a whole clip.

Bones that are seen across the view show their lengths; no single frame shows them all. How tall
somebody is, one camera does not see: that is as it was told or is usual.
"""

import numpy as np
import torch

from hpsvid.body.model import Body
from hpsvid.body.people import stature, variety_of
from hpsvid.common.records import take, take_frames
from hpsvid.motion.placing import LANDMARK_WEIGHT, Pose, landmark_evidence, place, refine_frames
from hpsvid.types import Array, Camera, Observations

FRAMES = 48  # of a clip that are looked at, spread evenly over those that show nearly all of a body
WELL_SEEN = 0.7  # of the landmarks' weights
HOLD = 1e8  # of the stature, against a spread of 1


def fit_shape(body: Body, rotmats: Array, betas: Array, obs: Observations, camera: Camera) -> Array:
    """Betas (B,) float32 that explain a track's landmarks better than `betas`; stature is kept.

    rotmats: (T, 24, 3, 3) as solved. Poses and the root of frames spread over the track are refined
    together with the shape they share (`placing.refine_frames`), about `betas` and as people
    vary. Where too few frames show the body, betas stay as they are.
    """
    marks = landmark_evidence(obs)
    shows = marks.weight.sum(1).numpy() >= WELL_SEEN * LANDMARK_WEIGHT.sum()
    well = np.flatnonzero(shows & obs.valid)
    if len(well) < 2:
        return betas
    chosen = well[np.linspace(0, len(well) - 1, min(len(well), FRAMES)).astype(int)]
    seen, turned = take_frames(obs, chosen), rotmats[chosen]
    transl = place(body, turned, betas, seen, camera)
    _, taller = stature(betas, body)
    varies = np.linalg.inv(variety_of(body, len(betas)))
    prior = torch.from_numpy(varies + HOLD * np.outer(taller, taller))
    K = torch.from_numpy(camera.K)
    start = Pose(turned, betas, transl)
    return refine_frames(body, start, take(marks, torch.from_numpy(chosen)), K, prior).betas
