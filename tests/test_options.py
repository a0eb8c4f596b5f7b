"""The names that the command line offers are those that the code knows."""

from typing import get_args

from hpsvid.backbone import LIFTERS
from hpsvid.formats import FORMATS
from hpsvid.formats.rig import RIGS
from hpsvid.ik import SOLVERS
from hpsvid.options import FormatName, LifterName, RendererName, RigName, SolverName
from hpsvid.render import RENDERERS


def test_every_name_offered_is_known_and_the_other_way_round():
    assert set(FORMATS) == set(get_args(FormatName))
    assert set(RENDERERS) == set(get_args(RendererName))
    assert set(RIGS) == set(get_args(RigName))
    assert set(LIFTERS) == set(get_args(LifterName))
    assert set(SOLVERS) == set(get_args(SolverName))
