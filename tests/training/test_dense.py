"""Training the dense maps' network: it learns, goes on where it was, and refuses other files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from hpsvid.backbone.dense_network import (
    DenseConfig,
    DenseInput,
    DenseNet,
    joints_of_maps,
    load_dense,
)
from hpsvid.body.parts import LSP_JOINTS
from hpsvid.cli import app
from hpsvid.common.files import write_npz
from hpsvid.errors import InputError
from hpsvid.training import dense
from hpsvid.training.dense import dense_loss, scores, train_dense
from hpsvid.training.dense_data import DenseShards
from hpsvid.training.loop import LAST, TrainingFiles

SMALL = DenseConfig(width=16, blocks=1)
ROWS = 6


@pytest.fixture(scope="module")
def folder(body, tmp_path_factory) -> Path:
    """A shard to train on and one held back, of crops of noise with made-up truth."""
    import cv2

    root = tmp_path_factory.mktemp("dense")
    for seed, part in enumerate(("train", "val")):
        rng = np.random.default_rng(seed)
        files = [
            cv2.imencode(".jpg", rng.integers(0, 255, (256, 256, 3), dtype=np.uint8))[1].ravel()
            for _ in range(ROWS)
        ]
        face = np.full((ROWS, 64, 64), -1, np.int16)
        face[:, 20:44, 24:40] = rng.integers(0, 13866, (ROWS, 24, 16))
        K = np.array([[400.0, 0, 160], [0, 400, 120], [0, 0, 1]], np.float32)
        arrays = {
            "file": np.concatenate(files),
            "ends": np.cumsum([len(file) for file in files]),
            "face": face,
            "weights": np.full((ROWS, 64, 64, 2), 85, np.uint8),
            "crop": np.tile(np.array([160, 120, 200, 0.1], np.float32), (ROWS, 1)),
            "rotvec": 0.2 * rng.normal(size=(ROWS, 24, 3)).astype(np.float32),
            "betas": rng.normal(size=(ROWS, 10)).astype(np.float32),
            "transl": np.tile(np.array([0, 0, 4], np.float32), (ROWS, 1)),
            "K": np.tile(K, (ROWS, 1, 1)),
            "joint_state": np.zeros((ROWS, 29), np.uint8),
            "scene": np.zeros(ROWS, np.int16),
            "person": np.zeros(ROWS, np.int16),
        }
        (root / part).mkdir()
        write_npz(root / part / "shard_00000.npz", arrays)
    return root


def test_training_lowers_the_loss_and_a_stopped_one_goes_on(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(dense, "BATCH", 4)
    files = TrainingFiles(data=folder, out=tmp_path / "maps.safetensors", folder=tmp_path / "log")
    monkeypatch.setattr(dense, "EVERY", 10)
    first = train_dense(files, config=SMALL, steps=10)
    assert (files.folder / LAST).exists()
    assert load_dense(files.out).config == SMALL
    again = train_dense(files, config=SMALL, steps=30)
    rows = (files.folder / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in rows[1:]] == ["10", "20", "30"]
    losses = [float(line.split(",")[3]) for line in rows[1:]]
    assert losses[-1] < 0.9 * losses[0]
    assert again["joints2d_px"] < first["joints2d_px"]
    with pytest.raises(InputError, match="another size"):
        other = replace(SMALL, width=32)
        train_dense(files, config=other, steps=1, start=files.out)


def test_a_look_is_made_once_and_the_second_lies_in_a_mirror(folder, body):
    data = DenseShards(folder / "train", body)
    made = (folder / "train/shard_00000.inner.npy").stat().st_mtime_ns
    again = DenseShards(folder / "train", body)
    assert (folder / "train/shard_00000.inner.npy").stat().st_mtime_ns == made
    plain, mirrored = data.batch(np.arange(3), 0), again.batch(np.arange(3), 1)
    assert plain.seen.inner.shape == (3, 352, 16, 16)
    assert plain.seen.heat.max() <= 1
    assert torch.equal(plain.truth.joints[:, 0], mirrored.truth.joints[:, 0])
    assert torch.allclose(
        plain.truth.joints[:, LSP_JOINTS[0], 0], -mirrored.truth.joints[:, LSP_JOINTS[1], 0]
    )
    covered = plain.truth.mask.flip(-1) & ~mirrored.truth.mask
    assert not (mirrored.truth.mask & ~plain.truth.mask.flip(-1)).any()
    assert covered.sum() < plain.truth.mask.sum()


@pytest.mark.parametrize("mixes", [False, True])
@pytest.mark.parametrize(("trunk", "pixels"), [(True, False), (False, True), (True, True)])
def test_the_network_reads_what_its_config_says(trunk, pixels, mixes):
    torch.manual_seed(0)
    size = DenseConfig(trunk=trunk, pixels=pixels, width=16, blocks=1, mixes=mixes)
    net = DenseNet(size).eval()
    seen = DenseInput(
        inner=torch.randn(2, 352, 16, 16),
        heat=torch.rand(2, 39, 32, 32),
        marks=torch.rand(2, 33, 7),
        pixels=torch.rand(2, 3, 128, 128),
    )
    answer = net(seen)
    assert answer.mask.shape == (2, 64, 64)
    assert answer.surface.shape == (2, 3, 64, 64)
    assert answer.joints.shape == (2, 29, 3)
    assert answer.joints[:, 0].abs().max() == 0
    assert ((answer.joints2d > -1) & (answer.joints2d < 2)).all()
    for name, read in (("inner", trunk), ("heat", trunk), ("marks", trunk), ("pixels", pixels)):
        other = net(replace(seen, **{name: torch.zeros_like(getattr(seen, name))}))
        assert torch.equal(other.mask, answer.mask) != read, name


def test_joints_start_from_the_landmarks(folder, body):
    data = DenseShards(folder / "train", body)
    net = DenseNet(DenseConfig(width=16, blocks=1))
    net.carry2d.data, net.carry3d.data = data.linear_starts()
    for value in net.votes.parameters():
        torch.nn.init.zeros_(value)
    batch = data.batch(np.arange(4), 0)
    with torch.no_grad():
        answer = net(batch.seen)
    told = net.carry3d @ batch.seen.marks[..., 2:5]
    assert torch.allclose(answer.joints, told - told[:, :1], atol=1e-5)
    assert (answer.joints2d - 0.5).norm(dim=-1).max() > 0.1


def test_cells_start_from_the_joints_that_they_name(folder, body):
    net = DenseNet(replace(SMALL, mixes=True))
    batch = DenseShards(folder / "train", body).batch(np.arange(4), 0)
    for layer in (net.maps, net.mix):
        for parameter in layer.parameters():
            torch.nn.init.zeros_(parameter)
    knee, part = 4, 3  # SMPL's left knee; LSP's left hip among the 14
    net.mix.get_parameter("bias").data[[knee, 29 + part]] = 50.0
    with torch.no_grad():
        answer = net(batch.seen)
    there = answer.joints[:, [knee, LSP_JOINTS[part]], :, None, None]
    assert torch.allclose(answer.location, there[:, 0].expand(-1, -1, 64, 64))
    assert torch.allclose(answer.joint, there[:, 1].expand(-1, -1, 64, 64))


def test_exact_maps_give_the_joints_back_and_no_loss_but_for_sigma(folder, body):
    data = DenseShards(folder / "train", body)
    batch = data.batch(np.arange(4), 0)
    truth = batch.truth
    net = DenseNet(SMALL).eval()
    with torch.no_grad():
        answer = net(batch.seen)
    shown = truth.mask[:, None]
    exact = replace(
        answer,
        mask=torch.where(truth.mask, 30.0, -30.0),
        surface=truth.surface.float(),
        location=truth.location.float(),
        joint=torch.where(shown, truth.joint_map(), torch.full(shown.shape, 9.0)),
        displacement=truth.location.float() - truth.joint_map(),
        joints=truth.joints,
        joints2d=truth.joints2d,
        twist=truth.twist,
        betas=truth.betas,
    )
    terms = dense_loss(exact, batch)
    assert all(abs(value) < 1e-3 for name, value in terms.items() if name not in ("spread", "nll"))
    joints, seen = joints_of_maps(exact, truth.part.long())
    assert seen.any()
    assert (joints - truth.joints[:, LSP_JOINTS])[seen].norm(dim=-1).max() < 1e-4
    told = scores(net, data, np.arange(ROWS))
    assert told["mpjpe29_mm"] > 10


def test_the_command_trains_and_tells_what_folder_it_wanted(folder, tmp_path):
    wrong = CliRunner().invoke(
        app, ["train", "dense", "--data", str(tmp_path), "-o", str(tmp_path / "d.safetensors")]
    )
    assert wrong.exit_code == 1
    assert "tools.people.dense" in wrong.output
    idle = CliRunner().invoke(
        app,
        ["train", "dense", "--data", str(folder), "-o", str(tmp_path / "d.safetensors"),
         "--pairs", str(tmp_path)],
    )  # fmt: skip
    assert idle.exit_code == 1
    assert "--pairs" in idle.output
