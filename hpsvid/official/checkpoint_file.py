"""Read the tensors in a file of `torch.save` without PyTorch's own unpickler.

Its restricted mode (`weights_only`) refuses code and yet follows claims that a file does not keep:
tensors with more elements than their storage, storages that unpack to gigabytes, keys inside keys.
"""

import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hpsvid.common.files import ShortReads, read_bytes, regular_file
from hpsvid.common.pickles import MAX_REUSE, Machine
from hpsvid.errors import HpsvidError, WeightsError, one_line

MAX_FILE_BYTES = 1 << 30  # the largest of the authors' checkpoints has 324 MB
MAX_PICKLE_BYTES = 16 << 20  # HybrIK's with HRNet-W48 has 0.3 MB
_OLD_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of files before PyTorch 1.6
_STORAGES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Storage:
    """Numbers that lie outside the pickle."""

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True, slots=True)
class _Part:
    """A tensor that is a view of a storage."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def of(self, content: Tensor) -> Tensor:
        """The tensor; content: its storage's numbers. Raises ValueError when they do not fit."""
        if math.prod(self.size) > self.storage.numel:
            raise ValueError(f"a tensor of {self.size} in a storage of {self.storage.numel}")
        try:
            return torch.as_strided(content, self.size, self.stride, self.offset).contiguous()
        except RuntimeError as error:
            raise ValueError("a tensor beyond its storage") from error


def _part(_: Machine, storage: Any, offset: Any, size: Any, stride: Any, *__: Any) -> _Part:
    values = [offset, *size, *stride]
    if not isinstance(storage, _Storage) or type(size) is not tuple or type(stride) is not tuple:
        raise ValueError("a tensor without storage or shape")
    if len(size) != len(stride) or not all(type(v) is int and 0 <= v < 1 << 40 for v in values):
        raise ValueError("a tensor of an impossible shape")
    return _Part(storage, offset, size, stride)


def _dictionary(machine: Machine, pairs: Any = ()) -> dict[str, Any]:
    made: dict[str, Any] = {}
    machine.charge(len(pairs))
    for key, value in pairs:
        if not isinstance(key, str):
            raise ValueError(f"{type(key).__name__} as a key")
        made[key] = value
    return made


class _TorchMachine(Machine):
    """A machine that also builds references to tensors."""

    names: ClassVar[Mapping[str, Callable[..., Any]]] = {
        **Machine.names,
        "collections.OrderedDict": _dictionary,
        "torch._utils._rebuild_tensor_v2": _part,
        "torch._utils._rebuild_parameter": lambda _, tensor, *__: tensor,
        **{f"torch.{name}": lambda _, dtype=dtype: dtype for name, dtype in _STORAGES.items()},
    }

    def __init__(self, stream: IO[bytes], size: int) -> None:
        super().__init__(stream, size)
        self.storages: dict[str, _Storage] = {}

    def referred(self, reference: Any) -> _Storage:
        """A storage: ("storage", its class, key, device, number of elements[, view])."""
        if type(reference) is not tuple or reference[:1] != ("storage",):
            raise ValueError("a reference to no storage")
        kind, key, numel = reference[1], reference[2], reference[4]
        dtype = kind(self) if callable(kind) else None
        if not (isinstance(dtype, torch.dtype) and isinstance(key, str) and type(numel) is int):
            raise ValueError("a storage of an unknown kind")
        if any(view is not None for view in reference[5:]) or not 0 <= numel < 1 << 40:
            raise ValueError("a storage that is part of another")
        storage = _Storage(key, dtype, numel)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"two storages named {key[:40]!r}")
        return storage


def read_checkpoint(path: Path) -> Any:
    """What `torch.save` wrote: plain values, dictionaries and tensors (on the CPU).

    Nothing in the file is run. Raises InputError when the file cannot be opened, WeightsError when
    it is damaged, too large or asks for anything else.
    """
    regular_file(path)
    try:
        with ShortReads(path, "rb") as stream:
            if stream.size > MAX_FILE_BYTES:
                raise ValueError(f"over {MAX_FILE_BYTES >> 20} MiB")
            if zipfile.is_zipfile(stream):
                return _read_zip(stream)
        with path.open("rb") as old:
            return _read_old(old, path.stat().st_size)
    except HpsvidError:
        raise
    # damaged or hostile bytes make zipfile and the machine raise nearly anything
    except Exception as error:
        raise WeightsError(
            f"{path}: not a readable PyTorch checkpoint ({type(error).__name__}: "
            f"{one_line(error)[:80]}…); download it again"
        ) from error


def _read_zip(stream: ShortReads) -> Any:
    with zipfile.ZipFile(stream) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if sum(member.file_size for member in members.values()) > stream.size:
            raise ValueError("it unpacks to more than it has")  # torch.save packs nothing
        (index,) = (name for name in members if name.endswith("/data.pkl"))
        if members[index].file_size > MAX_PICKLE_BYTES:
            raise ValueError(f"its index has {members[index].file_size} bytes")
        order = members.get(index.replace("data.pkl", "byteorder"))
        if order is not None and archive.read(order) != b"little":
            raise ValueError("written on a big-endian machine")
        machine = _TorchMachine(BytesIO(archive.read(index)), stream.size)
        content = machine.run()

        def numbers(storage: _Storage) -> Tensor:
            member = members[index.replace("data.pkl", f"data/{storage.key}")]
            with archive.open(member) as data:
                return _numbers(storage, read_bytes(data, member.file_size))

        storages = {key: numbers(storage) for key, storage in machine.storages.items()}
    return _with_tensors(content, storages)


def _read_old(stream: IO[bytes], size: int) -> Any:
    """The form before PyTorch 1.6: pickles one after the other, then the storages."""
    if _TorchMachine(stream, size).run() != _OLD_MAGIC:
        raise ValueError("it does not begin like one")
    for _ in ("version", "machine"):
        _TorchMachine(stream, size).run()
    machine = _TorchMachine(stream, size)
    content = machine.run()
    storages = {}
    for key in _TorchMachine(stream, size).run():
        storage = machine.storages[key]
        count = int.from_bytes(stream.read(8), "little")
        data_bytes = count * storage.dtype.itemsize
        if data_bytes > size:
            raise ValueError(f"a storage of {data_bytes} bytes")
        storages[key] = _numbers(storage, read_bytes(stream, data_bytes))
    return _with_tensors(content, storages)


def _numbers(storage: _Storage, content: np.ndarray) -> Tensor:
    if len(content) != storage.numel * storage.dtype.itemsize:
        raise ValueError(f"a storage of {storage.numel} numbers has {len(content)} bytes")
    if storage.dtype == torch.bool:  # torch relies on 0 and 1
        np.minimum(content, 1, out=content)
    if len(content) == 0:
        return torch.empty(0, dtype=storage.dtype)
    return torch.from_numpy(content).view(storage.dtype)


def _with_tensors(content: Any, storages: Mapping[str, Tensor]) -> Any:
    """The same with the tensors of dictionaries, and of dictionaries in those, put in place."""
    left = MAX_REUSE * sum(storage.numel() for storage in storages.values())
    dictionaries: dict[int, dict[Any, Any]] = {}

    def placed(value: Any, levels: int) -> Any:
        nonlocal left
        if isinstance(value, _Part):
            left -= math.prod(value.size)
            if left < 0:
                raise ValueError("its tensors claim far more than the file has")
            return value.of(storages[value.storage.key])
        if type(value) is dict and levels:
            if id(value) not in dictionaries:
                inner = {key: placed(item, levels - 1) for key, item in value.items()}
                dictionaries[id(value)] = inner
            return dictionaries[id(value)]
        return value

    return placed(content, 2)
