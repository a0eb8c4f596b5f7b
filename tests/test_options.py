"""The choices of a user: their names, limits, defaults, and what the command line makes of them."""

import re
import subprocess
import sys
from typing import get_args

import pytest
from typer import Typer
from typer.testing import CliRunner

from hpsvid.backbone.lifting import LIFTERS
from hpsvid.cli import app
from hpsvid.cli.shell import takes
from hpsvid.errors import InputError
from hpsvid.formats import FORMATS
from hpsvid.formats.rig import RIGS
from hpsvid.ik import SOLVERS
from hpsvid.options import (
    DrawOptions,
    ExportOptions,
    FormatName,
    LifterName,
    Options,
    RendererName,
    RigName,
    SolverName,
)
from hpsvid.render import RENDERERS
from tests.factories import SAMPLES


def test_every_name_offered_is_known_and_the_other_way_round():
    assert set(FORMATS) == set(get_args(FormatName))
    assert set(RENDERERS) == set(get_args(RendererName))
    assert set(RIGS) == set(get_args(RigName))
    assert set(LIFTERS) == set(get_args(LifterName))
    assert set(SOLVERS) == set(get_args(SolverName))


def test_options_are_instant_and_know_no_typer():
    code = "import sys, hpsvid.options; print({'typer', 'numpy', 'torch'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


@pytest.mark.parametrize(
    ("record", "wrong", "says"),
    [
        (Options, {"solver": "guess"}, "--ik 'guess': expected one of hybrik"),
        (Options, {"focal_px": 0.5}, "--focal 0.5: expected at least 1"),
        (Options, {"max_people": 0}, "--max-people 0"),
        (DrawOptions, {"alpha": 2}, "--alpha 2: expected 0 to 1"),
        (DrawOptions, {"alpha": float("nan")}, "--alpha nan"),
        (ExportOptions, {"rig": "maya"}, "--rig 'maya'"),
        (ExportOptions, {"fps": 1001}, "--fps 1001: expected 1 to 1000"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_from_python_too(record, wrong, says):
    with pytest.raises(InputError, match=re.escape(says)):
        record(**wrong)


def test_the_larger_hybrik_network_looks_unless_the_small_one_is_asked_for():
    assert not Options(backbone="hybrik").small_network
    assert Options(backbone="hybrik", network="small").small_network
    assert Options(backbone="hybrik", fast=True).small_network  # what --fast meant there
    assert not Options(fast=True).small_network


@pytest.mark.parametrize("command", ["run", "export", "live", "eval", "bench", "sensitivity"])
def test_half_the_looks_is_the_only_meaning_of_fast_in_the_help(command):
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout
    assert "--heavy" not in shown
    meanings = [line for line in shown.splitlines() if "--fast" in line]
    assert all("half as often" in line for line in meanings)
    assert bool(meanings) == (command not in ("live", "sensitivity"))
    assert ("--network" in shown) == (command != "eval")


def test_commands_give_their_options_to_the_record_and_keep_their_own_defaults():
    given = []

    @takes(Options, only=("network", "solver", "max_people"), network="small")
    def command(options: Options, word: str = "x") -> None:
        given.append(options)

    app = Typer()
    app.command()(command)
    for arguments in ((), ("--ik", "HYBRIK", "--max-people", "2", "--network", "large")):
        ran = CliRunner().invoke(app, arguments)
        assert ran.exit_code == 0, ran.output
    assert given == [
        Options(network="small"),
        Options(network="large", solver="hybrik", max_people=2),
    ]
    assert CliRunner().invoke(app, ["--fast"]).exit_code == 2  # not offered
    assert CliRunner().invoke(app, ["--max-people", "0"]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ((), "small"),
        (("--network", "large"), "large"),
        (("--fast",), "small"),
        (("--heavy",), "large"),
        (("--heavy", "--network", "large"), "large"),
    ],
)
def test_live_still_knows_the_spellings_before_network(monkeypatch, arguments, size):
    given = []
    monkeypatch.setattr("hpsvid.live.look.Looker", lambda clip, options: given.append(options))
    monkeypatch.setattr("hpsvid.live.pose.Poser", lambda *_: 1 / 0)  # enough is known
    call = ["live", str(SAMPLES / "studio_walk.mp4"), "--serve", "0", "-q", *arguments]
    CliRunner().invoke(app, call)
    assert [options.network for options in given] == [size]


def test_two_sizes_of_the_network_are_refused():
    ran = CliRunner().invoke(app, ["live", "0", "--heavy", "--network", "small"])
    assert ran.exit_code == 1 and "--heavy: means --network large" in ran.stderr
