"""Training the lifter: takes are in the picture, augmented pairs stay true, errors return."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from hpsvid.backbone.lifter_network import HIPS, load_lifter
from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT, LANDMARK
from hpsvid.cli import app
from hpsvid.common.files import write_npz
from hpsvid.common.geometry import axis_angle_to_matrix, matrix_to_axis_angle, project, unit
from hpsvid.common.records import join
from hpsvid.errors import InputError
from hpsvid.mocap.amass import MotionCapture
from hpsvid.mocap.sources import MotionSource
from hpsvid.mocap.takes import SIZE, Take, chimera, choose_take
from hpsvid.training import lifter as training
from hpsvid.training.augment import LEAN_RAD, as_on_video, augment, mirror_pairs, rolled
from hpsvid.training.lifter import train_lifter
from hpsvid.training.loop import TrainingFiles
from hpsvid.training.pairs import (
    KEYS,
    Pairs,
    Shard,
    SimulatedTruth,
    errors_of,
    linear_start,
    read_shard,
    read_shards,
    simulate,
    view_of,
    with_errors,
)
from tests.mocap.test_noise import make_clip
from tools.people import render_pairs
from tools.people.render_pairs import make_shard

FRAMES = 12


@pytest.fixture(scope="module")
def source() -> MotionSource:
    return MotionSource([make_clip(60, seed) for seed in range(3)], FRAMES)


def make_takes(source: MotionSource, body: Body, count: int) -> list[Take]:
    rng = np.random.default_rng(0)
    return [choose_take(rng, source.varied, body) for _ in range(count)]


def landmarks_of(take: Take, body: Body):
    arrays = (take.params.rotmats, take.params.betas, take.params.transl)
    rotmats, betas, transl = map(torch.from_numpy, arrays)
    return body.landmarks(rotmats, betas.expand(len(rotmats), -1), transl)


@pytest.fixture(scope="module")
def arrays(source, body) -> dict:
    """A shard as if the landmark network had been nearly right, of three sequences."""
    takes = make_takes(source, body, 3)
    marks = torch.stack([landmarks_of(take, body) for take in takes])
    K = torch.from_numpy(np.stack([take.K for take in takes])).float()
    hips = marks[:, :, [LANDMARK["left_hip"], LANDMARK["right_hip"]]].mean(2, keepdim=True)
    rng = np.random.default_rng(1)
    rotvec = [matrix_to_axis_angle(torch.from_numpy(t.params.rotmats)).numpy() for t in takes]
    ones = np.ones(marks.shape[:3], np.float16)
    return {
        "image": project(marks, K[:, None, None]).numpy() + rng.normal(size=(*ones.shape, 2)),
        "world": (marks - hips).numpy() + 0.03 * rng.normal(size=(*ones.shape, 3)),
        "visibility": ones,
        "presence": ones,
        "score": ones[..., 0],
        "rotvec": np.stack(rotvec),
        "betas": np.stack([take.params.betas for take in takes]),
        "transl": np.stack([take.params.transl for take in takes]),
        "K": K.numpy(),
    }


@pytest.fixture
def shard(arrays, body, tmp_path) -> Shard:
    write_npz(tmp_path / "shard_00000.npz", arrays)
    return read_shard(tmp_path / "shard_00000.npz", body)


def write_shards(folder: Path, arrays: dict) -> None:
    for part in ("train", "val"):
        (folder / part).mkdir()
        for number in range(2):
            write_npz(folder / part / f"shard_{number:05d}.npz", arrays)


# ----------------------------------------------------------------------------------------- takes


def test_takes_see_the_person_from_where_they_say(source, body):
    inside = []
    for take in make_takes(source, body, 12):
        joints = body.joints_of(take.params)
        assert joints[..., 2].min() >= 0.6
        image = project(torch.from_numpy(joints), torch.from_numpy(take.K).float()).numpy()
        inside.append(((image > 0) & (image < SIZE)).all(-1).mean())
        # rotation and translation lead back to a world in which captured people stand upright
        world = (joints - take.translation) @ take.rotation
        assert (world[:, JOINT["neck"], 1] - world[:, JOINT["pelvis"], 1]).mean() > 0.2
    assert np.mean(inside) > 0.8


def test_takes_of_a_motion_in_millimetres_are_refused(source, body):
    def giant(rng: np.random.Generator) -> MotionCapture:
        motion = source.plain(rng)
        far = np.cumsum(np.full((len(motion), 3), 900.0, np.float32), 0)
        return MotionCapture(
            **{f.name: getattr(motion, f.name) for f in fields(motion) if f.name != "transl"},
            transl=far,
        )

    with pytest.raises(InputError, match="in metres"):
        choose_take(np.random.default_rng(0), giant, body)


def test_chimeras_stretch_their_arms():
    bent, elbow = make_clip(60), JOINT["left_elbow"]
    angle = torch.tensor([0.0, -1.5, 0.0], dtype=torch.float64).expand(60, 3)
    bent.rotmats[:, elbow] = axis_angle_to_matrix(angle).numpy()  # nobody here stretches it
    source, rng = MotionSource([bent], FRAMES), np.random.default_rng(0)
    directions = []
    for _ in range(60):
        rotmats = chimera(rng, source).rotmats
        assert np.allclose(rotmats @ rotmats.swapaxes(-1, -2), np.eye(3), atol=1e-5)
        bend = matrix_to_axis_angle(torch.from_numpy(rotmats[:, elbow])).norm(dim=-1)
        if bend.max() < 0.5:
            directions.append(rotmats[0, JOINT["left_shoulder"], :, 0])
    assert len(directions) > 10
    assert np.ptp(directions, axis=0)[2] > 1  # before the person and behind


# ----------------------------------------------------------------------------------------- pairs


def test_pairs_are_the_truth_in_the_persons_view(shard, arrays):
    pairs = shard.pairs
    assert len(pairs) == 3
    assert pairs.seen.all()
    np.testing.assert_allclose(pairs.joints[..., 0, :], 0, atol=1e-6)
    # the optical axis meets the hips, and the landmarks lie on the joints
    hips = shard.marks[..., [LANDMARK["left_hip"], LANDMARK["right_hip"]], :].mean(-2)
    assert hips[..., :2].norm(dim=-1).max() < 0.05
    start = shard.marks - hips[..., None, :] - (pairs.joints[..., :1, :])
    wrist = start[..., LANDMARK["left_wrist"], :] - pairs.joints[..., JOINT["left_wrist"], :]
    assert wrist.norm(dim=-1).max() < 0.15
    np.testing.assert_array_equal(pairs.betas, arrays["betas"])


def test_frames_not_seen_are_filled_and_sequences_never_seen_left_out(arrays, body, tmp_path):
    changed = {key: value.copy() for key, value in arrays.items()}
    changed["score"][0] = 0
    changed["score"][1, 4:7] = 0
    changed["world"][1, 4:7] = np.nan
    write_npz(tmp_path / "shard_0.npz", changed)
    pairs = read_shard(tmp_path / "shard_0.npz", body).pairs
    assert len(pairs) == 2
    assert torch.isfinite(pairs.points).all()
    assert pairs.seen[0].tolist() == [1.0] * 4 + [0.0] * 3 + [1.0] * 5


def test_mirroring_and_rolling_keep_pairs_true(shard):
    pairs = shard.pairs
    again = mirror_pairs(mirror_pairs(pairs))
    for field in fields(Pairs):
        torch.testing.assert_close(getattr(again, field.name), getattr(pairs, field.name))
    turned = rolled(pairs, torch.full((3,), 0.7))
    before = (pairs.points[..., LANDMARK["left_wrist"], :] - pairs.joints[..., 20, :]).norm(dim=-1)
    after = (turned.points[..., LANDMARK["left_wrist"], :] - turned.joints[..., 20, :]).norm(dim=-1)
    torch.testing.assert_close(before, after)
    assert (turned.joints - pairs.joints).abs().max() > 0.1
    # 2D follows 3D: what the network reads is turned alike
    flat, flat_turned = view_of(pairs).flat, view_of(turned).flat
    torch.testing.assert_close(flat.norm(dim=-1), flat_turned.norm(dim=-1), atol=5e-3, rtol=5e-2)


def test_augmented_pairs_vary_depth_and_sometimes_drop_it(shard):
    many = join(*[shard.pairs] * 20)
    varied = augment(many, torch.Generator().manual_seed(0))
    assert torch.isfinite(varied.points).all()
    depth = varied.points[..., 2].square().mean((1, 2)).sqrt()
    gone = depth == 0
    assert 0.1 < gone.float().mean() < 0.5
    ratio = depth / varied.joints[..., 2].square().mean((1, 2)).sqrt()
    assert ratio[~gone].max() / ratio[~gone].min() > 1.5
    assert (varied.joints.norm(dim=-1) < 2).all()
    assert (varied.seen <= varied.valid).all()
    again = augment(many, torch.Generator().manual_seed(0))
    torch.testing.assert_close(again.points, varied.points, rtol=0, atol=0)


def test_on_video_people_lean_more_towards_the_camera_and_are_deeper(shard):
    def of_trunk(pairs):
        ends = [LANDMARK[f"{side}_shoulder"] for side in ("left", "right")]
        up = pairs.points[..., ends, :].mean(2)  # from the hips
        along = pairs.rays[..., ends, :].mean((1, 2)) - pairs.rays[..., HIPS, :].mean((1, 2))
        return torch.atan2(up[..., 2], (up[..., :2] * unit(along)[:, None]).sum(-1))

    for angle in (0.0, 2.5):  # whichever way the camera is rolled
        pairs = rolled(shard.pairs, torch.full((3,), angle))
        video = as_on_video(pairs)
        change = of_trunk(video) - 1.23 * of_trunk(pairs)
        assert change.mean() == pytest.approx(-LEAN_RAD, abs=0.05)
        assert video.joints is pairs.joints


def test_errors_put_back_on_their_own_truth_give_the_pairs_back(shard):
    pairs, marks = shard.pairs, shard.marks
    errors = errors_of(pairs, marks)
    truth = SimulatedTruth(marks=marks, joints=pairs.joints, twist=pairs.twist, betas=pairs.betas)
    made = with_errors(truth, errors, torch.arange(3))
    torch.testing.assert_close(made.points, pairs.points, atol=1e-4, rtol=0)
    # 2D comes back but for the turn of the view that the landmarks themselves define
    torch.testing.assert_close(view_of(made).flat, view_of(pairs).flat, atol=0.02, rtol=0)
    other = with_errors(truth, errors, torch.tensor([1, 2, 0]))
    assert (other.points - pairs.points).norm(dim=-1).mean() > 0.01


def test_the_linear_start_is_near_the_joints(shard):
    start = linear_start(shard.pairs) @ shard.pairs.points
    assert (start - shard.pairs.joints).norm(dim=-1).mean() < 0.06


def test_simulated_poses_are_in_the_view(source, body):
    truth = simulate(np.random.default_rng(0), source, body)
    assert truth.marks.shape == (1, FRAMES, 33, 3)
    hips = truth.marks[..., [LANDMARK["left_hip"], LANDMARK["right_hip"]], :].mean(-2)
    assert hips[..., :2].norm(dim=-1).max() < 0.1
    assert (hips[..., 2] > 0.5).all()
    np.testing.assert_allclose(truth.joints[..., 0, :], 0)


# -------------------------------------------------------------------------------------- training


def test_trains_saves_and_goes_on(arrays, body, source, tmp_path, monkeypatch):
    write_shards(tmp_path, arrays)
    monkeypatch.setattr(training, "BATCH", 4)
    monkeypatch.setattr(training, "POOL", (2, 3))
    monkeypatch.setattr(training, "WIDTHS", {"small": 16})
    monkeypatch.setattr(training, "read_mocap_folder", lambda folder, body: source.clips)
    out, folder = tmp_path / "w.safetensors", tmp_path / "run"
    files = TrainingFiles(data=tmp_path, out=out, folder=folder)
    scores = train_lifter(files, mocap=tmp_path, steps=2)
    assert load_lifter(out).config.width == 16
    assert 0 < scores["pa12_mm"] < 300
    first = out.read_bytes()
    again = train_lifter(files, mocap=tmp_path, steps=2)  # nothing left to do
    assert again == scores
    assert out.read_bytes() == first
    train_lifter(files, steps=6)  # goes on, on rendered pairs alone
    assert (folder / "log.csv").read_text().splitlines()[-1].startswith("6,")
    assert (folder / "log.png").exists()


def test_folders_without_shards_and_damaged_ones_are_told(arrays, body, tmp_path):
    with pytest.raises(InputError, match=r"tools\.people\.render_pairs"):
        read_shards(tmp_path, body)
    short = {key: arrays[key] for key in KEYS if key != "rotvec"}
    write_npz(tmp_path / "shard_00000.npz", short)
    with pytest.raises(InputError, match="has no `rotvec`"):
        read_shards(tmp_path, body)
    (tmp_path / "shard_00000.npz").write_bytes(b"no npz")
    with pytest.raises(InputError, match="expected a shard of"):
        read_shards(tmp_path, body)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("lifter",), "render_pairs"),
        (("lifter", "--pairs", "x.npz"), "--pairs"),
        (("niki", "--mocap", "x"), "--mocap"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(arguments, reason, tmp_path):
    out = tmp_path / "w.safetensors"
    told = CliRunner().invoke(
        app, ["train", *arguments, "--data", str(tmp_path), "--out", str(out)]
    )
    assert told.exit_code == 1
    assert reason in told.stderr
    assert len(told.stderr.splitlines()) == 1
    assert not out.exists()


def test_rendered_shards_hold_what_the_network_saw(body, source, tmp_path, monkeypatch):
    monkeypatch.setattr(render_pairs, "LENGTH", 3)
    monkeypatch.setattr(render_pairs, "SEQUENCES", 1)
    short = MotionSource(source.clips, 3)
    write_npz(tmp_path / "shard_00001.npz", make_shard(1, short, body))
    shard = read_shard(tmp_path / "shard_00001.npz", body)
    miss = view_of(shard.pairs).flat - shard.marks[..., :2]
    assert len(shard.pairs) == 1
    assert miss.norm(dim=-1).median() < 0.08  # m
