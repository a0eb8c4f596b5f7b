"""One shape from a whole clip."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpsvid.body.model import Body
from hpsvid.body.people import whole_shape
from hpsvid.body.skeleton import JOINT
from hpsvid.motion.shape import fit_shape
from hpsvid.types import N_BETAS
from tests.motion.test_person import CAMERA, moving, observe

ARM = ("left_shoulder", "left_elbow", "left_wrist")

NOBODY = np.zeros(N_BETAS, np.float32)


def arm(betas: np.ndarray, body: Body) -> float:
    """m, from shoulder to wrist."""
    rest = body.rest_joints(torch.from_numpy(betas)).numpy()[[JOINT[name] for name in ARM]]
    return float(np.linalg.norm(np.diff(rest, axis=0), axis=1).sum())


def stature(betas: np.ndarray, body: Body) -> float:
    return float(np.ptp(body.shaped(torch.from_numpy(betas)).numpy()[:, 1]))


@pytest.fixture(scope="module")
def usual(body: Body) -> np.ndarray:
    return whole_shape(NOBODY, body)


@pytest.mark.parametrize("longer", [-2.0, 2.0])
def test_arms_that_the_clip_shows_come_out_nearer_to_their_length(
    body: Body, usual: np.ndarray, longer: float
) -> None:
    true = usual.copy()
    true[10:12] += longer  # upper arm and forearm
    params = replace(moving(body, 40), betas=true)
    obs = observe(body, params, noise_px=2.0)
    found = fit_shape(body, params.rotmats, usual, obs, CAMERA)
    missed, before = (abs(arm(betas, body) - arm(true, body)) for betas in (found, usual))
    assert before > 0.06
    assert missed < 0.95 * before  # poses may give way, and a clip counts as one frame
    assert abs(stature(found, body) - stature(usual, body)) < 1e-3
    again = fit_shape(body, params.rotmats, usual, obs, CAMERA)
    assert (again == found).all()


def test_whose_legs_are_never_seen_keeps_the_shape(body: Body, usual: np.ndarray) -> None:
    params = replace(moving(body, 10), betas=usual)
    obs = observe(body, params, noise_px=2.0)
    hidden = obs.landmarks2d.copy()
    hidden[:, 23:, 2] = 0
    found = fit_shape(body, params.rotmats, usual, replace(obs, landmarks2d=hidden), CAMERA)
    assert (found == usual).all()


def test_a_body_that_says_nothing_of_people_is_fitted_by_ten_betas(body: Body) -> None:
    other = replace(body, usual=None, variety=None)
    params = replace(moving(body, 20), betas=np.linspace(-0.5, 0.5, 10, dtype=np.float32))
    found = fit_shape(other, params.rotmats, NOBODY, observe(body, params), CAMERA)
    assert found.shape == (10,) and np.isfinite(found).all()
    assert abs(stature(found, body) - stature(NOBODY, body)) < 1e-3
