"""Camera, placement, filling and smoothing: what the viewer of an overlay would notice."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from hpsvid.body.model import Body
from hpsvid.common.geometry import axis_angle_to_matrix, project
from hpsvid.common.series import fill_rotations
from hpsvid.errors import InputError
from hpsvid.evaluation.metrics import acceleration_error, mpjpe
from hpsvid.ik.hybrik import solve, twists
from hpsvid.motion.camera import guess_camera
from hpsvid.motion.path import FEET, steady_path
from hpsvid.motion.person import make_person, person_betas
from hpsvid.motion.placing import (
    distance_doubt,
    landmark_evidence,
    place,
    posed_landmarks,
    refine,
    reprojection_error,
)
from hpsvid.motion.smoothing import Smoothed, smooth_series, steady
from hpsvid.types import N_BETAS, BodyParams, Camera, Clip, Observations, Person, Track
from tests.factories import make_params

CLIP = Clip(
    path=Path("clip.mp4"),
    width=1280,
    height=720,
    fps=Fraction(30),
    rotation=0,
    audio=False,
    frame_count=None,
)
CAMERA = guess_camera(CLIP, None)


def moving(body: Body, frames: int, fps: float = 30.0) -> BodyParams:
    """Somebody who swings all limbs at up to 1.5 Hz and walks round an ellipse."""
    t = torch.arange(frames)[:, None, None] / fps
    rng = torch.Generator().manual_seed(7)
    size = 0.3 * torch.randn(24, 3, generator=rng)
    rate = 0.3 + 1.2 * torch.rand(24, 3, generator=rng)
    rotmats = axis_angle_to_matrix(size * torch.sin(2 * torch.pi * rate * t))
    upright = axis_angle_to_matrix(torch.tensor([torch.pi, 0, 0]))  # camera y points down
    rotmats[:, 0] = upright @ rotmats[:, 0]
    t = t[:, 0, 0].numpy()
    path = np.stack([0.5 * np.sin(t), 0.1 * np.sin(2 * t), 4.5 + 0.8 * np.cos(t)], -1)
    return BodyParams(
        rotmats=rotmats.numpy(), betas=np.zeros(10, np.float32), transl=path.astype(np.float32)
    )


def tensors(params: BodyParams) -> list[torch.Tensor]:
    return [torch.from_numpy(a) for a in (params.rotmats, params.betas, params.transl)]


def person_of(
    track: Track,
    obs: Observations,
    rotmats: np.ndarray,
    betas: np.ndarray,
    pts_s: np.ndarray,
    body: Body,
    camera: Camera,
    *,
    raw: Observations,
) -> Person:
    """The finished person; obs: the smoothed observations."""
    return make_person(track, Smoothed(raw=raw, obs=obs, pts_s=pts_s), rotmats, betas, body, camera)


def observe(
    body: Body,
    params: BodyParams,
    *,
    camera: Camera = CAMERA,
    noise_m: float = 0.0,
    noise_px: float = 0.0,
    seed: int = 0,
) -> Observations:
    """What a network would say about `params`, with white noise."""
    rng = np.random.default_rng(seed)
    frames = len(params)
    joints = body.joints(*tensors(params)).numpy()
    image = project(body.landmarks(*tensors(params)), torch.from_numpy(camera.K).float()).numpy()
    image = image + rng.normal(0, noise_px, image.shape)
    rest = body.rest_joints(torch.from_numpy(params.betas))
    noise = rng.normal(0, noise_m, joints.shape)
    noise[:, 0] = 0
    return Observations(
        track_id=0,
        frame_index=np.arange(frames),
        joints=(joints - joints[:, :1] + noise).astype(np.float32),
        sigma=np.full((frames, 29), 0.05, np.float32),
        twist=twists(torch.from_numpy(params.rotmats), rest).numpy(),
        betas=np.tile(params.betas[:N_BETAS], (frames, 1)),
        landmarks2d=np.concatenate([image, np.ones((frames, 33, 1))], -1).astype(np.float32),
        pelvis=joints[:, 0],
        valid=np.ones(frames, bool),
    )


def track_of(frames: int) -> Track:
    return Track(
        id=0,
        frame_index=np.arange(frames),
        boxes=np.zeros((frames, 4), np.float32),
        scores=np.ones(frames, np.float32),
        detected=np.ones(frames, bool),
    )


def rotmats_of(body: Body, obs: Observations) -> np.ndarray:
    rest = body.rest_joints(torch.from_numpy(person_betas(obs)))
    return solve(torch.from_numpy(obs.joints), rest, torch.from_numpy(obs.twist)).numpy()


def blank(obs: Observations, frames: slice) -> Observations:
    """The same, with nothing seen in `frames` and rubbish in the arrays there."""
    obs = replace(
        obs,
        valid=obs.valid.copy(),
        joints=obs.joints.copy(),
        landmarks2d=obs.landmarks2d.copy(),
        pelvis=obs.pelvis.copy(),
    )
    obs.valid[frames] = False
    obs.joints[frames] = 9
    obs.landmarks2d[frames] = np.nan
    obs.pelvis[frames] = 0
    return obs


# --- camera and shape


def test_camera_is_given_or_guessed_in_the_middle():
    assert CAMERA.source == "guessed"
    assert CAMERA.K.tolist() == [[1280, 0, 640], [0, 1280, 360], [0, 0, 1]]
    given = guess_camera(CLIP, 900.0)
    assert (given.source, given.K[0, 0], given.K[1, 1]) == ("given", 900, 900)
    for bad in (0.0, -5.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="focal length"):
            guess_camera(CLIP, bad)


def test_guess_is_within_a_sixth_of_two_calibrated_cameras(shared):
    with np.load(shared / "data" / "gt" / "balance" / "ground_truth.npz") as truth:
        focal = truth["K"][:, 0, 0]
    guess = guess_camera(replace(CLIP, width=1080, height=1920), None).K[0, 0]
    assert np.all(np.abs(np.log(guess / focal)) < np.log(7 / 6))


def test_the_focal_length_that_the_file_states_is_used():
    phone = replace(CLIP, width=1920, height=1080, focal_35mm=26.0)
    camera = guess_camera(phone, None)
    assert camera.source == "metadata"
    # the diagonal's angle of view of a 26 mm lens is 79.5 degrees
    half = np.degrees(np.arctan(np.hypot(960, 540) / camera.K[0, 0]))
    assert 2 * half == pytest.approx(79.5, abs=0.1)
    assert guess_camera(phone, 900.0).source == "given"


def test_shape_is_the_certain_frames_median(body):
    obs = observe(body, make_params(20, 1))
    betas = np.tile(np.linspace(-1, 1, 10, dtype=np.float32), (20, 1))
    betas[:6] += 5  # wrong, seen clearly
    betas[6:14] -= 5  # wrong, hardly seen
    obs = replace(obs, betas=betas, sigma=obs.sigma.copy())
    obs.sigma[6:14] = 0.5
    obs.sigma[:6] = 0.06
    assert np.allclose(person_betas(obs), np.linspace(-1, 1, 10))
    obs = replace(obs, valid=np.arange(20) < 6)
    assert np.allclose(person_betas(obs), np.linspace(-1, 1, 10) + 5)
    obs = replace(obs, valid=np.zeros(20, bool))
    assert np.all(person_betas(obs) == 0)


# --- placement


def placed_with_error(body, rotmats, betas, obs):
    """transl (T, 3) m of `place`, and how far the landmarks then lie from the evidence (T,) px."""
    transl = place(body, rotmats, betas, obs, CAMERA)
    points = posed_landmarks(body, rotmats, betas) + torch.from_numpy(transl)[:, None]
    return transl, reprojection_error(points, landmark_evidence(obs), CAMERA)


def test_placement_finds_the_root(body):
    params = moving(body, 20)
    obs = replace(observe(body, params), pelvis=np.zeros((20, 3), np.float32))
    transl, distance = placed_with_error(body, params.rotmats, params.betas, obs)
    assert np.abs(transl - params.transl).max() < 1e-3
    assert distance.max() < 0.05


def test_placement_survives_wrong_hidden_and_offscreen_landmarks(body):
    params = moving(body, 30)
    params = replace(params, transl=params.transl + np.array([-3.0, 0, 0], np.float32))
    obs = observe(body, params, noise_px=1)
    assert (obs.landmarks2d[..., 0] < 0).mean() > 0.2  # a good part is outside the picture
    rng = np.random.default_rng(1)
    landmarks = obs.landmarks2d.copy()
    landmarks[:, 13:15, :2] += 150  # elbows on somebody else
    hidden = rng.random(landmarks.shape[:2]) < 0.4
    landmarks[hidden] = [5000, -3000, 0.1]
    obs = replace(obs, landmarks2d=landmarks)
    transl, distance = placed_with_error(body, params.rotmats, params.betas, obs)
    off = transl - params.transl
    assert np.abs(off[:, :2]).max() < 0.03
    assert np.abs(off[:, 2]).max() < 0.1
    assert np.median(distance) > 10  # the wrong elbows are counted, not hidden from the user


def test_frames_without_evidence_are_placed_between_their_neighbours(body):
    params = moving(body, 30)
    obs = blank(observe(body, params), slice(10, 14))
    obs.landmarks2d[20, 5:, 2] = 0.0  # a glimpse of the face alone says little about depth
    transl, distance = placed_with_error(body, params.rotmats, params.betas, obs)
    assert np.linalg.norm(transl - params.transl, axis=-1).max() < 0.05
    assert np.isnan(distance[10:14]).all()
    assert np.isfinite(np.delete(distance, range(10, 14))).all()


def test_nobody_is_placed_behind_the_camera(body):
    params = moving(body, 6)
    obs = observe(body, params)
    rng = np.random.default_rng(0)
    obs = replace(
        obs,
        landmarks2d=np.concatenate(
            [rng.uniform(0, 700, (6, 33, 2)), np.ones((6, 33, 1))], -1
        ).astype(np.float32),
    )
    transl = place(body, params.rotmats, params.betas, obs, CAMERA)
    placed = replace(params, transl=transl)
    assert body.landmarks(*tensors(placed))[..., 2].min() > 0.29
    unseen = blank(observe(body, params), slice(None))
    unseen.pelvis[:] = [0.1, 0.2, 3.0]
    transl, distance = placed_with_error(body, params.rotmats, params.betas, unseen)
    placed = replace(params, transl=transl)
    assert np.allclose(body.joints(*tensors(placed))[:, 0], [0.1, 0.2, 3.0], atol=1e-3)
    assert np.isnan(distance).all()


# --- refinement


def test_refinement_follows_the_picture_and_mends_the_pose(body):
    """A solver that had no depth: what it got wrong, the picture still shows."""
    params = moving(body, 20)
    obs = observe(body, params)
    rng = np.random.default_rng(0)
    wrong = torch.from_numpy(rng.normal(0, 0.15, (20, 22, 3))).float()
    rotmats = params.rotmats.copy()
    rotmats[:, :22] = (torch.from_numpy(rotmats[:, :22]) @ axis_angle_to_matrix(wrong)).numpy()
    transl, before = placed_with_error(body, rotmats, params.betas, obs)
    refined, moved = refine(body, rotmats, params.betas, transl, obs, CAMERA)
    _, after = placed_with_error(body, refined, params.betas, obs)
    assert after.mean() < before.mean() / 4
    truth = body.joints(*tensors(params)).numpy()
    errors = [
        mpjpe(body.joints(*tensors(replace(params, rotmats=r, transl=t))).numpy(), truth)
        for r, t in ((rotmats, transl), (refined, moved))
    ]
    assert errors[1] < 0.7 * errors[0]
    gram = refined @ refined.swapaxes(-1, -2)
    assert np.allclose(gram, np.eye(3), atol=1e-4)


def test_refinement_leaves_right_and_unseen_poses_alone(body):
    params = moving(body, 140)  # more than one chunk
    obs = blank(observe(body, params), slice(5, 9))
    refined, moved = refine(body, params.rotmats, params.betas, params.transl, obs, CAMERA)
    assert np.abs(refined - params.rotmats).max() < 1e-3
    assert np.abs(moved - params.transl).max() < 1e-3
    assert np.abs(refined[5:9] - params.rotmats[5:9]).max() < 1e-6


# --- smoothing


def swing(rate_hz: float, pts_s: np.ndarray) -> np.ndarray:
    return np.deg2rad(40) * np.sin(2 * np.pi * rate_hz * pts_s)


@pytest.mark.parametrize("fps", [24, 30, 60])
def test_a_fast_swing_keeps_its_size_and_its_time(body, fps):
    """2 Hz, 40 degrees at one elbow: through evidence, solver and rotations together."""
    pts_s = np.arange(4 * fps) / fps
    angles = torch.zeros(len(pts_s), 24, 3)
    angles[:, 18, 1] = torch.from_numpy(swing(2.0, pts_s)).float()
    still = moving(body, 1)
    params = BodyParams(
        rotmats=axis_angle_to_matrix(angles).numpy(),
        betas=still.betas,
        transl=np.repeat(still.transl, len(pts_s), 0),
    )
    obs = steady(observe(body, params), pts_s)
    person = person_of(
        track_of(len(pts_s)), obs, rotmats_of(body, obs), params.betas, pts_s, body, CAMERA, raw=obs
    )
    elbow = torch.from_numpy(person.body.rotmats[:, 18])
    found = torch.atan2(elbow[:, 0, 2], elbow[:, 0, 0]).numpy()[fps:-fps]
    truth = swing(2.0, pts_s)[fps:-fps]
    assert found @ truth / (truth @ truth) > 0.95  # amplitude in phase
    quarter = swing(2.0, pts_s + 1 / 8)[fps:-fps]
    assert abs(found @ quarter) / (truth @ truth) < 0.005  # nothing out of phase: no lag


def test_frequency_response_is_the_same_at_every_frame_rate_even_an_uneven_one():
    rng = np.random.default_rng(0)
    uneven = np.cumsum(rng.choice([1 / 60, 1 / 30, 1 / 20], 400))
    for pts_s in (np.arange(300) / 60, np.arange(600) / 120, uneven):
        for rate, cutoff in ((1.0, 4.0), (2.0, 4.0), (4.0, 4.0)):
            wave = np.sin(2 * np.pi * rate * pts_s)
            out = smooth_series(wave[:, None], pts_s, np.ones(len(pts_s)), cutoff)[:, 0]
            inner = slice(len(pts_s) // 6, -len(pts_s) // 6)
            kept = out[inner] @ wave[inner] / (wave[inner] @ wave[inner])
            assert kept == pytest.approx(1 / (1 + (rate / cutoff) ** 6), abs=0.07)


def test_quadratics_pass_unchanged_ends_included():
    pts_s = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.05, 50))
    curve = np.stack([3 - pts_s, 1 + 2 * pts_s - 4.9 * pts_s**2], -1)
    out = smooth_series(curve, pts_s, np.ones(50), 1.0)
    assert np.abs(out - curve).max() < 1e-6


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_tracks_come_back_as_they_are(body, frames):
    params = moving(body, frames)
    pts_s = np.arange(frames) / 30
    obs = observe(body, params)
    assert np.array_equal(steady(obs, pts_s).joints, obs.joints)
    person = person_of(
        track_of(frames), obs, params.rotmats, params.betas, pts_s, body, CAMERA, raw=obs
    )
    assert np.abs(person.body.rotmats - params.rotmats).max() < 1e-5
    assert np.abs(person.body.transl - params.transl).max() < 2e-3
    assert person.reprojection_px.max() < 0.5
    assert person.evidence_error.max() < 0.01


def test_equal_time_stamps_do_not_break_smoothing():
    pts_s = np.array([0, 0, 0, 0.1, 0.2, 0.2, 0.3, 0.4])
    out = smooth_series(np.ones((8, 2)), pts_s, np.ones(8), 3.0)
    assert np.allclose(out, 1)


def test_noise_is_smoothed_away_and_more_where_the_network_is_unsure(body):
    params = moving(body, 120)
    pts_s = np.arange(120) / 30
    # feet of somebody who hovers never stand, if there is always some speed across the view
    params.transl[:, 0] = 1.2 * pts_s - 2.4
    obs = observe(body, params, noise_m=0.02, noise_px=3)
    truth = body.joints(*tensors(params)).numpy()

    def posed(rotmats, transl):
        return body.joints(*tensors(replace(params, rotmats=rotmats, transl=transl))).numpy()

    raw_rotmats = rotmats_of(body, obs)
    raw = posed(raw_rotmats, place(body, raw_rotmats, params.betas, obs, CAMERA))
    calm = steady(obs, pts_s)
    person = person_of(
        track_of(120), calm, rotmats_of(body, calm), params.betas, pts_s, body, CAMERA, raw=obs
    )
    ours, before = (acceleration_error(x, truth, 30) for x in (person.joints, raw))
    assert ours < before / 8
    ours, before = (mpjpe(x, truth) for x in (person.joints, raw))
    assert ours < before / 1.5
    depth = np.abs(person.joints[:, 0, 2] - truth[:, 0, 2]).mean()
    assert depth < np.abs(raw[:, 0, 2] - truth[:, 0, 2]).mean() / 2
    assert person.reprojection_px.mean() < 6  # 3.8 is the noise itself

    spoilt = replace(obs, joints=obs.joints.copy(), sigma=obs.sigma.copy())
    spoilt.joints[50:53, 20] += 0.4  # a wrist jumps for three frames ...
    trusting = steady(spoilt, pts_s)
    spoilt.sigma[50:53, 20] = 0.5  # ... and the network knows
    doubting = steady(spoilt, pts_s)
    off = [
        np.abs(x.joints[51, 20] - truth[51, 20] + truth[51, 0]).max() for x in (trusting, doubting)
    ]
    assert off[1] < 0.1 < 0.25 < off[0]


def standing(body: Body, frames: int, wander_m: float, across_m_s: float = 0.0) -> np.ndarray:
    """Joints (T, 29, 3) m of a pose that drifts along the view at 0.5 Hz and across it."""
    joints = body.joints(*tensors(moving(body, 1))).numpy() + np.array([0.2, 0, 0], np.float32)
    t = np.arange(frames) / 30
    along = wander_m * np.sin(np.pi * t)[:, None, None] * joints / joints[..., 2:]
    return (joints + along + across_m_s * t[:, None, None] * [1, 0, 0]).astype(np.float32)


def speeds_along(joints: np.ndarray) -> float:
    """Mean speed of the feet along the view, m/s."""
    return float(np.abs(np.diff(np.linalg.norm(joints[:, FEET], axis=-1), axis=0)).mean()) * 30


def steadied(joints: np.ndarray, pts_s: np.ndarray, doubt: float = 0.025) -> np.ndarray:
    """Joints (T, 29, 3) m of a pose on its steady path."""
    pelvis, ones = joints[:, 0], np.ones(len(joints))
    path = steady_path(pelvis, ones, doubt * ones, joints[:, FEET] - pelvis[:, None], pts_s)
    return joints + (path - pelvis)[:, None]


def test_a_standing_foot_keeps_its_distance(body):
    joints = standing(body, 120, 0.1)
    held = steadied(joints, np.arange(120) / 30)
    assert speeds_along(held) < speeds_along(joints) / 3
    shift = project(torch.from_numpy(held), torch.eye(3)) - project(
        torch.from_numpy(joints), torch.eye(3)
    )
    assert shift.norm(dim=-1).max() < 5e-3  # hardly anything moves across the view


def test_a_foot_that_moves_across_the_view_is_not_held(body):
    """A body whose feet glide across comes and goes as it was placed, where that is sure."""
    joints = standing(body, 120, 0.1, across_m_s=1.0)
    moved = steadied(joints, np.arange(120) / 30, doubt=0.002) - joints
    assert np.abs(moved).max() < 0.02


def test_who_glides_towards_the_camera_arrives(body):
    joints = standing(body, 120, 0.0)
    joints[..., 2] += 6 - 1.5 * np.arange(120)[:, None] / 30
    moved = steadied(joints, np.arange(120) / 30, doubt=0.01) - joints
    assert np.abs(moved).max() < 0.1


def test_what_is_placed_far_off_for_a_moment_does_not_move_a_person(body):
    """Of a person of whom little is seen the distance errs by a fifth; nobody darts about so."""
    joints = standing(body, 120, 0.0, across_m_s=1.0)
    rng = np.random.default_rng(2)
    placed = joints * np.exp(rng.normal(0, 0.05, (120, 1, 1)))
    placed[60:63] *= 1.5
    path = steadied(placed, np.arange(120) / 30, doubt=0.1)[:, 0]
    off = np.linalg.norm(path, axis=-1) / np.linalg.norm(joints[:, 0], axis=-1) - 1
    assert np.abs(off).max() < 0.1
    assert np.abs(np.diff(off)).max() * 30 < 0.1  # of the distance, a second; 1.5 as placed


def test_steadying_bears_equal_time_stamps_and_short_tracks(body):
    joints = standing(body, 8, 0.1)
    times = np.array([0, 0, 0, 0.1, 0.2, 0.2, 0.3, 0.4])
    assert np.isfinite(steadied(joints, times)).all()
    assert np.array_equal(steadied(joints[:3], times[:3]), joints[:3])


def test_steadying_bears_a_person_far_away(body):
    joints = standing(body, 500, 0.1)
    joints[..., 2] += 1e7
    for step_s in (0.0, 1 / 30):
        moved = steadied(joints, np.arange(500) * step_s) - joints
        assert np.isfinite(moved).all() and np.abs(moved).max() < 10


def test_the_less_is_seen_the_less_a_distance_is_sure(body):
    params = moving(body, 3)
    obs = observe(body, params)
    hidden = replace(obs, landmarks2d=obs.landmarks2d.copy())
    hidden.landmarks2d[1, 13:, 2] = 0  # head and shoulders are left
    hidden.landmarks2d[2, :, 2] = 0
    doubt = distance_doubt(landmark_evidence(hidden), params.transl[:, 2], CAMERA)
    assert 0.005 < doubt[0] < 0.02
    assert doubt[1] > 4 * doubt[0]
    assert doubt[2] == 1


def test_gaps_are_filled_steadily_and_marked(body):
    params = moving(body, 60)
    pts_s = np.arange(60) / 30
    obs = steady(blank(observe(body, params), slice(20, 28)), pts_s)
    rotmats = rotmats_of(body, obs)
    person = person_of(track_of(60), obs, rotmats, params.betas, pts_s, body, CAMERA, raw=obs)
    truth = body.joints(*tensors(params)).numpy()
    assert not person.valid[20:28].any()
    assert person.valid.sum() == 52
    assert np.isnan(person.reprojection_px[20:28]).all()
    assert np.isnan(person.evidence_error[20:28]).all()
    assert mpjpe(person.joints[20:28], truth[20:28], root=0) < 80
    steps = np.linalg.norm(np.diff(person.joints, axis=0), axis=-1).max(1)
    assert steps[18:30].max() < 1.5 * np.linalg.norm(np.diff(truth, axis=0), axis=-1).max()


def test_filling_turns_evenly_in_time_and_holds_the_ends():
    angle = np.array([0.0, 9, 9, 9, 1.0, 9])
    pts_s = np.array([0.0, 0.1, 0.5, 0.8, 1.0, 1.1])
    valid = angle < 9
    axis_angle = torch.zeros(6, 24, 3)
    axis_angle[:, 4, 2] = torch.from_numpy(angle)
    filled = fill_rotations(axis_angle_to_matrix(axis_angle).numpy(), valid, pts_s)
    found = np.arctan2(filled[:, 4, 1, 0], filled[:, 4, 0, 0])
    assert np.allclose(found, [0, 0.1, 0.5, 0.8, 1, 1], atol=1e-6)


def test_joints_and_their_projection_belong_to_the_parameters(body):
    params = moving(body, 10)
    obs = observe(body, params)
    pts_s = np.arange(10) / 30
    person = person_of(
        track_of(10), obs, params.rotmats, params.betas, pts_s, body, CAMERA, raw=obs
    )
    joints = body.joints(*tensors(person.body))
    assert torch.allclose(torch.from_numpy(person.joints), joints, atol=1e-6)
    K = torch.from_numpy(CAMERA.K).float()
    assert np.allclose(person.joints2d, project(joints, K).numpy(), atol=1e-2)


def test_reprojection_is_measured_on_the_landmarks_as_they_were_seen(body):
    frames = 40
    params = moving(body, frames)
    pts_s = np.arange(frames) / 30
    clean = observe(body, params)
    jittery = clean.landmarks2d.copy()
    jittery[..., :2] += np.random.default_rng(0).normal(size=jittery[..., :2].shape) * 10
    raw = replace(clean, landmarks2d=jittery.astype(np.float32))
    person = person_of(
        track_of(frames), clean, params.rotmats, params.betas, pts_s, body, CAMERA, raw=raw
    )
    # the mean length of a plane normal deviate of 10 px
    assert person.reprojection_px.mean() == pytest.approx(10 * np.sqrt(np.pi / 2), rel=0.1)


def test_frames_whose_body_plainly_misses_what_was_seen_are_marked(body):
    params = moving(body, 40)
    raw = observe(body, params)
    raw.landmarks2d[36:, ::2, :2] += [90, -60]  # another person's, of half of the points
    person = person_of(
        track_of(40), raw, rotmats_of(body, raw), params.betas, np.arange(40) / 30, body, CAMERA,
        raw=raw,
    )  # fmt: skip
    assert not person.valid[37:].any()
    assert person.valid[:35].all()
