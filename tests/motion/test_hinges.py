"""Knees and elbows come out as far bent as they were read to be."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpsvid.body.hinges import HINGES, bends
from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL, mirror_points
from hpsvid.motion.hinges import bend_hinges
from hpsvid.types import Array, BodyParams, Observations
from tests.factories import make_params


def bends_of(body: Body, params: BodyParams) -> Array:
    return bends(torch.from_numpy(body.joints_of(params))).numpy()


def read(
    params: BodyParams, angles: Array, sigma: float, valid: Array | None = None
) -> Observations:
    frames = len(angles)
    return Observations(
        track_id=0,
        frame_index=np.arange(frames),
        joints=np.zeros((frames, 29, 3), np.float32),
        sigma=np.ones((frames, 29), np.float32),
        twist=np.ones((frames, 23, 2), np.float32),
        betas=np.tile(params.betas, (frames, 1)),
        landmarks2d=np.zeros((frames, 33, 3), np.float32),
        pelvis=params.transl,
        valid=np.ones(frames, bool) if valid is None else valid,
        bends=np.stack([angles, np.full_like(angles, sigma)], -1).astype(np.float32),
    )


def test_the_bend_of_a_right_angle_and_of_a_straight_limb() -> None:
    joints = torch.zeros(29, 3)
    for above, _, below in HINGES[:2]:
        joints[above], joints[below] = torch.tensor([0.0, 1, 0]), torch.tensor([0.5, 0, 0])
    for above, _, below in HINGES[2:]:
        joints[above], joints[below] = torch.tensor([0.0, 0.3, 0]), torch.tensor([0, -0.4, 0])
    torch.testing.assert_close(bends(joints), torch.tensor([torch.pi / 2, torch.pi / 2, 0, 0]))


def test_a_mirror_exchanges_left_and_right(body: Body) -> None:
    joints = torch.from_numpy(body.joints_of(make_params(5, 3)))
    torch.testing.assert_close(bends(mirror_points(joints, SMPL)), bends(joints)[:, [1, 0, 3, 2]])


def test_hinges_take_the_bend_that_was_read(body: Body) -> None:
    params = make_params(6, 1, turn=0.5)
    angles = np.random.default_rng(0).uniform(0, 2, (6, 4))
    turned = bend_hinges(params.rotmats, params.betas, read(params, angles, 1e-4), body)
    np.testing.assert_allclose(bends_of(body, replace(params, rotmats=turned)), angles, atol=2e-3)
    others = [j for j in range(24) if j not in {hinge for _, hinge, _ in HINGES}]
    np.testing.assert_allclose(turned[:, others], params.rotmats[:, others], atol=1e-6)


def test_an_unsure_reading_moves_them_less(body: Body) -> None:
    params = make_params(6, 1, turn=0.5)
    before = bends_of(body, params)
    wanted = before + 0.5
    moved = [
        bends_of(
            body,
            replace(
                params,
                rotmats=bend_hinges(params.rotmats, params.betas, read(params, wanted, s), body),
            ),
        )
        - before
        for s in (0.01, 0.3, 3.0)
    ]
    assert (moved[0] > moved[1]).all() and (moved[1] > moved[2]).all()
    assert np.abs(moved[2]).max() < 0.02


@pytest.mark.parametrize("seen", [True, False])
def test_without_a_reading_nothing_turns(body: Body, seen: bool) -> None:
    params = make_params(6, 1, turn=0.5)
    obs = read(params, np.ones((6, 4)), 1e-3, np.zeros(6, bool))
    obs = replace(obs, bends=None, valid=np.ones(6, bool)) if seen else obs
    turned = bend_hinges(params.rotmats, params.betas, obs, body)
    np.testing.assert_allclose(turned, params.rotmats, atol=1e-6)
