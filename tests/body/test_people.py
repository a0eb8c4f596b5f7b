"""The likeliest shape of somebody of whom little is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpsvid.body.model import Body
from hpsvid.body.people import of_stature, told_betas, whole_shape
from hpsvid.body.skeleton import JOINT
from hpsvid.types import N_BETAS, BodyParams

STATURE = 1.690  # m, of ANSUR II's women and men in the mean


def stature(betas: np.ndarray, body: Body) -> float:
    return float(np.ptp(body.shaped(torch.from_numpy(betas)).numpy()[:, 1]))


def bone(betas: np.ndarray, body: Body, start: str, end: str) -> float:
    rest = body.rest_joints(torch.from_numpy(betas)).numpy()
    return float(np.linalg.norm(rest[JOINT[start]] - rest[JOINT[end]]))


def test_somebody_unknown_is_built_as_people_are(body: Body) -> None:
    """ANSUR II's means and de Leva's joint centres, as shares of stature."""
    betas = whole_shape(np.zeros(N_BETAS, np.float32), body)
    tall = stature(betas, body)
    assert abs(tall - STATURE) < 0.003
    assert abs(bone(betas, body, "left_shoulder", "left_elbow") / tall - 0.160) < 0.003
    assert abs(bone(betas, body, "left_elbow", "left_wrist") / tall - 0.152) < 0.003
    assert abs(bone(betas, body, "left_hip", "left_knee") / tall - 0.233) < 0.006
    assert body.usual is not None
    np.testing.assert_allclose(betas, body.usual, atol=1e-6)


def test_what_a_network_says_is_kept_and_limbs_go_with_it(body: Body) -> None:
    seen = np.zeros(N_BETAS, np.float32)
    seen[0] = 1.0  # taller
    short, tall = whole_shape(-seen, body), whole_shape(seen, body)
    assert body.usual is not None
    np.testing.assert_allclose(tall[:N_BETAS], body.usual[:N_BETAS] + seen, atol=1e-5)
    assert abs(stature(tall, body) - stature(short, body) - 0.182) < 0.002
    arm = [bone(betas, body, "left_shoulder", "left_elbow") for betas in (short, tall)]
    assert 0.02 < arm[1] - arm[0] < 0.05


@pytest.mark.parametrize("height", [1.5, 1.69, 1.95])
def test_a_known_stature_is_met_and_legs_are_as_long_as_such_peoples(
    body: Body, height: float
) -> None:
    betas = of_stature(whole_shape(np.zeros(N_BETAS, np.float32), body), height, body)
    assert abs(stature(betas, body) - height) < 2e-3
    leg = bone(betas, body, "left_hip", "left_knee") + bone(betas, body, "left_knee", "left_ankle")
    assert abs(leg / height - 0.472) < 0.025


def test_on_a_body_that_says_nothing_of_people_ten_betas_are_the_shape(body: Body) -> None:
    other = replace(body, usual=None, variety=None, shape_dirs=body.shape_dirs[..., :N_BETAS],
                    rest_dirs=body.rest_dirs[..., :N_BETAS])  # fmt: skip
    betas = np.linspace(-1, 1, N_BETAS, dtype=np.float32)
    assert (whole_shape(betas, other) == betas).all()
    assert abs(stature(of_stature(betas, 1.8, other), other) - 1.8) < 2e-3


def test_a_shape_of_ten_betas_is_that_of_the_body_before_it_had_more(body: Body) -> None:
    rng = np.random.default_rng(0)
    ten = rng.normal(size=N_BETAS).astype(np.float32)
    turns = np.tile(np.eye(3, dtype=np.float32), (1, 24, 1, 1))
    short, long = (
        BodyParams(rotmats=turns, betas=betas, transl=np.zeros((1, 3), np.float32))
        for betas in (ten, np.concatenate([ten, np.zeros(6, np.float32)]))
    )
    np.testing.assert_allclose(body.vertices_of(short), body.vertices_of(long), atol=1e-6)
    np.testing.assert_allclose(body.joints_of(short), body.joints_of(long), atol=1e-6)
    with pytest.raises(ValueError, match="expected 10"):
        replace(short, betas=ten[:9])


def test_what_a_network_is_to_tell_makes_the_shape_again(body: Body) -> None:
    seen = np.random.default_rng(2).normal(size=N_BETAS).astype(np.float32)
    told = told_betas(torch.from_numpy(whole_shape(seen, body)), body)
    np.testing.assert_allclose(told.numpy(), seen, atol=1e-5)
    assert (told_betas(torch.from_numpy(seen), body).numpy() == seen).all()  # drawn about 0
