"""Dataclasses of tensors as batches: join them, take some of their rows, move them to a device.

A field may be such a dataclass itself, or None.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

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
