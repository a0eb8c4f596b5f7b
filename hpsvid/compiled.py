"""Loops compiled for the CPU."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile for the CPU without the interpreter's lock, kept on disk where a folder allows."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba finds no writable folder for its cache, the user's own included
        return numba.njit(nogil=True)(function)
