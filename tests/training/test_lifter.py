"""Training the lifter: pairs are the truth in the crop's view, augmented ones stay true."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from hpsvid.backbone.inner_maps import MIRROR, N_CHANNELS, READ
from hpsvid.backbone.lifter_network import View, flattened, load_lifter
from hpsvid.body.model import Body
from hpsvid.body.skeleton import BLAZEPOSE, JOINT, LANDMARK
from hpsvid.cli import app
from hpsvid.common.files import write_npz
from hpsvid.common.geometry import axis_angle_to_matrix, matrix_to_axis_angle, project
from hpsvid.common.records import join
from hpsvid.errors import InputError
from hpsvid.mocap.amass import MotionCapture, seen_by_camera
from hpsvid.mocap.sources import MotionSource
from hpsvid.mocap.takes import SIZE, Take, chimera, choose_take
from hpsvid.training import lifter as training
from hpsvid.training.augment import augment
from hpsvid.training.lifter import train_lifter
from hpsvid.training.loop import TrainingFiles
from hpsvid.training.pairs import KEYS, Pairs, linear_start, mirror_pairs, read_shard, read_shards
from hpsvid.training.simulated import SimulatedTruth, errors_of, simulate, with_errors
from hpsvid.types import BodyParams
from tests.mocap.test_noise import make_clip

FRAMES = 12
K = np.array([[500.0, 0, 224], [0, 500, 224], [0, 0, 1]])
UPRIGHT = np.diag([1.0, -1, -1])  # world y up to camera y down
WRIST = LANDMARK["left_wrist"]


@pytest.fixture(scope="module")
def source() -> MotionSource:
    return MotionSource([make_clip(60, seed) for seed in range(3)], FRAMES)


def seen_from(source: MotionSource, body: Body, yaw: float) -> BodyParams:
    """A motion in camera axes, 4 m away and a little aside."""
    motion = source.plain(np.random.default_rng(3))
    turn = axis_angle_to_matrix(torch.tensor([0.0, yaw, 0], dtype=torch.float64)).numpy()
    rotation = np.broadcast_to(UPRIGHT @ turn, (FRAMES, 3, 3))
    params = seen_by_camera(motion, rotation, np.zeros(3), body)
    shift = np.array([0.6, 0.1, 4.0]) - body.joints_of(params).mean((0, 1))
    return BodyParams(
        rotmats=params.rotmats,
        betas=params.betas,
        transl=(params.transl + shift).astype(np.float32),
    )


@pytest.fixture(scope="module")
def arrays(source, body) -> dict:
    """A shard as if the landmark network had been nearly right, of three sequences.

    Crops lean, and what was seen in the mirror is what was seen, but for its inner maps.
    """
    people = [seen_from(source, body, yaw) for yaw in (0.3, 2.0, 4.0)]
    marks = torch.from_numpy(np.stack([body.landmarks_of(params) for params in people]))
    hips = marks[:, :, [LANDMARK["left_hip"], LANDMARK["right_hip"]]].mean(2, keepdim=True)
    rng = np.random.default_rng(1)
    rotvec = [matrix_to_axis_angle(torch.from_numpy(p.rotmats)).numpy() for p in people]
    ones = np.ones(marks.shape[:3], np.float16)
    image = project(marks, torch.from_numpy(K).float()).numpy()
    seen = {
        "image": image + rng.normal(size=(*ones.shape, 2)),
        "world": (marks - hips).numpy() + 0.03 * rng.normal(size=(*ones.shape, 3)),
        "visibility": ones,
        "presence": ones,
    }
    crop = np.zeros((*ones.shape[:2], 4), np.float32)
    crop[..., 3] = np.array([0, 0.5, -2.5])[:, None]
    inner = rng.normal(size=(2, *ones.shape[:2], len(READ), N_CHANNELS)).astype(np.float16)
    return (
        seen
        | {f"mirror_{key}": value for key, value in seen.items()}
        | {
            "inner": inner[0],
            "mirror_inner": inner[1],
            "crop": crop,
            "score": ones[..., 0],
            "shows": np.zeros(ones.shape[:2], np.int8),
            "person": np.zeros(len(people), np.int8),
            "rotvec": np.stack(rotvec),
            "betas": np.stack([params.betas for params in people]),
            "transl": np.stack([params.transl for params in people]),
            "K": np.stack([K] * len(people)),
        }
    )


@pytest.fixture
def shard(arrays, body, tmp_path) -> tuple[Pairs, Pairs]:
    write_npz(tmp_path / "shard_00000.npz", arrays)
    return read_shard(tmp_path / "shard_00000.npz", body)


def write_shards(folder: Path, arrays: dict) -> None:
    for part in ("train", "val"):
        (folder / part).mkdir()
        for number in range(2):
            write_npz(folder / part / f"shard_{number:05d}.npz", arrays)


def make_takes(source: MotionSource, body: Body, count: int) -> list[Take]:
    rng = np.random.default_rng(0)
    return [choose_take(rng, source.varied, body) for _ in range(count)]


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


def test_pairs_are_the_truth_in_the_crops_view(shard, arrays):
    pairs, _ = shard
    assert len(pairs) == 3
    assert pairs.view.seen.all()
    np.testing.assert_allclose(pairs.joints[..., 0, :], 0, atol=1e-6)
    # the landmarks, which are nearly right here, lie on the joints in 3D and in 2D
    shift = pairs.view.points[..., LANDMARK["left_hip"], :] - pairs.joints[..., 1, :]
    wrist = pairs.joints[..., JOINT["left_wrist"], :] + shift
    assert (wrist - pairs.view.points[..., WRIST, :]).norm(dim=-1).mean() < 0.12
    flat, depth = flattened(pairs.view)
    assert (flat[..., WRIST, :] - pairs.view.points[..., WRIST, :2]).norm(dim=-1).mean() < 0.2
    assert (depth - 4).abs().mean() < 0.3
    np.testing.assert_array_equal(pairs.betas, arrays["betas"])


def test_a_leaning_crop_turns_the_view_about_its_axis(arrays, body, tmp_path):
    upright = arrays | {"crop": 0 * arrays["crop"]}
    write_npz(tmp_path / "shard_1.npz", arrays)
    write_npz(tmp_path / "shard_2.npz", upright)
    leaning, straight = (read_shard(tmp_path / f"shard_{k}.npz", body)[0] for k in (1, 2))
    for field, before in ((leaning.joints, straight.joints),
                          (leaning.view.points, straight.view.points)):  # fmt: skip
        torch.testing.assert_close(field[0], before[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(field[..., 2], before[..., 2], atol=1e-5, rtol=0)
        assert (field[1:] - before[1:]).abs().max() > 0.2
    # the crop's up is up: whoever stands as the crop leans stands upright in the view
    angle = float(arrays["crop"][1, 0, 3])
    up = np.array([np.sin(angle), -np.cos(angle)])  # of the crop in the picture
    along = straight.view.points[1, ..., :2].numpy() @ up
    np.testing.assert_allclose(-leaning.view.points[1, ..., 1], along, atol=1e-5)


def test_the_mirrored_pairs_are_the_same_people_in_a_mirror(shard):
    pairs, mirrored = shard
    again = mirror_pairs(mirrored)
    for name in (f.name for f in fields(View) if f.name != "inner"):
        torch.testing.assert_close(getattr(again.view, name), getattr(pairs.view, name))
    for name in ("joints", "twist", "betas"):
        torch.testing.assert_close(getattr(again, name), getattr(pairs, name))
    assert (again.view.inner != pairs.view.inner).any()
    assert (mirrored.joints[..., 0] - pairs.joints[..., 0]).abs().max() > 0.1


def test_inner_maps_change_sides_with_the_landmarks():
    assert [BLAZEPOSE.mirror[place] for place in READ] == READ[MIRROR].tolist()


def test_frames_that_show_nobody_or_somebody_else_are_filled_and_not_seen(arrays, body, tmp_path):
    changed = {key: value.copy() for key, value in arrays.items()}
    changed["score"][0] = 0
    changed["score"][1, 4:7] = 0
    changed["shows"][1, 9] = 1
    changed["world"][1, 4:7] = np.nan
    write_npz(tmp_path / "shard_0.npz", changed)
    pairs, mirrored = read_shard(tmp_path / "shard_0.npz", body)
    assert len(pairs) == len(mirrored) == 2
    assert torch.isfinite(pairs.view.points).all()
    assert pairs.view.seen[0].tolist() == [1.0] * 4 + [0.0] * 3 + [1.0, 1.0, 0.0, 1.0, 1.0]
    torch.testing.assert_close(pairs.view.seen, mirrored.view.seen)


def test_augmented_pairs_differ_in_what_is_read_not_in_the_truth(shard, monkeypatch):
    many = join(*[shard[0]] * 20)
    monkeypatch.setattr("hpsvid.training.augment._replayed", lambda pairs, rng: pairs)
    varied = augment(many, torch.Generator().manual_seed(0))
    assert torch.isfinite(varied.view.points).all()
    assert varied.joints is many.joints
    moved = (varied.view.points - many.view.points).norm(dim=-1).mean((1, 2))
    assert moved.max() < 0.1
    assert moved.max() > 3 * moved.min()  # some hardly, some more
    scale = varied.view.slopes.flatten(1).std(1) / many.view.slopes.flatten(1).std(1)
    assert scale.log().std() == pytest.approx(0.15, abs=0.05)
    unseen = 1 - varied.view.seen.mean()
    assert 0.03 < unseen < 0.2
    again = augment(many, torch.Generator().manual_seed(0))
    torch.testing.assert_close(again.view.points, varied.view.points, rtol=0, atol=0)


def test_sequences_are_replayed_at_other_paces_and_backwards_truth_and_evidence_alike(shard):
    many = join(*[shard[0]] * 20)
    frames = torch.arange(many.joints.shape[1], dtype=torch.float32)
    clock = frames[None, :, None, None]
    view = replace(many.view, visibility=torch.zeros_like(many.view.visibility) + clock[..., 0])
    many = replace(many, view=view, joints=torch.zeros_like(many.joints) + clock)
    played = augment(many, torch.Generator().manual_seed(0))
    now = played.joints[..., 0, 0]
    torch.testing.assert_close(played.joints, now[..., None, None].expand_as(played.joints))
    torch.testing.assert_close(played.view.visibility, now[..., None].expand_as(view.visibility))
    assert now.min() >= 0 and now.max() <= frames[-1]
    pace = now.diff(dim=1).abs()
    assert pace.max() < 1.36 and 0.8 < pace.median() < 1.25
    onward = (now[:, 2] > now[:, 0]).float().mean()
    assert 0.3 < onward < 0.7


def test_the_linear_start_is_near_the_joints(shard):
    pairs, _ = shard
    start = linear_start(pairs) @ pairs.view.points
    assert (start - pairs.joints).norm(dim=-1).mean() < 0.06


def test_errors_put_back_on_their_own_truth_give_the_pairs_back(shard):
    pairs, _ = shard
    errors = errors_of(pairs)
    truth = SimulatedTruth(
        marks=pairs.marks,
        joints=pairs.joints,
        twist=pairs.twist,
        betas=pairs.betas,
        lean=pairs.view.lean,
    )
    made = with_errors(truth, errors, torch.arange(3))
    torch.testing.assert_close(made.view.points, pairs.view.points, atol=1e-4, rtol=0)
    torch.testing.assert_close(made.view.slopes, pairs.view.slopes, atol=1e-5, rtol=0)
    other = with_errors(truth, errors, torch.tensor([1, 2, 0]))
    assert (other.view.points - pairs.view.points).norm(dim=-1).mean() > 0.01


def test_simulated_people_stand_upright_in_the_crops_view(body):
    source = MotionSource([make_clip(60, seed) for seed in range(3)], 2 * FRAMES)
    truth = simulate(np.random.default_rng(0), source, body)
    assert truth.marks.shape == (1, FRAMES, 33, 3)
    hips, shoulders = (
        truth.marks[..., [LANDMARK[f"{side}_{part}"] for side in ("left", "right")], :].mean(-2)
        for part in ("hip", "shoulder")
    )
    flat = hips[..., :2] / hips[..., 2:], shoulders[..., :2] / shoulders[..., 2:]
    assert flat[0].norm(dim=-1).max() < 0.03  # the optical axis meets the hips
    assert ((flat[1] - flat[0])[..., 0].abs() < 0.05).all() and (flat[1] < flat[0])[..., 1].all()
    np.testing.assert_allclose(truth.joints[..., 0, :], 0)


# -------------------------------------------------------------------------------------- training


def test_trains_saves_and_goes_on(arrays, tmp_path, monkeypatch):
    write_shards(tmp_path, arrays)
    clips = [make_clip(60, seed) for seed in range(3)]
    monkeypatch.setattr(training, "BATCH", 4)
    monkeypatch.setattr(training, "POOL", (2, 3))
    monkeypatch.setattr(training, "WIDTHS", {"small": 16})
    monkeypatch.setattr(training, "read_mocap_folder", lambda folder, body: clips)
    out, folder = tmp_path / "w.safetensors", tmp_path / "run"
    files = TrainingFiles(data=tmp_path, out=out, folder=folder)
    scores = train_lifter(files, mocap=tmp_path, steps=2)
    loaded = load_lifter(out)
    assert loaded.config.width == 16
    assert (loaded.lifters[0].inner_spread != 1).any()  # of the samples that it was trained on
    assert 0 < scores["pa12_mm"] < 300
    first = out.read_bytes()
    again = train_lifter(files, mocap=tmp_path, steps=2)  # nothing left to do
    assert again == scores
    assert out.read_bytes() == first
    train_lifter(files, steps=6)  # goes on, on rendered pairs alone
    assert (folder / "log.csv").read_text().splitlines()[-1].startswith("6,")
    assert (folder / "log.png").exists()


def test_folders_without_shards_and_damaged_ones_are_told(arrays, body, tmp_path):
    with pytest.raises(InputError, match=r"tools\.people\.pairs"):
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
        (("lifter",), "tools.people.pairs"),
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
