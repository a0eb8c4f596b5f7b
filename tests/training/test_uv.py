"""UV inpainting: maps of the picture fall on the body's texels, and training completes them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from hpsvid.backbone.uv_network import UvConfig, UvMaps, UvNet, load_uv, save_uv
from hpsvid.body.parts import LSP_JOINTS, mirror_of_parts
from hpsvid.body.uv_maps import UvGrid, unwrapped
from hpsvid.cli import app
from hpsvid.common.files import write_npz
from hpsvid.common.records import take
from hpsvid.common.threads import torch_threads
from hpsvid.errors import WeightsError
from hpsvid.pipeline.uv_chain import UvChain
from hpsvid.training import uv, uv_data
from hpsvid.training.dense_data import truth_of_shard
from hpsvid.training.loop import FitConfig, TrainingFiles
from hpsvid.training.uv import fit_uv, train_uv, uv_loss, uv_scores
from hpsvid.training.uv_data import (
    WINDOW,
    Looked,
    examples_of,
    in_crop,
    simulated_examples,
    weak_camera,
    whole,
)
from tests.tools.people_factories import source

SMALL = UvConfig(width=8)


@pytest.fixture(scope="module")
def chain(body) -> UvChain:
    return UvChain(body)


@pytest.fixture(scope="module")
def shots(body):
    """Rows of bare bodies before random cameras, and what is true of them."""
    arrays = uv_data._shots(np.random.default_rng(5), source(WINDOW), body, 6)
    return arrays, truth_of_shard(arrays, body)


@pytest.fixture(scope="module")
def examples(chain):
    return simulated_examples(np.random.default_rng(2), source(WINDOW), chain, 12)


def test_texels_lie_on_the_body_and_their_twins_on_its_other_side(chain, body):
    for grid in (chain.space.coarse, chain.space.fine):
        values = torch.randn(2, len(grid.places), 3)
        assert torch.equal(grid.gather(grid.spread(values)), values)
        assert torch.allclose(grid.of_vertices(body.template[None])[0], grid.rest, atol=1e-6)
        away = grid.rest[grid.twin] * torch.tensor([-1.0, 1, 1]) - grid.rest
        assert away.norm(dim=1).median() < 1.0 / grid.size  # a texel or so
        limb = torch.arange(14)[grid.part][grid.rest[:, 0].abs() > 0.05]
        twin = grid.part[grid.twin][grid.rest[:, 0].abs() > 0.05]
        assert (torch.tensor(mirror_of_parts(14))[limb] == twin).float().mean() > 0.93
    at = chain.space.at_vertices(chain.space.fine.of_vertices(body.template[None]))
    assert (at - body.template).norm(dim=-1).max() < 0.02


def test_true_maps_unwrapped_lie_where_the_posed_body_is(chain, body, shots):
    arrays, truth = shots
    grid: UvGrid = chain.space.coarse
    maps = torch.cat([truth.location.float(), truth.joint_map()], 1)
    told = unwrapped(maps, truth.surface.float(), truth.mask.float(), grid)
    exact = replace(
        uv_data.damaged(np.random.default_rng(0), arrays, truth, body),
        mask=torch.where(truth.mask, 9.0, -9.0), surface=truth.surface.float(),
        location=truth.location.float(), joint=truth.joint_map(), joints=truth.joints,
    )  # fmt: skip
    made = examples_of(Looked(arrays=arrays, truth=truth), exact, truth.joints, chain)
    location = uv._halved(made.location, chain.space) @ made.case.turn  # the view's axes
    sure = told[..., 6] > 0.9
    assert 0.03 < sure.float().mean() < 0.6
    assert (told[..., :3] - location).norm(dim=-1)[sure].median() < 0.02
    assert torch.allclose(
        (made.joints @ made.case.turn)[:, LSP_JOINTS.index(4)], truth.joints[:, 4], atol=1e-5
    )
    # places in the crop: the true surface projects onto the cells that show it
    camera = weak_camera(truth.joints, truth.joints2d)
    miss = in_crop(location, torch.eye(3).expand(len(location), 3, 3), camera) - made.place[..., :2]
    assert miss.norm(dim=-1)[sure].median() < 0.03
    # a mirror image has the surface of the mirrored body
    flipped = examples_of(
        Looked(arrays=arrays, truth=truth, mirrored=True), exact, truth.joints, chain
    )
    twin = (flipped.location @ made.case.turn)[:, chain.space.fine.twin] * torch.tensor(
        [-1.0, 1, 1]
    )
    assert (twin - made.location @ made.case.turn).norm(dim=-1).median() < 0.02


def test_nothing_seen_is_nothing_told(chain):
    blank = torch.zeros(1, 3, 64, 64)
    told = unwrapped(torch.ones(1, 2, 64, 64), blank, torch.zeros(1, 64, 64), chain.space.coarse)
    assert not told.any()
    one = torch.zeros(1, 64, 64)
    one[0, 5, 7] = 1
    place = chain.space.coarse.rest[100].reshape(1, 3, 1, 1).expand(1, 3, 64, 64)
    told = unwrapped(torch.full((1, 1, 64, 64), 2.0), place, one, chain.space.coarse)
    assert told[0, 100].tolist() == [2.0, 1.0]
    assert 0 < (told[0, :, 1] > 0).sum() < 500


@pytest.mark.parametrize("config", [UvConfig(), UvConfig(ik=False), UvConfig(dmp=False)])
def test_an_untrained_network_tells_what_it_starts_from(chain, examples, config):
    some = whole(examples, torch.arange(3))
    net = UvNet(replace(config, width=8)).eval()
    with torch.no_grad():
        told = net.complete(some.case, chain.space)
    joints = some.case.joints if config.ik else some.case.seen_joints
    assert torch.allclose(told.joints(chain.space.fine), joints, atol=1e-5)
    assert torch.allclose(told.location - told.joint, told.displacement, atol=1e-5)
    if config.ik:
        assert torch.equal(told.location, some.case.posed_fine)
    torch.nn.init.normal_(net.leave.get_parameter("1.weight"))
    blind = replace(some.case, seen=torch.zeros_like(some.case.seen))
    with torch.no_grad():
        one, other = net.complete(some.case, chain.space), net.complete(blind, chain.space)
    assert torch.equal(one.location, other.location) != config.dmp


def test_the_truth_costs_nothing_but_a_body_that_is_not_symmetric(chain, examples):
    some = whole(examples, torch.arange(4))
    joint = some.joints[:, chain.space.fine.part]
    exact = UvMaps(some.location, joint, some.location - joint)
    terms = uv_loss(exact, some, chain.space)
    assert terms["map"] == 0
    assert terms["joints"] < 1e-5
    assert terms["joints2d"] < 0.02  # what a camera without perspective misses
    assert terms["symmetry"] < 0.01
    longer = exact.displacement * torch.where(chain.space.fine.rest[:, :1] > 0, 1.5, 1.0)
    uneven = uv_loss(replace(exact, displacement=longer), some, chain.space)
    assert uneven["symmetry"] > 4 * terms["symmetry"]
    assert "symmetry" not in uv_loss(exact, some, chain.space, symmetric=False)


def test_training_repairs_what_inverse_kinematics_left(chain, examples, tmp_path, monkeypatch):
    monkeypatch.setattr(uv, "EVERY", 15)
    monkeypatch.setattr(uv, "BATCH", 4)
    torch.manual_seed(0)
    net, some = UvNet(SMALL), take(examples, slice(4))
    with torch_threads(1):
        before = uv_scores(net, some, chain.space)
        assert before["uvi_mpjpe_mm"] == pytest.approx(before["ik_mpjpe_mm"], abs=0.1)
        fit_uv(net, some, some, chain.space, tmp_path, FitConfig(steps=30))
        after = uv_scores(net, some, chain.space)
    assert after["ik_mpjpe_mm"] == before["ik_mpjpe_mm"]
    assert after["uvi_mpjpe_mm"] < 0.98 * before["uvi_mpjpe_mm"]
    assert after["uvi_surface_mm"] < 0.98 * before["uvi_surface_mm"]


def test_a_surface_is_the_posed_body_moved_by_the_location_map(chain, examples, shots, body):
    arrays, truth = shots
    answer = uv_data.damaged(np.random.default_rng(0), arrays, truth, body)
    posed = chain.posed(answer.joints, answer)
    case = chain.case(answer.joints, answer, posed)
    flat = torch.zeros_like(case.posed_fine)
    still = UvMaps(case.posed_fine, flat, flat)
    assert torch.allclose(chain.surface(still, case, posed), posed.vertices, atol=1e-6)
    way = torch.tensor([0.1, 0.0, 0.02])
    moved = chain.surface(UvMaps(case.posed_fine + way, flat, flat), case, posed)
    assert torch.allclose(
        moved - posed.vertices, (way @ case.turn)[:, None].expand_as(moved), atol=1e-5
    )


def test_the_command_trains_on_crops_and_a_network_of_another_kind_is_refused(
    shots, tmp_path, monkeypatch
):
    arrays, _ = shots
    rng = np.random.default_rng(0)
    files = [
        cv2.imencode(".jpg", rng.integers(0, 255, (256, 256, 3), dtype=np.uint8))[1].ravel()
        for _ in arrays["face"]
    ]
    rows = np.zeros(len(files), np.int16)
    shard = arrays | {
        "file": np.concatenate(files), "ends": np.cumsum([len(file) for file in files]),
        "scene": rows, "person": rows, "joint_state": np.zeros((len(files), 29), np.uint8),
    }  # fmt: skip
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        write_npz(tmp_path / part / "shard_00000.npz", shard)
    monkeypatch.setitem(uv.SIZES, "small", SMALL)
    out = tmp_path / "uv.safetensors"
    told = CliRunner().invoke(
        app, ["train", "uv", "--data", str(tmp_path), "-o", str(out), "--steps", "3"]
    )
    assert told.exit_code == 0, told.output
    assert "uvi_mpjpe_mm" in told.output
    assert load_uv(out).config == SMALL
    files = TrainingFiles(data=tmp_path, out=out, folder=tmp_path / "again")
    went_on = train_uv(files, config=SMALL, length=FitConfig(steps=2), start=out)
    assert np.isfinite(list(went_on.values())).all()
    save_uv(UvNet(UvConfig(width=16)), out)
    assert load_uv(out).config.width == 16
    (tmp_path / "broken.safetensors").write_bytes(out.read_bytes()[:1000])
    with pytest.raises(WeightsError):
        load_uv(tmp_path / "broken.safetensors")
