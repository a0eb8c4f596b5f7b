"""Files that hold a pickle: plain ones, joblib's, and objects in an npz; nothing in them is run.

`hpsvid.common.pickles` is the interpreter. joblib (numpy_pickle, since 0.10) puts the numbers of an
array into the stream behind the object that describes it, and may pack the whole by zlib.
"""

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.lib.format import MAGIC_PREFIX

from hpsvid.common.files import MAX_UNPACKING, ShortReads, regular_file
from hpsvid.common.pickles import Machine, RefusedError
from hpsvid.errors import HpsvidError, InputError, one_line

# The largest licensed body, SMPL 1.0.0 for men as text, has 248 MB; decoding holds three copies.
MAX_FILE_BYTES = 320 << 20
# WHAM's results hold every vertex: 83 kB for each person and frame, ten minutes of one have 1.4 GB
MAX_RESULT_BYTES = 2 << 30
_FREE_BYTES = 256 << 20  # that a small packed file may unpack to


class _ResultMachine(Machine):
    """A machine for results of other tools, which hold thousands of small arrays."""

    # PHALP writes some 700 operations for each person and frame
    most_operations: ClassVar[int] = 8_000_000
    names: ClassVar[Mapping[str, Callable[..., Any]]] = {
        **Machine.names,
        "builtins.dict": lambda _: {},
        "builtins.list": lambda _: [],
        "collections.defaultdict": lambda _, *__: {},
        "collections.OrderedDict": lambda _, pairs=(): dict(pairs),
        # tensors beside the arrays, of which nothing is needed
        "torch._utils._rebuild_tensor_v2": lambda _, *__: None,
        "torch.storage._load_from_bytes": lambda _, *__: None,
        "joblib.numpy_pickle.NumpyArrayWrapper": lambda _: _Described(),
    }

    def built(self, target: Any, state: Any) -> Any:
        """The object with its state; the numbers of joblib's arrays follow in the stream."""
        if not isinstance(target, _Described):
            return super().built(target, state)
        if state.get("numpy_array_alignment_bytes") is not None:
            self.stream.read(self.stream.read(1)[0])
        kind, shape = state["dtype"], state["shape"]
        if kind.objects:
            raise RefusedError("an array of objects")
        sizes = [int(size) for size in shape]
        if not all(0 <= size < 1 << 40 for size in sizes):
            raise ValueError("an array of an impossible shape")
        size = int(np.prod(sizes, dtype=object)) * kind.dtype.itemsize
        self.charge(size)
        return self.array(self.stream.read(size), kind, shape, state["order"] == "F")


class _Described:
    """Stands for joblib's description of an array."""


@contextmanager
def _refusals(path: Path, what: str, kind: type[HpsvidError]) -> Iterator[None]:
    """Turn whatever reading a pickle raises into one line of `kind`."""
    try:
        yield
    except HpsvidError:
        raise
    except OSError as error:
        raise kind(f"{path}: cannot be read ({error.strerror})") from error
    except RefusedError as error:
        raise kind(
            f"{path}: refused, its pickle asks for {one_line(error)[:80]}, which no {what} needs; "
            "get the file from its official source"
        ) from error
    # Damaged bytes can make the arguments' readers and numpy raise nearly anything.
    except Exception as error:
        raise kind(
            f"{path}: not a whole pickle ({one_line(error)[:120]}); copy or download it again"
        ) from error


def read_plain_pickle(path: Path, what: str, kind: type[HpsvidError]) -> dict[str, Any]:
    """The dictionary in a pickle of plain arrays, numbers and text; nothing in it is ever run.

    what: what the file should be, for the message. Arrays are read-only, and `plain_array` makes
    them of the other values. Raises `kind` when the file is missing, damaged, too large, holds no
    dictionary or names anything else.
    """
    with _refusals(path, what, kind):
        data = _content(path, what, kind, MAX_FILE_BYTES)
        content = Machine(BytesIO(data), len(data)).run()
    return _dictionary(content, path, what, kind)


def read_result_pickle(path: Path, what: str) -> dict[Any, Any]:
    """As `read_plain_pickle`, of another tool's result: joblib's files, too; InputError."""
    with _refusals(path, what, InputError):
        data = _content(path, what, InputError, MAX_RESULT_BYTES)
        if data[:1] == b"\x78":  # zlib
            data = _unpacked(data)
        content = _ResultMachine(BytesIO(data), len(data)).run()
    return _dictionary(content, path, what, InputError)


def read_object_npz(path: Path, key: str, what: str) -> Any:
    """The one Python object that `numpy.savez` pickled as `key` of an npz; InputError."""
    with (
        _refusals(path, what, InputError),
        ShortReads(regular_file(path), "rb") as stream,
        zipfile.ZipFile(stream) as archive,
    ):
        member = archive.getinfo(f"{key}.npy")
        if member.file_size > min(MAX_RESULT_BYTES, _FREE_BYTES + MAX_UNPACKING * stream.size):
            raise ValueError(f"`{key}` unpacks to {member.file_size} bytes")
        with archive.open(member) as content:
            _skip_header(content, key)
            return _ResultMachine(content, member.file_size).run()


def holds_objects(path: Path, key: str) -> bool:
    """Whether an npz holds a pickled object as `key`; False for what is no npz."""
    try:
        with (
            ShortReads(regular_file(path), "rb") as stream,
            zipfile.ZipFile(stream) as archive,
            archive.open(f"{key}.npy") as content,
        ):
            return b"'|O'" in content.read(200)
    except Exception:  # damaged bytes make zipfile raise nearly anything
        return False


def _content(path: Path, what: str, kind: type[HpsvidError], most: int) -> bytes:
    if regular_file(path, kind).stat().st_size > most:
        raise kind(f"{path}: over {most >> 20} MiB, more than any {what} has")
    return path.read_bytes()


def _dictionary(content: Any, path: Path, what: str, kind: type[HpsvidError]) -> dict[Any, Any]:
    if not isinstance(content, Mapping):
        raise kind(
            f"{path}: holds {type(content).__name__}, expected a dictionary of arrays, as in any "
            + what
        )
    return dict(content)


def _unpacked(data: bytes) -> bytes:
    """What zlib packed. Raises ValueError when that is far more than the file should hold."""
    most = min(MAX_RESULT_BYTES, _FREE_BYTES + MAX_UNPACKING * len(data))
    unpacking = zlib.decompressobj()
    content = unpacking.decompress(data, most)
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise ValueError(f"its {len(data)} bytes unpack to far more than they should, or to less")
    return content


def _skip_header(stream: IO[bytes], key: str) -> None:
    """Read the header of a .npy file of one object. Raises ValueError when it holds no object."""
    start = stream.read(8)
    length = int.from_bytes(stream.read(2 if start[6:7] == b"\1" else 4), "little")
    if start[:6] != MAGIC_PREFIX or not re.search(rb"'\|O'", stream.read(min(length, 10_000))):
        raise ValueError(f"`{key}` holds no Python object")
