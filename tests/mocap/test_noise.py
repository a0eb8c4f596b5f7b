"""Training windows: the truth behind the evidence, errors of the size they are said to be."""

import numpy as np
import pytest
import torch

from hpsvid.body.skeleton import JOINT, SMPL
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.errors import InputError
from hpsvid.ik.tensors import posed_joints
from hpsvid.mocap.amass import MotionCapture
from hpsvid.mocap.noise import Noise, correlated, hidden_joints, observe
from hpsvid.mocap.sources import MotionSource, even_windows, mirror
from hpsvid.training.batches import LiftedPairs, MotionBatches, random_batch

UP = torch.tensor([0.0, 1.0, 0.0])


@pytest.fixture(autouse=True)
def small_pool(monkeypatch):
    monkeypatch.setattr("hpsvid.training.batches.POOL", 8)


def make_clip(frames=90, seed=0, fps=30.0) -> MotionCapture:
    rng = np.random.default_rng(seed)
    angles = 0.4 * rng.normal(size=(24, 3)) + (0.03 * rng.normal(size=(frames, 24, 3))).cumsum(0)
    return MotionCapture(
        name=f"clip{seed}",
        rotmats=axis_angle_to_matrix(torch.from_numpy(angles)).float().numpy(),
        transl=np.zeros((frames, 3), np.float32),
        betas=np.zeros(10, np.float32),
        fps=fps,
        licence="",
    )


def make_noise(sigma, *, rho=0.0, depth=1.0, doubt=0.0, twist=4.0) -> Noise:
    one = torch.ones(len(sigma), 1, 1)
    return Noise(
        sigma=sigma, rho=rho * one[..., None], depth=depth * one, doubt=doubt * one,
        twist=twist * one,
    )  # fmt: skip


def test_errors_have_the_size_and_direction_asked_for(body):
    poses = torch.from_numpy(make_clip().rotmats)[None].repeat(40, 1, 1, 1, 1)
    rest = body.rest_joints(torch.zeros(40, 1, 10))
    view = torch.tensor([0.0, 0.0, 1.0]).expand(40, 90, 3)
    noise = make_noise(torch.full((40, 90, 29), 0.05), depth=2.0, rho=0.8)
    evidence, reported = observe(poses, rest, view, noise, torch.Generator().manual_seed(0))
    error = evidence.joints - posed_joints(poses, rest.expand(40, 90, 29, 3))
    assert not error[..., 0, :].any()  # the pelvis is the origin
    spread = error[..., 1:, :].square().mean((0, 1, 2))
    assert spread.mean().sqrt().item() == pytest.approx(0.05, rel=0.03)
    assert (spread[2] / spread[0]).sqrt().item() == pytest.approx(2.0, rel=0.05)
    follows = (error[:, 1:, 1:] * error[:, :-1, 1:]).mean() / error[..., 1:, :].square().mean()
    assert follows.item() == pytest.approx(0.8, abs=0.02)
    assert torch.allclose(reported, torch.full_like(reported, 0.054))
    length = evidence.twist.norm(dim=-1)
    assert torch.allclose(length, torch.ones_like(length), atol=1e-5)


def test_without_noise_evidence_is_the_truth(body):
    poses = torch.from_numpy(make_clip(10).rotmats)[None]
    rest = body.rest_joints(torch.zeros(1, 1, 10))
    view = torch.tensor([0.0, 0.0, 1.0]).expand(1, 10, 3)
    noise = make_noise(torch.zeros(1, 10, 29))
    evidence, _ = observe(poses, rest, view, noise, torch.Generator())
    expected = posed_joints(poses, rest.expand(1, 10, 29, 3))
    assert torch.allclose(evidence.joints, expected, atol=1e-6)


def test_correlated_noise_stays_standard_normal():
    drawn = correlated(
        (4000, 12, 1, 1), torch.full((4000, 1, 1, 1), 0.9), torch.Generator().manual_seed(0)
    )
    assert drawn[:, 0].std().item() == pytest.approx(1, abs=0.04)
    assert drawn[:, -1].std().item() == pytest.approx(1, abs=0.04)


def test_occlusion_moves_smoothly_and_follows_the_protocol(body):
    poses = torch.from_numpy(make_clip(64).rotmats[:1])[None].expand(60, 64, 24, 3, 3)
    joints = posed_joints(poses, body.rest_joints(torch.zeros(1, 1, 10)).expand(60, 64, 29, 3))
    view = torch.tensor([0.0, 0.0, -1.0]).expand(60, 64, 3)
    hidden = hidden_joints(joints, view, UP, torch.Generator().manual_seed(0), phase=False)
    # a body that stands still: in more than two key frames of three, part of it is hidden
    assert hidden[:, ::8].any(-1).float().mean() > 2 / 3
    assert 0.1 < hidden.float().mean() < 0.5
    changes = (hidden[:, 1:] != hidden[:, :-1]).float().mean()
    share = hidden.float().mean()
    assert changes < share * (1 - share)  # half of what it would be if drawn anew every frame


def test_mirror_exchanges_the_sides():
    rotmats = make_clip(5).rotmats
    assert np.allclose(mirror(mirror(rotmats)), rotmats, atol=1e-6)


def test_mirrored_poses_are_mirrored_bodies(body):
    rotmats = torch.from_numpy(make_clip(5).rotmats)
    rest = body.rest_joints(torch.zeros(5, 10))
    found = posed_joints(torch.from_numpy(mirror(rotmats.numpy())), rest)[:, :24]
    expected = posed_joints(rotmats, rest)[:, SMPL.mirror_rotations] * torch.tensor([-1.0, 1, 1])
    assert (found - expected).norm(dim=-1).max() < 0.02  # the free body is nearly symmetric


def test_batches_are_the_same_for_the_same_seed_and_turned_to_the_rest_body(body):
    source = MotionSource([make_clip(90, seed) for seed in range(3)], 12)

    def draw(seed):
        batches = MotionBatches(source, body, batch=6, framewise=False, seed=seed)
        return next(iter(batches))

    first, again, other = draw(1), draw(1), draw(2)
    assert torch.equal(first.evidence.joints, again.evidence.joints)
    assert not torch.equal(first.evidence.joints, other.evidence.joints)
    shape = first.person.sigma.shape
    assert shape == (6, 12, 29)
    rest = first.person.rest.expand(*shape, 3)
    off = first.evidence.joints - posed_joints(first.rotmats, rest)
    typical = off[..., 1:, :].square().mean((1, 2, 3)) / first.person.sigma.square().mean((1, 2))
    assert (typical.sqrt() < 2.5).all()
    # upright in the rest body's axes, whichever way the person turned
    up = first.evidence.joints[..., JOINT["neck"], 1]
    assert (up.mean(1) > 0.2).all()


def test_every_frame_may_be_turned_by_itself(body):
    poses = torch.from_numpy(make_clip(12).rotmats)[None].repeat(4, 1, 1, 1, 1)
    batch = random_batch(poses, body, torch.Generator().manual_seed(0), framewise=True)
    clean = batch.person.sigma.mean((1, 2)) < 0.03
    assert clean.any()
    assert (batch.evidence.joints[clean][..., JOINT["neck"], 1] > 0.3).all()


def test_lifted_pairs_join_the_batches(body):
    source = MotionSource([make_clip()], 8)
    n, t = 3, 10
    pairs = LiftedPairs(
        joints=torch.full((n, t, 29, 3), 0.1) + 0.3 * torch.randn(n, t, 29, 3),
        sigma=torch.full((n, t, 29), 0.123),
        twist=torch.nn.functional.one_hot(torch.zeros(n, t, 23).long(), 2).float(),
        view=torch.nn.functional.normalize(torch.randn(n, t, 3), dim=-1),
        betas=torch.zeros(n, 10),
        rotmats=torch.from_numpy(make_clip(t).rotmats)[None].expand(n, t, 24, 3, 3),
    )
    batches = MotionBatches(source, body, batch=6, framewise=False, seed=0, pairs=pairs)
    batch = next(iter(batches))
    lifted = (batch.person.sigma == 0.123).all(-1).all(-1)
    assert lifted.sum() == 3
    assert batch.rotmats.shape == (6, 8, 24, 3, 3)


def test_answers_about_single_pictures_fill_windows_together(body):
    source = MotionSource([make_clip()], 8)
    pairs = LiftedPairs(
        joints=torch.arange(1.0, 21)[:, None, None, None].expand(20, 1, 29, 3) / 100,
        sigma=torch.full((20, 1, 29), 0.123),
        twist=torch.nn.functional.one_hot(torch.zeros(20, 1, 23).long(), 2).float(),
        view=torch.tensor([0.0, 0, 1]).expand(20, 1, 3),
        betas=torch.arange(20.0)[:, None].expand(20, 10),
        rotmats=torch.from_numpy(make_clip(20).rotmats)[:, None],
    )
    batches = MotionBatches(source, body, batch=6, framewise=True, seed=0, pairs=pairs)
    batch = next(iter(batches))
    assert batch.rotmats.shape == (6, 8, 24, 3, 3)
    shapes = batch.person.betas[3:, :, 0]  # of each frame, as each is somebody else
    assert len(shapes.unique()) > 8
    # a frame's rest body, evidence and truth are those of one picture
    rest = body.rest_joints(shapes[..., None].expand(-1, -1, 10))
    assert torch.allclose(batch.person.rest[3:], rest, atol=1e-6)
    size = batch.evidence.joints[3:, :, 5].norm(dim=-1)
    assert torch.allclose(size, (shapes + 1) / 100 * 3**0.5, atol=1e-4)
    held_back = pairs.windows(body, 8, framewise=True)
    assert held_back.person.betas[:, :, 0].flatten().tolist() == list(range(16))


def test_windows_are_cut_evenly_at_30_hz():
    clips = [make_clip(120, fps=60.0), make_clip(20)]
    windows = even_windows(clips, 16, 2)
    assert windows.shape == (2, 16, 24, 3, 3)
    assert np.allclose(windows[0, 1], clips[0].rotmats[2], atol=1e-5)
    with pytest.raises(InputError, match="500 frames"):
        even_windows(clips, 500, 2)
