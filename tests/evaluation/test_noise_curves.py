"""The tables that compare solvers, and the probe of what NIKI's losses are about."""

from typing import get_args

import pytest
import torch

from hpsvid.common.checkpoints import save_weights
from hpsvid.evaluation.noise_curves import (
    Score,
    compare_solvers,
    comparison_text,
    method_for,
    noisy_windows,
    ratios,
)
from hpsvid.ik.mlp import MlpIk
from hpsvid.ik.niki import Niki, NikiConfig
from hpsvid.mocap.amass import read_mocap_folder
from hpsvid.mocap.sources import even_windows
from hpsvid.options import SolverName
from tools.tables.ablation import HEADS, probe


@pytest.fixture(scope="module")
def motions(shared):
    return shared / "data" / "mocap" / "free" / "val" / "cmu_gpmat"


def test_ratios_compare_with_analytic_and_frame_based_ik():
    scores = {
        ("hybrik", None): Score(mpjpe=80, pa_mpjpe=60, acceleration=40),
        ("niki", None): Score(mpjpe=50, pa_mpjpe=30, acceleration=20),
        ("niki-temporal", None): Score(mpjpe=40, pa_mpjpe=27, acceleration=5),
        ("niki-temporal", 10): Score(mpjpe=1, pa_mpjpe=1, acceleration=1),
    }
    table = ratios(scores)
    assert [column.title for column in table.columns][4:6] == [
        "MPJPE against hybrik", "PA against hybrik",
    ]  # fmt: skip
    cells = {name: figures for name, *figures in table.texts()}
    assert cells["niki-temporal"] == [
        "40.0", "27.0", "5.0", "-50.0%", "-55.0%", "-87.5%", "-20.0%", "-10.0%", "-75.0%",
    ]  # fmt: skip
    assert cells["niki"][6:] == ["", "", ""]
    assert cells["hybrik"][6:] == ["+60.0%", "+100.0%", "+100.0%"]


def test_the_mlp_baseline_is_compared_when_its_weights_are_given(motions, tmp_path):
    path = tmp_path / "mlp.safetensors"
    save_weights(MlpIk(8, 1), path, {"solver": "mlp", "model": {"hidden": 8, "blocks": 1}})
    scores = compare_solvers(motions, ["hybrik", "gik"], mlp=path, windows=1, length=16)
    found = comparison_text(scores)
    assert list(scores.acceleration) == ["hybrik", "gik", "mlp"]
    assert all(curve.shape == (14,) for curve in scores.acceleration.values())
    for name in ("hybrik", "gik", "mlp"):
        assert found.count(f"| {name} |") == 5  # errors and ratios, told and untold; time
    assert list(compare_solvers(motions, ["hybrik"], windows=1, length=16).ms) == ["hybrik"]


@pytest.mark.parametrize("name", get_args(SolverName))
def test_every_solver_that_is_offered_can_be_compared(body, name):
    poses = torch.eye(3).expand(1, 16, 24, 3, 3)
    evidence, person = noisy_windows(poses, body, level_mm=10, told=True, seed=0)
    assert method_for(name, body)(evidence, person).shape == poses.shape


def test_aiming_from_where_a_bone_was_seen_adds_errors_up(motions):
    scores = compare_solvers(motions, ["hybrik", "hybrik-naive"], windows=1, length=16).told
    assert scores["hybrik-naive", 30].mpjpe > scores["hybrik", 30].mpjpe  # HybrIK, Alg. 1 and 2


@pytest.mark.parametrize("analytic", [True, False], ids=["analytic", "vanilla"])
def test_the_ablation_probes_what_the_losses_are_about(body, motions, analytic):
    torch.manual_seed(0)
    poses = even_windows(tuple(read_mocap_folder(motions, body)), 16, 2)
    model = Niki(NikiConfig(blocks=1, twist_blocks=1, hidden=8, analytic=analytic)).eval()
    with torch.inference_mode():
        found = dict(zip(HEADS, probe(model, poses, body), strict=True))
    assert found["round trip, mm"] < 0.1
    assert 0 < found["MMD at 30 mm"] < 9
    if analytic:  # before it has learned anything z is what HybrIK's pose leaves over
        assert found["rms z at 0 mm"] < 0.1 * found["at 30 mm"]
        assert found["correlation of z with error, XOCC"] > 0.5
        assert found["forward error at 0 mm with z = 0, mm"] < 1
    else:
        assert found["rms z at 0 mm"] > 0.5 * found["at 30 mm"]
