"""The training loop: it learns, stops, resumes, keeps the best, and leaves a log and a plot."""

import csv
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hpsvid.common.checkpoints import load_weights, read_config, save_weights
from hpsvid.errors import InputError, WeightsError
from hpsvid.ik.hybrik import twists
from hpsvid.ik.networks import load_network
from hpsvid.ik.niki import Niki, NikiConfig
from hpsvid.mocap.amass import read_mocap
from hpsvid.training import batches
from hpsvid.training import solvers as train
from hpsvid.training.loop import FitConfig, TrainingFiles, fit
from hpsvid.training.losses import LossWeights
from hpsvid.training.solvers import Recipe, loss_weights, train_solver

CONFIG = FitConfig(steps=60, rate=0.2, warm_up=5, every=20, average=0.8, mixed_precision=False)


class Line(nn.Module):
    """y = slope x; the truth is 3."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(()))


def run(folder, config=CONFIG, validate=None):
    model = Line()
    generator = torch.Generator().manual_seed(0)

    def drawn():
        while True:
            yield torch.randn(16, generator=generator)

    def loss(x):
        error = (model.slope * x - 3 * x).square().mean()
        return error, {"squared": error.item()}

    error = fit(
        model, drawn(), loss, validate or (lambda: abs(model.slope.item() - 3)), folder, config
    )
    return model, error


def rows(folder):
    with (folder / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_learns_logs_and_draws(tmp_path):
    model, error = run(tmp_path)
    assert error < 0.5
    assert abs(model.slope.item() - 3) == pytest.approx(error, abs=1e-6)
    table = rows(tmp_path)
    assert [int(row["step"]) for row in table] == [20, 40, 60]
    assert float(table[-1]["squared"]) < float(table[0]["squared"])
    picture = cv2.imread(str(tmp_path / "log.png"))
    assert picture is not None
    assert (picture < 100).any()


def test_resumes_where_it_stopped(tmp_path):
    whole, _ = run(tmp_path / "whole")
    run(tmp_path / "parts", replace(CONFIG, steps=40))
    table = rows(tmp_path / "parts")
    parts, _ = run(tmp_path / "parts")
    assert [int(row["step"]) for row in rows(tmp_path / "parts")] == [20, 40, 60]
    assert rows(tmp_path / "parts")[:2] == table
    assert parts.slope.item() == pytest.approx(whole.slope.item(), abs=0.3)


def test_stops_early_and_keeps_the_best(tmp_path):
    found = iter([3.0, 1.0, 2.0, 2.0, 2.0])
    slopes = []
    config = replace(CONFIG, steps=1000, patience=2)
    model = None

    def validate():
        return next(found)

    model, error = run(tmp_path, config, validate)
    slopes = [int(row["step"]) for row in rows(tmp_path)]
    assert error == 1.0
    assert slopes == [20, 40, 60, 80]
    again, _ = run(tmp_path / "short", replace(config, steps=1000, patience=0))
    assert again.slope.item() == 0  # no patience at all: nothing was trained
    assert model.slope.item() > 0


def test_a_step_that_is_not_finite_is_left_out(tmp_path):
    model = Line()
    values = iter([float("nan"), *[0.1] * 100])

    def loss(x):
        error = (model.slope - 3).square() * next(values)
        return error, {}

    config = replace(CONFIG, steps=30, every=10)
    fit(model, iter(lambda: torch.zeros(1), None), loss, lambda: 0.0, tmp_path, config)
    assert math.isfinite(model.slope.item())


def test_ends_in_time(tmp_path):
    run(tmp_path, replace(CONFIG, steps=10**9, minutes=0.5 / 60))
    assert int(rows(tmp_path)[-1]["step"]) < 10**6


def test_checkpoints_say_what_is_wrong(tmp_path):
    small = NikiConfig(kind="one-stage", blocks=1, hidden=8)
    path = tmp_path / "w.safetensors"
    save_weights(Niki(small), path, {"model": small.as_dict()})
    assert NikiConfig(**read_config(path, "solvers", ("model",))["model"]) == small
    with pytest.raises(WeightsError, match="has another shape for"):
        load_weights(Niki(replace(small, hidden=9)), path)
    (tmp_path / "bad").write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="not a checkpoint"):
        read_config(tmp_path / "bad", "solvers", ("model",))


def test_unknown_solver_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="niki-temporal"):
        Recipe(solver="nikki")
    with pytest.raises(InputError, match="not a folder"):
        train_solver(Recipe(solver="niki"), files_in(tmp_path))


def files_in(folder):
    return TrainingFiles(data=folder, out=folder / "w.safetensors", folder=folder / "run")


@pytest.fixture
def motions(tmp_path, shared, monkeypatch):
    """A folder of three clips to train on and the same to validate on."""
    clips = shared / "data" / "mocap" / "free" / "val" / "cmu_expmap8"
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        for path in sorted(clips.glob("*.npz"))[:3]:
            (tmp_path / part / path.name).symlink_to(path)
    monkeypatch.setattr(train, "LEAST_SQUARES_WINDOWS", 40)
    monkeypatch.setattr(batches, "POOL", 8)
    return tmp_path


def train_two_steps(name, folder, **options):
    config = FitConfig(steps=2, every=2, warm_up=1)
    files = files_in(folder)
    error = train_solver(Recipe(solver=name, batch=2, length=8, fit=config, **options), files)
    assert 0 < error < 500
    return read_config(files.out, "solvers", ("model",)), rows(folder / "run")[-1]


@pytest.mark.parametrize("name", ["gik", "mlp"])
def test_a_baseline_trains_on_motion_capture(name, motions):
    config, _ = train_two_steps(name, motions)
    assert config["solver"] == name
    assert (motions / "run" / "log.png").exists()


@pytest.mark.parametrize(
    ("without", "losses"),
    [
        ((), {"inv", "fwd", "ind", "bnd_i", "bnd_f"}),
        (("ind", "bnd", "analytic"), {"inv", "fwd"}),
        (("bidirectional",), {"inv", "ind", "bnd_i"}),
    ],
    ids=["whole", "vanilla", "one way"],
)
def test_niki_trains_with_or_without_its_parts(without, losses, motions):
    config, row = train_two_steps("niki", motions, without=without)
    assert set(row) - {"step", "seconds", "rate", "loss", "val"} == losses
    assert config["without"] == sorted(without)
    assert config["model"]["analytic"] == ("analytic" not in without)
    assert load_network(motions / "w.safetensors")


def test_a_baseline_has_no_parts_to_leave_out():
    with pytest.raises(InputError, match="mlp without ind"):
        Recipe(solver="mlp", without=["ind"])


def test_loss_weights_are_the_papers_but_for_those_named():
    weights = loss_weights("fwd=0.1,acceleration=1")
    assert (weights.fwd, weights.acceleration, weights.inv, weights.bnd_i) == (0.1, 1.0, 1.0, 0.1)
    assert loss_weights("") == LossWeights()
    for wrong in ("fwd", "fwd=x", "fwd=-1", "fwd=nan", "forward=1"):
        with pytest.raises(InputError, match="NAME=NUMBER"):
            loss_weights(wrong)


def test_training_goes_on_from_given_weights_with_lifted_pairs(motions, body, monkeypatch):
    """And is validated on the last of the pairs, which no batch holds."""
    clip = next(iter(read_mocap(next((motions / "val").iterdir()), body)))
    rotmats = torch.from_numpy(clip.rotmats[:48]).reshape(4, 12, 24, 3, 3)
    betas = torch.zeros(4, 10)
    rest = body.rest_joints(betas)[:, None]
    joints = body.joints(rotmats, betas[:, None], torch.zeros(3))
    arrays = {
        "joints": joints - joints[..., :1, :],
        "sigma": torch.full((4, 12, 29), 0.05),
        "twist": twists(rotmats, rest),
        "view": torch.tensor([0.0, 0, 1]).expand(4, 12, 3),
        "betas": betas,
        "rotmats": rotmats,
    }
    np.savez(motions / "pairs.npz", **{name: value.numpy() for name, value in arrays.items()})
    train_two_steps("niki-temporal", motions)
    first = motions / "first.safetensors"
    files_in(motions).out.rename(first)
    (motions / "run" / "last.pt").unlink()
    monkeypatch.setattr(train, "fit_by_least_squares", lambda *_: pytest.fail("started afresh"))
    config = FitConfig(steps=1, every=1, warm_up=1, rate=1e-9)
    recipe = Recipe(solver="niki-temporal", batch=2, length=8, fit=config)
    train_solver(recipe, files_in(motions), motions / "pairs.npz", first)
    before, after = (load_file(path) for path in (first, files_in(motions).out))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-3, rtol=1e-3)
    kept, held_back = batches.LiftedPairs.read(motions / "pairs.npz").split(0.25)
    assert len(kept.joints) == 3 and torch.equal(held_back.rotmats[0], rotmats[3])
    single = {name: value if name == "betas" else value[:, :1] for name, value in arrays.items()}
    np.savez(motions / "single.npz", **{name: value.numpy() for name, value in single.items()})
    with pytest.raises(InputError, match="single pictures; niki-temporal is trained on sequences"):
        train_solver(recipe, files_in(motions), motions / "single.npz")
