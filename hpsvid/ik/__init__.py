"""Solvers: observations of the joints to SMPL rotations."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from hpsvid.body.model import Body
from hpsvid.common.weights import weights_path
from hpsvid.errors import InputError
from hpsvid.types import BodyParams, Window


class Solver(Protocol):
    """Turns a window of evidence into body parameters."""

    @property
    def name(self) -> str:
        """Its key in SOLVERS."""
        ...

    @property
    def window_length(self) -> int | None:
        """Frames of a window; None: it solves a whole track at once."""
        ...

    def __call__(self, window: Window, betas: np.ndarray) -> BodyParams:
        """Solve a window for one person's shape `betas` (10,) float32.

        `transl` of the result puts the pelvis at `window.obs.pelvis`.
        """
        ...


def _hybrik(body: Body) -> Solver:
    from hpsvid.ik.hybrik import HybrIK

    return HybrIK(body)


def _hybrik_naive(body: Body) -> Solver:
    from hpsvid.ik.hybrik import HybrIK

    return HybrIK(body, "naive")


def _ikol(body: Body) -> Solver:
    from hpsvid.ik.ikol import Ikol

    return Ikol(body)


def _trained(name: str) -> Callable[[Body], Solver]:
    def load(body: Body) -> Solver:
        from hpsvid.ik.networks import load_trained

        return load_trained(weights_path(name.replace("-", "_")), name, body)

    return load


SOLVERS: dict[str, Callable[[Body], Solver]] = {
    "hybrik": _hybrik,
    "hybrik-naive": _hybrik_naive,
    "ikol": _ikol,
    "niki-temporal": _trained("niki-temporal"),
    "niki": _trained("niki"),
    "niki-one-stage": _trained("niki-one-stage"),
    "gik": _trained("gik"),
}


def load_solver(name: str, body: Body) -> Solver:
    """Build the solver called `name` for `body`.

    Raises InputError when there is none of that name, WeightsError when its weights are missing or
    damaged.
    """
    if name not in SOLVERS:
        raise InputError(f"solver {name!r}: unknown; choose one of {', '.join(SOLVERS)}")
    return SOLVERS[name](body)
