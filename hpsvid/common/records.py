"""Dataclasses of arrays or tensors: join them, take some frames or rows, move them to a device."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from hpsvid.types import Array

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record")


def join(*records: Record) -> Record:
    """One after the other along the first dimension."""
    return _map(lambda *tensors: torch.cat(tensors), *records)


def take(record: Record, rows: int | slice | Tensor | None) -> Record:
    """What indexing with `rows` gives: an int drops the first dimension, None adds one."""
    return _map(lambda tensor: tensor[rows], record)


def to_device(record: Record, device: torch.device) -> Record:
    """The same on `device`."""
    return _map(lambda tensor: tensor.to(device, non_blocking=True), record)


def _map(change: Callable[..., Tensor], *records: Any) -> Any:
    """A record whose tensors are `change` of those that `records` have in the same places."""
    first = records[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return change(*records)
    names = [f.name for f in fields(first)]
    return type(first)(**{n: _map(change, *(getattr(r, n) for r in records)) for n in names})


PerFrame = TypeVar("PerFrame", bound="DataclassInstance")
"""A record whose arrays all have a row for each frame."""


def take_frames(record: PerFrame, which: slice | Array) -> PerFrame:
    """The same record of only some of its frames; which: places in 0..T-1, repeats allowed."""
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    return replace(record, **{n: v[which] for n, v in values.items() if isinstance(v, np.ndarray)})


def concatenate(parts: Sequence[PerFrame]) -> PerFrame:
    """Records of single frames as one of many."""
    last = parts[-1]
    names = [f.name for f in fields(last) if isinstance(getattr(last, f.name), np.ndarray)]
    return replace(last, **{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


def to_arrays(record: "DataclassInstance") -> dict[str, Array]:
    """A record's fields as arrays by name: numbers, truth values and text as arrays of no axes.

    Fields that are None are left out.
    """
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    return {name: np.asarray(value) for name, value in values.items() if value is not None}


def from_arrays(kind: type[Record], arrays: dict[str, Array]) -> Record:
    """The inverse of `to_arrays`.

    Raises TypeError, and what `kind` raises, when the arrays are not those of such a record.
    """
    return kind(**{name: a if a.ndim else a.item() for name, a in arrays.items()})
