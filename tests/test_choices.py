"""The names that the command line offers are those that the code knows."""

from typing import get_args

from hpsvid.choices import FormatName, RendererName, RigName, SolverName
from hpsvid.export import FORMATS
from hpsvid.export.bvh import RIGS
from hpsvid.ik import SOLVERS
from hpsvid.render import RENDERERS


def test_every_name_offered_is_known_and_the_other_way_round():
    assert set(FORMATS) == set(get_args(FormatName))
    assert set(RENDERERS) == set(get_args(RendererName))
    assert set(RIGS) == set(get_args(RigName))


def test_every_solver_offered_is_known():
    # a solver is offered once its weights ship; tests and training may load it before
    assert set(get_args(SolverName)) <= set(SOLVERS)
