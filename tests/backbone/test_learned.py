"""The learned lifter: what it promises for any weights, and that the shipped ones are worth it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpsvid.backbone import learned
from hpsvid.backbone.blazepose import BlazePose
from hpsvid.backbone.geometric import lift_geometrically
from hpsvid.backbone.inner_maps import READ
from hpsvid.backbone.landmarks import Landmarks
from hpsvid.backbone.learned import RATE_HZ, default_lifter, lift
from hpsvid.backbone.lifter_network import (
    Lifter,
    LifterConfig,
    Lifters,
    View,
    load_lifter,
    mirror_view,
    save_lifter,
)
from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT, LANDMARK, LIMB_JOINTS
from hpsvid.common.geometry import axis_angle_to_matrix, project
from hpsvid.common.series import interpolate
from hpsvid.errors import WeightsError
from hpsvid.evaluation.metrics import pa_mpjpe
from hpsvid.formats.npz import read_motion
from hpsvid.types import Array, Camera, Observations
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from tests.factories import SAMPLES, K, make_params
from tools.people import join

CAMERA = Camera(K=K, source="given")
SAMPLE = SAMPLES / "studio_walk"


@pytest.fixture(scope="module")
def model() -> Lifters:
    """Random weights: promises about time and symmetry hold for any."""
    torch.manual_seed(0)
    nets = [Lifter(LifterConfig(width=32, dilations=(1, 2, 4), kept=3)) for _ in range(2)]
    for net in nets:
        net.joints_of_landmarks.copy_(torch.randn(29, 33) * 0.1)
        net.inner_mean.copy_(torch.randn(352))
    return Lifters(nets).eval().requires_grad_(False)


def landmarks_of(body: Body, frames: int, seed: int = 0) -> Landmarks:
    """What a perfect landmark network would say of a random motion."""
    params = make_params(frames, seed, turn=0.3)
    marks = torch.from_numpy(body.landmarks_of(params))
    hips = marks[:, [LANDMARK["left_hip"], LANDMARK["right_hip"]]].mean(1, keepdim=True)
    ones = np.ones((frames, 33), np.float32)
    return Landmarks(
        track_id=3,
        frame_index=np.arange(frames),
        image=project(marks, torch.from_numpy(K).float()).numpy(),
        world=(marks - hips).numpy(),
        visibility=ones * 0.9,
        presence=ones,
        score=ones[:, 0],
        lean=np.full(frames, 0.3, np.float32),
        inner=np.random.default_rng(1).normal(size=(frames, len(READ), 6)).astype(np.float16),
    )


def keep(landmarks: Landmarks, rows: Array) -> Landmarks:
    """Only some frames of a track, as a clip of a lower rate would have."""
    names = ("image", "world", "visibility", "presence", "score", "lean", "inner")
    return replace(
        landmarks,
        frame_index=np.arange(len(rows)),
        **{name: getattr(landmarks, name)[rows] for name in names},
    )


def test_shape_of_the_answer_and_conventions(body: Body, model: Lifters) -> None:
    seen = landmarks_of(body, 20)
    obs = lift(seen, np.arange(20) / 30, CAMERA, body, model=model)
    assert obs.track_id == 3
    assert obs.valid.all()
    np.testing.assert_array_equal(obs.joints[:, JOINT["pelvis"]], 0)
    np.testing.assert_allclose(np.linalg.norm(obs.twist, axis=-1), 1, atol=1e-5)
    assert (obs.sigma > 0).all()
    np.testing.assert_array_equal(obs.landmarks2d[..., :2], seen.image)


def test_does_not_depend_on_the_chunk_size(body: Body, model: Lifters) -> None:
    seen, pts_s = landmarks_of(body, 40), np.arange(40) / 30
    whole = lift(seen, pts_s, CAMERA, body, model=model)
    for chunk in (1, 7, 19):
        pieces = lift(seen, pts_s, CAMERA, body, model=model, chunk=chunk)
        np.testing.assert_allclose(pieces.joints, whole.joints, atol=2e-6)
        np.testing.assert_allclose(pieces.sigma, whole.sigma, atol=2e-6)


def test_inner_maps_of_a_long_track_are_read_in_stretches(
    body: Body, model: Lifters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once and in float64 they took 20 kB a frame: a gigabyte for 30 minutes."""
    seen, pts_s = landmarks_of(body, 150), np.arange(150) / RATE_HZ
    assert seen.inner is not None
    width, read = seen.inner.shape[1:], []

    def watched(at: Array, times: Array, values: Array, *dtype: Any) -> Array:
        if values.shape[1:] == width:
            read.append(len(at))
        return interpolate(at, times, values, *dtype)

    monkeypatch.setattr(learned, "interpolate", watched)
    lift(seen, pts_s, CAMERA, body, model=model, chunk=30)
    assert sum(read) >= 150 and max(read) <= 30 + 2 * model.config.reach


def test_far_frames_do_not_change_the_answer(body: Body, model: Lifters) -> None:
    seen, pts_s = landmarks_of(body, 60), np.arange(60) / RATE_HZ
    other = seen.world.copy()
    other[: 30 - model.config.reach] += 0.5
    changed = lift(replace(seen, world=other), pts_s, CAMERA, body, model=model)
    same = lift(seen, pts_s, CAMERA, body, model=model)
    np.testing.assert_allclose(changed.joints[31:], same.joints[31:], atol=2e-6)
    assert np.abs(changed.joints[:10] - same.joints[:10]).max() > 0.01


def test_the_same_answer_twice(body: Body, model: Lifters) -> None:
    seen, pts_s = landmarks_of(body, 12), np.arange(12) / 25
    first, second = (lift(seen, pts_s, CAMERA, body, model=model) for _ in range(2))
    np.testing.assert_array_equal(first.joints, second.joints)
    np.testing.assert_array_equal(first.betas, second.betas)


def test_tracks_of_one_frame_and_of_repeated_times(body: Body, model: Lifters) -> None:
    for frames, pts_s in ((1, np.array([7.3])), (3, np.zeros(3)), (2, np.array([0.0, 90.0]))):
        obs = lift(landmarks_of(body, frames), pts_s, CAMERA, body, model=model)
        assert len(obs) == frames
        for name in ("joints", "sigma", "twist", "betas", "pelvis"):
            assert np.isfinite(getattr(obs, name)).all(), name


def test_a_leaning_crop_and_picture_lean_the_answer(body: Body, model: Lifters) -> None:
    """What the network reads is the same, however camera and crop are rolled together."""
    seen = replace(landmarks_of(body, 15), lean=np.zeros(15, np.float32))
    centred = Camera(K=np.diag([900.0, 900.0, 1.0]), source="given")
    turn = axis_angle_to_matrix(torch.tensor([0.0, 0, 0.4])).numpy()
    rolled = replace(
        seen,
        image=seen.image @ turn[:2, :2].T,
        world=seen.world @ turn.T,
        lean=np.full(15, 0.4, np.float32),
    )
    pts_s = np.arange(15) / RATE_HZ
    straight, leaning = (lift(x, pts_s, centred, body, model=model) for x in (seen, rolled))
    gap = np.linalg.norm(leaning.joints - straight.joints @ turn.T, axis=-1)
    size = np.linalg.norm(straight.joints, axis=-1).max()
    assert np.median(gap) < 0.1 * size


def test_landmarks_without_inner_maps_are_refused(body: Body, model: Lifters) -> None:
    bare = replace(landmarks_of(body, 4), lean=None, inner=None)
    with pytest.raises(ValueError, match="inner maps"):
        lift(bare, np.arange(4) / 30, CAMERA, body, model=model)


def test_unseen_frames_are_filled_in_and_not_valid(body: Body, model: Lifters) -> None:
    seen, pts_s = landmarks_of(body, 40), np.arange(40) / 30
    score = seen.score.copy()
    score[15:20] = 0
    rubbish = seen.world.copy()
    rubbish[15:20] = np.nan
    gap = replace(seen, score=score, world=rubbish)
    obs = lift(gap, pts_s, CAMERA, body, model=model)
    np.testing.assert_array_equal(obs.valid, score > 0)
    assert np.isfinite(obs.joints).all()
    assert (obs.sigma[15:20] >= 1).all()
    assert (obs.landmarks2d[15:20, :, 2] == 0).all()


def test_a_track_that_was_never_seen(body: Body, model: Lifters) -> None:
    seen = landmarks_of(body, 4)
    blank = replace(seen, score=np.zeros(4, np.float32))
    obs = lift(blank, np.arange(4) / 30, CAMERA, body, model=model)
    assert not obs.valid.any()
    assert np.isfinite(obs.joints).all()


def test_weights_come_back_and_damage_is_told(model: Lifters, tmp_path: Path) -> None:
    path = tmp_path / "lifter.safetensors"
    save_lifter(model, path)
    again = load_lifter(path)
    assert again.config == model.config
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name].numpy(), value.half().float())
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(WeightsError, match="not a checkpoint of hpsvid's lifter"):
        load_lifter(path)
    with pytest.raises(WeightsError, match="not a checkpoint of hpsvid's lifter"):
        load_lifter(tmp_path / "none.safetensors")


def test_members_read_their_own_samples_and_are_averaged(model: Lifters) -> None:
    torch.manual_seed(2)
    samples = np.random.default_rng(0).normal(size=(8, len(READ), 352)).astype(np.float32)
    view = View(
        points=torch.randn(1, 8, 33, 3),
        slopes=torch.randn(1, 8, 33, 2) * 0.1,
        visibility=torch.rand(1, 8, 33),
        presence=torch.rand(1, 8, 33),
        lean=torch.rand(1, 8),
        inner=torch.from_numpy(model.reader()(samples))[None],
        seen=torch.ones(1, 8),
    )
    joined = model(view)
    alone = []
    for member in model.lifters:
        unread = member.inner_mean.expand(samples.shape).numpy()  # no news of the inner maps
        for read in (samples, unread):
            alone.append(member(replace(view, inner=torch.from_numpy(member.reader()(read))[None])))
    assert (alone[0].joints - alone[1].joints).abs().max() > 1e-3
    assert (alone[0].joints - alone[2].joints).abs().max() > 0.01
    joints = torch.stack([answer.joints for answer in alone])
    torch.testing.assert_close(joined.joints, joints.mean(0))
    torch.testing.assert_close(joined.bend, torch.stack([a.bend for a in alone]).mean(0))
    # where answers differ, sigma is larger than they say on the average
    usual = torch.stack([answer.sigma for answer in alone]).square().mean(0).sqrt()
    assert (joined.sigma[..., 1:] > usual[..., 1:]).all()


def test_joined_files_hold_all_members(
    model: Lifters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    one, two, out = (tmp_path / f"{name}.safetensors" for name in ("one", "two", "out"))
    save_lifter(model, one)
    save_lifter(Lifters([model.lifters[1]]), two)
    monkeypatch.setattr("sys.argv", ["join", str(out), str(one), str(two)])
    join.main()
    joined = load_lifter(out)
    assert len(joined.lifters) == 3 and "3 members" in capsys.readouterr().out
    for member, same in zip(joined.lifters, [*model.lifters, model.lifters[1]], strict=True):
        for name, value in same.state_dict().items():
            np.testing.assert_array_equal(member.state_dict()[name].numpy(), value.half().float())
    other = Lifters([Lifter(LifterConfig(width=16, dilations=(1,), kept=3))])
    save_lifter(other, two)
    with pytest.raises(SystemExit, match="different sizes"):
        join.main()


def test_mirroring_a_view_twice_gives_it_back() -> None:
    torch.manual_seed(1)
    view = View(
        points=torch.randn(5, 33, 3),
        slopes=torch.randn(5, 33, 2),
        visibility=torch.rand(5, 33),
        presence=torch.rand(5, 33),
        lean=torch.rand(5),
        inner=torch.randn(5, 19, 6),
        seen=torch.ones(5),
    )
    again = mirror_view(mirror_view(view))
    torch.testing.assert_close(again.points, view.points)
    torch.testing.assert_close(again.slopes, view.slopes)
    torch.testing.assert_close(again.lean, view.lean)
    torch.testing.assert_close(again.inner, view.inner)


@pytest.fixture(scope="module")
def sample() -> tuple[Landmarks, Array, Camera, Array]:
    """Two seconds of a rendered clip as the landmark network reads it, and the true joints."""
    truth = read_motion(SAMPLE.with_suffix(".npz"))
    person = truth.people[0]
    track, span = person.track, slice(0, 60)
    part = replace(
        track,
        frame_index=track.frame_index[span],
        boxes=track.boxes[span],
        scores=track.scores[span],
        detected=track.detected[span],
    )
    network = BlazePose([part], threads=1, looks_hz=15, reader=default_lifter().reader())
    for frames in read_frames(probe(SAMPLE.with_suffix(".mp4"))):
        network.observe(frames)
        if frames.index[-1] >= part.frame_index[-1]:
            break
    return network.landmarks()[0], truth.pts_s[part.frame_index], truth.camera, person.joints[span]


def limb_error(obs: Observations, truth: Array) -> float:
    """PA-MPJPE in mm of shoulders to ankles."""
    return pa_mpjpe(obs.joints[:, LIMB_JOINTS], truth[:, LIMB_JOINTS])


def test_shipped_weights_beat_geometry_on_a_clip_of_known_truth(
    sample: tuple[Landmarks, Array, Camera, Array], body: Body
) -> None:
    seen, pts_s, camera, truth = sample
    learned = limb_error(lift(seen, pts_s, camera, body), truth)
    geometric = limb_error(lift_geometrically(seen, camera, body), truth)
    assert learned < 0.9 * geometric


def test_every_other_frame_gives_nearly_the_same(
    sample: tuple[Landmarks, Array, Camera, Array], body: Body
) -> None:
    """Half the frame rate: the same motion, sampled less often."""
    seen, pts_s, camera, truth = sample
    whole = lift(seen, pts_s, camera, body)
    rows = np.arange(0, len(seen), 2)
    half = lift(keep(seen, rows), pts_s[rows], camera, body)
    gap = np.linalg.norm(half.joints - whole.joints[rows], axis=-1)
    assert np.median(gap) < 0.02
    assert limb_error(half, truth[rows]) < 1.15 * limb_error(whole, truth)
