"""How people's surfaces depart from their bodies: what the network tells comes into the result."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from hpsvid.backbone.uv_network import UNIT_M, UvConfig, UvNet
from hpsvid.cli import app
from hpsvid.errors import InputError
from hpsvid.formats.npz import read_motion, write_motion
from hpsvid.pipeline import surface
from hpsvid.pipeline.stages import silent
from hpsvid.pipeline.surface import split_offsets, with_surface
from hpsvid.types import Surface
from tests.appearance.painted import filmed, painted, sides_at, turning

WAY = np.array([0.02, -0.01, 0.03], np.float32)  # m, in the axes of the unbent body


@pytest.fixture(scope="module")
def motion(body, tmp_path_factory):
    """Two frames of somebody who turns about."""
    people = [turning(body, 2, turns=0.5)]
    return filmed(tmp_path_factory.mktemp("clip"), body, people, [painted(body, sides_at, 128)])


@pytest.fixture
def moving(monkeypatch):
    """A network that tells that every place of the surface is WAY off."""
    net = UvNet(UvConfig(width=8))
    net.leave.get_parameter("1.bias").data[:12] = (
        torch.from_numpy(WAY).repeat_interleave(4) / UNIT_M
    )
    monkeypatch.setattr(surface, "load_uv", lambda path: net.eval())
    return net


def test_an_untrained_network_leaves_people_as_they_are(motion, body, moving):
    moving.leave[1].bias.data.zero_()
    (person,) = with_surface(motion, body, silent).people
    assert person.surface is not None
    assert np.abs(person.surface.offsets).max() < 1e-5
    assert np.abs(person.body.betas - motion.people[0].body.betas).max() < 1e-4
    assert np.abs(person.joints - motion.people[0].joints).max() < 1e-4


def test_shape_and_offsets_together_are_what_the_network_told(motion, body, moving):
    before = motion.people[0]
    (person,) = with_surface(motion, body, silent).people
    change = torch.from_numpy(person.body.betas - before.body.betas)
    assert change.abs().max() > 0.05
    shaped = body.shaped(torch.from_numpy(person.body.betas)) - body.shaped(
        torch.from_numpy(before.body.betas)
    )
    assert person.surface is not None
    moved = shaped.numpy() + person.surface.offsets
    still = np.abs(body.template[:, 0].numpy()) < 0.1  # the trunk and the head are not bent
    assert np.abs(moved[still] - WAY).max() < 0.006  # about the hips they are a little
    # the pelvis stays, the joints are the corrected body's
    assert np.abs(person.joints[:, 0] - before.joints[:, 0]).max() < 1e-5
    assert np.allclose(person.joints, body.joints_of(person.body), atol=1e-5)


def test_a_shape_is_found_again_and_what_is_none_is_left(body):
    rng = np.random.default_rng(0)
    true = torch.from_numpy(rng.normal(size=10).astype(np.float32))
    other = torch.from_numpy(0.002 * rng.normal(size=body.template.shape).astype(np.float32))
    change, left = split_offsets(body.shape_dirs[..., :10] @ true + other, body, 10)
    assert (left.norm(dim=1).mean()) < 0.01
    shaped = (body.shape_dirs[..., :10] @ (change - true)).norm(dim=1)
    assert shaped.mean() < 0.01  # little is asked of what the surface hardly shows
    none, all_of_it = split_offsets(torch.zeros_like(other), body, 10)
    assert not none.any()
    assert not all_of_it.any()


def test_the_command_keeps_offsets_in_the_result(motion, body, moving, tmp_path):
    result, out = tmp_path / "result.npz", tmp_path / "whole.npz"
    write_motion(motion, result)
    told = CliRunner().invoke(app, ["surface", str(result), "-o", str(out), "--quiet"])
    assert told.exit_code == 0, told.output
    (person,) = read_motion(out).people
    assert person.surface is not None
    with np.load(out, allow_pickle=False) as arrays:
        assert arrays["0/offsets"].shape == (len(body.template), 3)
        assert np.array_equal(arrays["0/offsets"], person.surface.offsets)
    assert read_motion(result).people[0].surface is None
    again = CliRunner().invoke(app, ["surface", str(result), "-o", str(tmp_path / "a.bvh")])
    assert again.exit_code == 1
    assert ".npz" in again.output
    far = replace(person, surface=Surface(offsets=np.full((9, 3), 5.0, np.float32)))
    write_motion(replace(motion, people=(far,)), out)
    with pytest.raises(InputError, match="offsets"):
        read_motion(out)
    gone = replace(motion, clip=replace(motion.clip, path=tmp_path / "nowhere.mp4"))
    with pytest.raises(InputError, match="not there"):
        with_surface(gone, body, silent)
