"""The landmark network's inner maps, read at its landmarks' own places.

Two maps of 16 x 16 cells inside the heavy network say more about the body in space than the
network's outputs do. What a lifter keeps of them is a few numbers a landmark, so that a long
clip's looks stay small.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hpsvid.backbone.crop import SIDE
from hpsvid.body.skeleton import BLAZEPOSE, LANDMARK
from hpsvid.types import Array

CHANNELS = {"map_160": 160, "map_192": 192}  # the network's outputs
N_CHANNELS = sum(CHANNELS.values())
CELLS = 16  # of a map's side
NAMES = (
    "nose", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_index", "right_index", "left_hip",
    "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_foot_index",
    "right_foot_index",
)  # fmt: skip
READ = np.array([LANDMARK[name] for name in NAMES])  # where the maps are read
MIRROR = np.array([READ.tolist().index(BLAZEPOSE.mirror[place]) for place in READ])  # of READ

CLAMP = 5.0  # spreads; further samples say no more


class Reader(Protocol):
    """What is kept of the inner maps."""

    @property
    def width(self) -> int:
        """Numbers a landmark, Q."""
        ...

    def __call__(self, samples: Array) -> Array:
        """What is kept (N, 19, Q) of samples (N, 19, 352) at READ."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearReader:
    """A linear layer over the samples, each channel first brought to its usual range."""

    mean: Array  # (352,)
    spread: Array  # (352,)
    weight: Array  # (352, Q)
    bias: Array  # (Q,)

    @property
    def width(self) -> int:
        """Numbers a landmark, Q."""
        return len(self.bias)

    def __call__(self, samples: Array) -> Array:
        """What is kept (N, 19, Q) of samples (N, 19, 352) at READ."""
        usual = ((samples - self.mean) / self.spread).clip(-CLAMP, CLAMP)
        return usual @ self.weight + self.bias


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JoinedReader:
    """What several readers keep, one after the other."""

    readers: tuple[LinearReader, ...]

    @property
    def width(self) -> int:
        """Numbers a landmark, Q."""
        return sum(reader.width for reader in self.readers)

    def __call__(self, samples: Array) -> Array:
        """What is kept (N, 19, Q) of samples (N, 19, 352) at READ."""
        return np.concatenate([reader(samples) for reader in self.readers], -1)


def sampled(maps: Array, points: Array) -> Array:
    """Maps (N, C, 16, 16) bilinearly at crop pixels (N, P, 2), edges repeated: (N, P, C)."""
    place = (points / (SIDE / CELLS) - 0.5).clip(0, CELLS - 1)
    low = np.minimum(place.astype(int), CELLS - 2)
    across, down = np.moveaxis(place - low, -1, 0)[..., None]
    x, y = np.moveaxis(low, -1, 0)
    row = np.arange(len(maps))[:, None]
    upper = (1 - across) * maps[row, :, y, x] + across * maps[row, :, y, x + 1]
    lower = (1 - across) * maps[row, :, y + 1, x] + across * maps[row, :, y + 1, x + 1]
    return (1 - down) * upper + down * lower


def read_maps(maps: Sequence[Array], points: Array) -> Array:
    """Samples (N, 19, 352) float32 at the READ ones of landmarks (N, 33, 2) crop px.

    maps: those of CHANNELS, in its order, (N, C, 16, 16) each.
    """
    found = [sampled(values, points[:, READ]) for values in maps]
    return np.concatenate(found, -1, dtype=np.float32)
