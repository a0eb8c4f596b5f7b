"""Values out of another tool's file, checked."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpsvid.common.geometry import axis_angle_to_matrix, nearest_rotation
from hpsvid.common.pickles import plain_array
from hpsvid.types import N_ROTATIONS, Array

MOST = 1e6  # of any number in a result: metres, radians, betas


def numbers(value: Any, shape: tuple[int, ...]) -> Array:
    """`value` as finite float64 of this shape, -1 for any length. Raises ValueError."""
    array = value.numpy() if isinstance(value, Tensor) else plain_array(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{array.dtype} in place of numbers")
    made = np.array(array, np.float64).reshape(shape)
    if not (np.isfinite(made) & (np.abs(made) < MOST)).all():
        raise ValueError("numbers that are not finite, or too large")
    return made


def from_axis_angle(values: Any) -> Array:
    """Rotations (N, 24, 3, 3) of axis-angles (N, 3 J); joints that are left out stay unturned."""
    flat = numbers(values, (len(values), -1))
    count = min(N_ROTATIONS, flat.shape[1] // 3)
    rotmats = np.tile(np.eye(3), (len(flat), N_ROTATIONS, 1, 1))
    angles = torch.from_numpy(flat[:, : 3 * count].reshape(len(flat), count, 3))
    rotmats[:, :count] = axis_angle_to_matrix(angles).numpy()
    return rotmats


def from_matrices(values: Any) -> Array:
    """Rotations (N, J, 3, 3) of matrices that may be off by rounding. Raises ValueError."""
    given = torch.from_numpy(numbers(values, (len(values), -1, 3, 3)))
    rotmats = nearest_rotation(given)
    if float((rotmats - given).abs().max()) > 1e-2:
        raise ValueError("matrices that are no rotations")
    return rotmats.numpy()
