"""Read plain values out of a pickle: an interpreter of its own that runs nothing from the file.

A pickle is a program for a stack machine. Python's machine calls what the file names, and numpy
believes the memory layout that the file states; here the file may only build numbers, text,
containers, arrays of a few kinds of number, and stand-ins for chumpy's and scipy's arrays.
"""

import codecs
import math
import pickletools
import re
from collections.abc import Callable, Mapping
from typing import IO, Any, ClassVar

import numpy as np

# SMPL files take hundreds; a 3DPW sequence a few thousand. An operation costs up to 0.3 kB.
MAX_OPERATIONS = 500_000
# Bytes that arrays may have in all, for each byte of the file: names let a pickle use bytes twice.
MAX_REUSE = 4
MAX_DENSE = 1 << 24  # elements of a sparse matrix when written out; SMPL's regressor has 165,360
MAX_LIST_ITEMS = 1_000_000  # of nested lists that are put together into one array
MAX_TEXT = 100_000  # characters of a text that becomes an array
MAX_LAYERS = 4  # of chumpy objects inside each other

_NUMBERS = frozenset(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"))
_TEXT = re.compile(r"[SU]([1-9]\d{0,2})")  # numpy's fixed-width text, up to 999 characters


class RefusedError(ValueError):
    """The pickle names something that is not an array."""


class _Parts:
    """Stands in for an object of a package that is not to be run; keeps its pickled state."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def value(self, layers: int) -> np.ndarray:
        """The array that the object stands for; layers: how many more may lie inside it."""
        raise NotImplementedError


class _Sparse(_Parts):  # scipy.sparse.csc_matrix
    """Written out here: scipy's own check passes some places that lead beyond its memory."""

    by_column: ClassVar[bool] = True

    def value(self, layers: int) -> np.ndarray:
        data, *places = (plain_array(self.state[key], 0) for key in ("data", "indices", "indptr"))
        shape = self.state["_shape"] if "_shape" in self.state else self.state["shape"]
        rows, columns = _shape(shape)
        lines, length = (columns, rows) if self.by_column else (rows, columns)
        if rows * columns > MAX_DENSE or any(place.dtype.kind not in "iu" for place in places):
            raise ValueError(f"a sparse matrix of {rows} x {columns}, or places that are no number")
        indices, ends = (place.astype(np.int64) for place in places)
        if ends.shape != (lines + 1,) or ends[0] != 0 or (ends[1:] < ends[:-1]).any():
            raise ValueError("a sparse matrix whose lines do not follow each other")
        indices, data = indices[: ends[-1]], data[: ends[-1]]
        if not (indices.shape == data.shape == (ends[-1],) and data.dtype.kind in "biuf"):
            raise ValueError("a sparse matrix with fewer numbers than its lines have")
        if not ((indices >= 0) & (indices < length)).all():
            raise ValueError("a sparse matrix with numbers beyond its lines")
        dense = np.zeros((lines, length), data.dtype)
        np.add.at(dense, (np.repeat(np.arange(lines), np.diff(ends)), indices), data)
        return dense.T if self.by_column else dense


class _SparseRows(_Sparse):  # scipy.sparse.csr_matrix
    by_column = False


class _Chumpy(_Parts):  # chumpy.ch.Ch, an array
    def value(self, layers: int) -> np.ndarray:
        return plain_array(self.state["x"], layers)


class _ChumpySelect(_Parts):  # chumpy.reordering.Select, elements of another array
    def value(self, layers: int) -> np.ndarray:
        whole, chosen = (plain_array(self.state[key], layers) for key in ("a", "idxs"))
        picked = whole.ravel()[chosen]
        return picked.reshape(_shape(self.state.get("preferred_shape", picked.shape)))


class _Array:
    """An array whose content has not come yet; knows the memo's entries that mean it."""

    def __init__(self) -> None:
        self.entries: list[int] = []


class _Kind:
    """A numpy dtype from a short list; of the pickled state only the byte order is believed."""

    def __init__(self, name: object, *_: object) -> None:
        if not isinstance(name, str):
            raise ValueError(f"{type(name).__name__} as the kind of an array")
        self.objects = name in ("O8", "O4")
        if not (self.objects or name in _NUMBERS or _TEXT.fullmatch(name)):
            raise ValueError(f"an array of the kind {name[:40]!r}")
        self.dtype = np.dtype("u1" if self.objects else name)

    def order(self, state: object) -> None:
        """Take the byte order out of a dtype's state (version, order, subdtype, names, ...)."""
        if not isinstance(state, tuple) or len(state) < 5 or any(state[2:5]):
            raise ValueError("an array of a composite kind")
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError("an array of an unknown byte order")
        self.dtype = self.dtype.newbyteorder(state[1])


def plain_array(value: Any, layers: int = MAX_LAYERS) -> np.ndarray:
    """A value out of a pickle as an array of numbers or text; chumpy and scipy parts put together.

    Raises ValueError, or KeyError for stand-ins without their parts, when it cannot be one.
    """
    if isinstance(value, _Parts):
        if layers == 0:
            raise ValueError("objects inside each other")
        return value.value(layers - 1)
    if isinstance(value, list | tuple):
        _check_list(value)
    if isinstance(value, str | bytes) and len(value) > MAX_TEXT:
        raise ValueError(f"text of {len(value)} characters")
    array = np.asarray(value)
    if array.dtype.kind not in "biufcSU":
        raise ValueError(f"{type(value).__name__} in place of an array")
    return array


def _check_list(value: list[Any] | tuple[Any, ...]) -> None:
    """Refuse lists of text, and those that would become too much: a list can hold itself twice."""
    waiting: list[Any] = [value]
    items = 0
    while waiting:
        item = waiting.pop()
        items += item.size if isinstance(item, np.ndarray) else 1
        if isinstance(item, list | tuple):
            items += len(item)
            waiting += item if items <= MAX_LIST_ITEMS else ()
        if isinstance(item, str | bytes):
            raise ValueError("a list of text in place of an array")
        if items > MAX_LIST_ITEMS:
            raise ValueError(f"lists of more than {MAX_LIST_ITEMS} items")


def _shape(value: Any) -> tuple[int, ...]:
    """A pickled shape; numpy's own limits are 32 axes and a size that fits the machine."""
    if not isinstance(value, tuple | list) or len(value) > 32:
        raise ValueError("no shape of an array")
    sizes = tuple(int(size) for size in value if isinstance(size, int | np.integer))
    if len(sizes) != len(value) or any(not 0 <= size < 1 << 40 for size in sizes):
        raise ValueError("no shape of an array")
    return sizes


def _hashable(key: Any) -> Any:
    """A key of a dictionary or set; tuples inside tuples would be hashed without end."""
    parts = key if isinstance(key, tuple) else (key,)
    if not all(isinstance(part, str | bytes | int | float | np.integer | None) for part in parts):
        raise ValueError(f"{type(key).__name__} as a key")
    return key


class Machine:
    """Pickle's stack machine; `pickletools` describes the operations.

    size: of the whole file, which bounds what the arrays may claim together. Subclasses add
    `names`, and `referred` for what lies outside the pickle.
    """

    names: ClassVar[Mapping[str, Callable[..., Any]]]
    most_operations: ClassVar[int] = MAX_OPERATIONS

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self.stream = stream
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.bytes_left = MAX_REUSE * size

    def run(self) -> Any:
        """The one value that the pickle builds. Raises nearly anything for damaged bytes."""
        for _ in range(self.most_operations):
            code = self.stream.read(1).decode("latin1")
            if code not in _OPCODES:
                raise ValueError("unknown operation" if code else "it ends too soon")
            name, argument = _OPCODES[code].name, _OPCODES[code].arg
            if name == "STOP":
                return self.stack.pop()
            if name == "STRING":  # Python 2's; pickletools takes it for ASCII
                self.stack.append(self.quoted())
            else:
                self.step(name, None if argument is None else argument.reader(self.stream))
        raise ValueError(f"more than {self.most_operations} operations")

    def step(self, name: str, argument: Any) -> None:
        """Do one operation."""
        stack = self.stack
        if name in _PUSHES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _TAKES:
            count = _TAKES[name]
            self.combine(name, self.pop(len(stack) - self.marks.pop() if count is None else count))
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            entry = len(self.memo) if argument is None else argument
            self.memo[entry] = stack[-1]
            if isinstance(stack[-1], _Array):
                stack[-1].entries.append(entry)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "GLOBAL":
            stack.append(self.named(argument.replace(" ", ".", 1)))
        elif name not in ("PROTO", "FRAME"):
            raise RefusedError(f"the operation {name}")

    def combine(self, name: str, items: list[Any]) -> None:
        """Do an operation that takes `items` off the stack."""
        stack = self.stack
        if name.startswith("TUPLE"):
            stack.append(tuple(items))
        elif name == "LIST":
            stack.append(items)
        elif name.startswith("APPEND"):
            self.top(list).extend(items)
        elif name == "ADDITEMS":
            self.top(set).update(map(_hashable, items))
        elif name in ("DICT", "SETITEM", "SETITEMS"):
            if name == "DICT":
                stack.append({})
            pairs = zip(items[::2], items[1::2], strict=True)
            self.top(dict).update((_hashable(key), value) for key, value in pairs)
        elif name == "DUP":
            stack.extend([*items, *items])
        elif name == "STACK_GLOBAL":
            stack.append(self.named(".".join(items)))
        elif name == "BINPERSID":
            stack.append(self.referred(*items))
        elif name in ("REDUCE", "NEWOBJ"):
            made, arguments = items
            if not callable(made) or type(arguments) is not tuple:
                raise ValueError("a call of a value")
            stack.append(made(self, *arguments))
        elif name == "BUILD":
            stack.append(self.built(*items))

    def named(self, name: str) -> Callable[..., Any]:
        """What stands for a global name of the file."""
        if name not in self.names:
            raise RefusedError(name)
        return self.names[name]

    def referred(self, reference: Any) -> Any:
        """What a reference to something outside the pickle means."""
        raise RefusedError("things outside the file")

    def quoted(self) -> str:
        """Python 2's text, a line in quotes with its bytes escaped."""
        line = self.stream.readline().strip()
        if len(line) < 2 or line[0] != line[-1] or line[:1] not in b"\"'":
            raise ValueError("text without quotes")
        decode: Callable[[bytes], tuple[bytes, int]] = codecs.escape_decode  # type: ignore[attr-defined]
        return decode(line[1:-1])[0].decode("latin1")

    def pop(self, count: int) -> list[Any]:
        """The last `count` items, taken off the stack."""
        if not 0 <= count <= len(self.stack):
            raise ValueError("it takes more than it put down")
        start = len(self.stack) - count
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def top(self, kind: type[Any]) -> Any:
        """The top of the stack, which must be of this type."""
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"{type(self.stack[-1]).__name__} in place of {kind.__name__}")
        return self.stack[-1]

    def built(self, target: Any, state: Any) -> Any:
        """The object with its state."""
        if isinstance(target, _Kind):
            target.order(state)
        elif isinstance(target, _Parts):
            target.state = state if isinstance(state, dict) else {}
        elif type(target) is dict:
            pass  # an OrderedDict's attributes, such as PyTorch's versions of modules
        elif isinstance(target, _Array):
            # (version, shape, dtype, Fortran's order, content); numpy before 1.0 had no version
            shape, kind, fortran, content = state[-4:]
            array = self.array(content, kind, shape, bool(fortran))
            self.memo.update(dict.fromkeys(target.entries, array))
            return array
        else:
            raise ValueError(f"a state for {type(target).__name__}")
        return target

    def array(self, content: Any, kind: Any, shape: Any, fortran: bool = False) -> Any:
        """An array over the bytes of its content; of objects (at most one axis) a list, or one."""
        if not isinstance(kind, _Kind):
            raise ValueError("an array without its kind")
        sizes = _shape(shape)
        if kind.objects:
            if not isinstance(content, list) or sizes not in ((), (len(content),)):
                raise ValueError("an array of objects with several axes")
            return content if sizes else content[0]
        data = content.encode("latin1") if isinstance(content, str) else content
        claimed = math.prod(sizes) * kind.dtype.itemsize
        self.charge(claimed)
        if not isinstance(data, bytes | bytearray) or len(data) != claimed:
            raise ValueError(f"an array of {claimed} bytes that does not have them")
        array = np.frombuffer(data, kind.dtype).reshape(sizes, order="F" if fortran else "C")
        if array.dtype.kind == "b":  # numpy relies on 0 and 1
            return array.view(np.uint8) != 0
        return array

    def encoded(self, text: Any, encoding: Any) -> bytes:
        """Bytes as Python 3 writes them in protocol 2 (codecs.encode, which can do more)."""
        if not isinstance(text, str) or not isinstance(encoding, str) or encoding != "latin1":
            raise ValueError("bytes in another encoding than latin1")
        self.charge(len(text))
        return text.encode("latin1")

    def charge(self, amount: int) -> None:
        """Count bytes or items that are made of some that the file may have used before."""
        self.bytes_left -= amount
        if self.bytes_left < 0:
            raise ValueError("it claims far more than the file has")


def _object(*_: Any) -> Any:
    raise ValueError("an object without content")


def _ndarray(*_: Any) -> Any:
    raise ValueError("an array without content")


def _reconstructed(machine: Machine, kind: Any, base: Any, _: Any) -> _Parts:
    """An empty object as protocols 0 and 1 write it (copyreg._reconstructor)."""
    made = kind(machine) if base is _object and callable(kind) else None
    if not isinstance(made, _Parts):
        raise ValueError("an object of another base")
    return made


def _empty_array(_: Machine, kind: Any, *__: Any) -> _Array:
    if kind is not _ndarray:
        raise ValueError("an array of another class")
    return _Array()


def _set_of(machine: Machine, items: Any = ()) -> set[Any]:
    if not isinstance(items, list | tuple):
        raise ValueError(f"a set of {type(items).__name__}")
    machine.charge(len(items))
    return {_hashable(item) for item in items}


def _names() -> dict[str, Callable[..., Any]]:
    """Every name that a pickle may use, old and new spellings, and what calling it comes to."""
    names: dict[str, Callable[..., Any]] = {
        "numpy.ndarray": _ndarray,
        "numpy.dtype": lambda _, *arguments: _Kind(*arguments),
        "_codecs.encode": Machine.encoded,
        "chumpy.ch.Ch": lambda _: _Chumpy(),
        "chumpy.reordering.Select": lambda _: _ChumpySelect(),
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray._reconstruct"] = _empty_array
        names[f"{core}.multiarray.scalar"] = lambda m, kind, data: m.array(data, kind, (1,))[0]
        names[f"{core}.numeric._frombuffer"] = lambda m, data, kind, shape, order: m.array(
            data, kind, shape, order == "F"
        )
    for private in ("", "_"):
        names[f"scipy.sparse.{private}csc.csc_matrix"] = lambda _: _Sparse()
        names[f"scipy.sparse.{private}csr.csr_matrix"] = lambda _: _SparseRows()
    for builtins in ("builtins", "__builtin__"):
        names[f"{builtins}.set"] = _set_of  # chumpy keeps its bookkeeping in sets
        names[f"{builtins}.object"] = _object
        names[f"{builtins}.bytes"] = lambda _: b""  # called without arguments only
    for copyreg in ("copyreg", "copy_reg"):
        names[f"{copyreg}._reconstructor"] = _reconstructed
    return names


Machine.names = _names()
_OPCODES = {operation.code: operation for operation in pickletools.opcodes}
_PUSHES = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
))  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": set,
}  # fmt: skip
_TAKES: dict[str, int | None] = {  # items off the stack; None: all above the last mark
    "TUPLE": None, "LIST": None, "DICT": None, "APPENDS": None, "SETITEMS": None, "ADDITEMS": None,
    "POP_MARK": None, "POP": 1, "DUP": 1, "APPEND": 1, "SETITEM": 2, "TUPLE1": 1, "TUPLE2": 2,
    "TUPLE3": 3, "STACK_GLOBAL": 2, "REDUCE": 2, "NEWOBJ": 2, "BUILD": 2,
    "BINPERSID": 1,
}  # fmt: skip
