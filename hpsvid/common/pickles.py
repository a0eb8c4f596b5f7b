"""Read arrays out of a pickle without running any code in it."""

import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from hpsvid.errors import HpsvidError, one_line


class _Parts(ABC):
    """Stands in for an object of a package that is not to be run; keeps its pickled state."""

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    @abstractmethod
    def value(self) -> np.ndarray:
        """The array that the object stands for."""


class _Sparse(_Parts):  # scipy.sparse.csc_matrix
    layout: Any = sparse.csc_matrix

    def value(self) -> np.ndarray:
        parts = (self.state["data"], self.state["indices"], self.state["indptr"])
        shape = self.state["_shape"] if "_shape" in self.state else self.state["shape"]
        matrix = self.layout(parts, shape=shape)
        matrix.check_format(full_check=True)  # indices beyond the shape would read wild memory
        return matrix.toarray()


class _SparseRows(_Sparse):  # scipy.sparse.csr_matrix
    layout = sparse.csr_matrix


class _Chumpy(_Parts):  # chumpy.ch.Ch, an array
    def value(self) -> np.ndarray:
        return plain_array(self.state["x"])


class _ChumpySelect(_Parts):  # chumpy.reordering.Select, elements of another array
    def value(self) -> np.ndarray:
        picked = plain_array(self.state["a"]).ravel()[plain_array(self.state["idxs"])]
        return picked.reshape(self.state.get("preferred_shape", picked.shape))


def plain_array(value: Any) -> np.ndarray:
    """A value out of a pickle as an array; chumpy and scipy parts are put together."""
    return value.value() if isinstance(value, _Parts) else np.asarray(value)


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them in protocol 2 (codecs.encode, which can do more)."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding!r}")
    return text.encode("latin1")


def _new(kind: type, base: type, _: Any) -> object:
    """An empty object as protocols 0 and 1 write it (copyreg._reconstructor)."""
    if base is not object or not issubclass(kind, _Parts):
        raise pickle.UnpicklingError(f"an object of {kind.__name__}")
    return kind()


def _allowed() -> dict[str, Any]:
    """Every name that a pickle may use, old and new spellings, and what stands for it."""
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    from_buffer = np.empty(0).__reduce_ex__(5)[0]
    names: dict[str, Any] = {
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
        "_codecs.encode": _latin1,
        "chumpy.ch.Ch": _Chumpy,
        "chumpy.reordering.Select": _ChumpySelect,
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray._reconstruct"] = reconstruct
        names[f"{core}.multiarray.scalar"] = scalar
        names[f"{core}.numeric._frombuffer"] = from_buffer
    for layout, stand_in in (("csc", _Sparse), ("csr", _SparseRows)):
        for module in (layout, f"_{layout}"):
            names[f"scipy.sparse.{module}.{layout}_matrix"] = stand_in
    for builtins in ("builtins", "__builtin__"):
        names[f"{builtins}.set"] = set  # chumpy keeps its bookkeeping in sets
        names[f"{builtins}.object"] = object
    for copyreg in ("copyreg", "copy_reg"):
        names[f"{copyreg}._reconstructor"] = _new
    return names


class _ArrayUnpickler(pickle.Unpickler):
    """Reads numbers, text, containers and arrays; any other name in the file is refused."""

    allowed = _allowed()

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        name = f"{module_name}.{global_name}"
        if name not in self.allowed:
            raise _RefusedError(name)
        return self.allowed[name]


class _RefusedError(pickle.UnpicklingError):
    """The pickle names something that is not an array."""


def read_plain_pickle(path: Path, what: str, kind: type[HpsvidError]) -> dict[str, Any]:
    """The dictionary in a pickle of plain arrays, numbers and text; nothing in it is ever run.

    what: what the file should be, for the message. Raises `kind` when the file is missing,
    damaged, holds no dictionary or names anything else.
    """
    try:
        with path.open("rb") as stream:
            # latin1: Python 2 wrote the arrays' bytes as text.
            content = _ArrayUnpickler(stream, encoding="latin1").load()
    except OSError as error:
        raise kind(f"{path}: cannot be read ({error.strerror})") from error
    except _RefusedError as error:
        raise kind(
            f"{path}: refused, its pickle asks for {error}, which no {what} needs; "
            "get the file from its official source"
        ) from error
    # Damaged bytes can make the unpickler and numpy raise nearly anything.
    except Exception as error:
        raise kind(
            f"{path}: not a whole pickle ({one_line(error)}); copy or download it again"
        ) from error
    if not isinstance(content, Mapping):
        raise kind(
            f"{path}: holds {type(content).__name__}, expected a dictionary of arrays, as in any "
            + what
        )
    return dict(content)
