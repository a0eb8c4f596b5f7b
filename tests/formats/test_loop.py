"""Motion as a cycle."""

from fractions import Fraction

import numpy as np
import pytest

from hpsvid.body.model import Body
from hpsvid.errors import InputError
from hpsvid.formats.figure import figures
from hpsvid.options import ExportOptions
from tests.factories import make_motion


def test_a_loop_ends_where_it_begins_and_has_no_jump(body: Body) -> None:
    motion = make_motion(body, people=1, frames=40, fps=Fraction(20), seed=5)
    (plain,), (cycle,) = (figures(motion, body, ExportOptions(loop=loop)) for loop in (False, True))
    joints, before = cycle.posed[0], plain.posed[0]
    assert len(joints) == 40 - 8 + 1 and len(cycle.rows) == len(cycle.present) == 33
    np.testing.assert_array_equal(joints[0], joints[-1])
    around = np.concatenate([joints, joints[1:2]])  # over the seam
    steps = np.linalg.norm(np.diff(around, axis=0), axis=-1).max(1)
    usual = np.linalg.norm(np.diff(before, axis=0), axis=-1).max(1)
    assert steps[-2:].max() <= 1.5 * usual.max()
    # apart from the seam and the drift the poses are the clip's
    np.testing.assert_allclose(cycle.rotmats[8:32], plain.rotmats[8:32])
    with pytest.raises(InputError, match="3 frames are too few for a --loop"):
        figures(make_motion(body, people=1, frames=3), body, ExportOptions(loop=True))
