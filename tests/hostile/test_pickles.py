"""Crafted pickles: nothing runs, nothing corrupts memory, nothing grows beyond the file."""

import pickle
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from hpsvid.common.pickle_files import read_plain_pickle
from hpsvid.common.pickles import plain_array
from hpsvid.errors import InputError

WILD_KINDS = {
    "object flags on numbers": (3, "<", None, None, None, 8, 8, 63),
    "all flags": (3, "<", None, None, None, 8, 8, 64),
    "fields beyond the item": (
        3, "|", None, ("a", "b"), {"a": (np.dtype("f8"), 0), "b": (np.dtype("O"), 1 << 40)},
        1 << 30, 1, 27,
    ),
    "a subarray": (3, "|", (np.dtype("f8"), (1 << 30,)), None, None, 8, 1, 0),
    "a wild item size": (3, "<", None, None, None, 1 << 40, 1, 0),
}  # fmt: skip


class _Calls:
    """Pickles as a call and, optionally, a state for what it made."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple:
        return self.parts


def save(folder: Path, content: Any, protocol: int = 2) -> Path:
    path = folder / "made.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


def read(path: Path) -> dict[str, Any]:
    return read_plain_pickle(path, "SMPL file", InputError)


def crafted_array(kind: object, content: object, shape: tuple) -> _Calls:
    reconstruct = np.empty(0).__reduce__()[0]
    return _Calls(reconstruct, (np.ndarray, (0,), b"b"), (1, shape, kind, False, content))


@pytest.mark.parametrize("name", WILD_KINDS)
def test_a_dtypes_state_is_never_replayed(tmp_path: Path, name: str) -> None:
    """numpy itself dies with signal 11 of some of these."""
    kind = _Calls(np.dtype, ("f8", False, True), WILD_KINDS[name])
    path = save(tmp_path, {"x": crafted_array(kind, b"\1" * 16, (2,))})
    try:
        found = read(path)["x"]
    except InputError as error:
        assert "composite kind" in str(error)
    else:
        assert found.dtype == np.float64 and found.shape == (2,)


@pytest.mark.parametrize("code", ["O8", "V8", "M8", "c16", "f16", "i3", "f8,f8", "{}", "U9999999"])
def test_only_plain_kinds_of_numbers_and_text(tmp_path: Path, code: str) -> None:
    kind = _Calls(np.dtype, (code, False, True))
    with pytest.raises(InputError, match="array"):
        read(save(tmp_path, {"x": crafted_array(kind, b"\1" * 16, (2,))}, protocol=2))


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back_as_they_were(tmp_path: Path, protocol: int) -> None:
    fortran = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    content = {
        "a": np.arange(5, dtype=">i2"), "b": fortran, "c": [1, 2.5, None, True, "ä"], "d": {1: ()},
        "e": np.float32(2), "f": np.array([True, False]), "g": 1 << 70, "h": (1, 2, 3, 4),
        "i": {1, 2}, "j": np.array(["ab", "c"], "S2"), "k": b"\xff\0", "l": np.zeros((0, 3)),
        "m": np.array([None, "x"], object),
    }  # fmt: skip
    found = read(save(tmp_path, {**content, "again": content["a"]}, protocol))
    assert found["again"] is found["a"]
    assert found.pop("m") == [None, "x"]
    for key, value in content.items():
        if isinstance(value, np.ndarray) and key != "m":
            np.testing.assert_array_equal(plain_array(found[key]), value)
        elif key != "m":
            assert found[key] == value and type(found[key]) is type(value)


def test_text_arrays_of_python_2(tmp_path: Path) -> None:
    """Protocol 0: the bytes are escaped text, the dtype's name is text too."""
    path = save(
        tmp_path,
        b"(dp0\nS'x'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\n"
        b"S'b'\np5\ntp6\nRp7\n(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'u1'\np10\nI0\nI1\ntp11\nRp12\n"
        b"(I3\nS'|'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\nS'\\xff\\''\np15\ntp16\nbs.",
    )
    np.testing.assert_array_equal(read(path)["x"], np.array([255, 39], np.uint8))


def memo_bomb() -> bytes:
    return b"\x80\x02}r" + struct.pack("<I", 0x7FFFFFFF) + b"."


def claims_more(count: int) -> _Calls:
    return crafted_array(np.dtype("f8"), b"\0" * 64, (count,))


def doubled_lists() -> list[Any]:
    deep: list[Any] = [1.0]
    for _ in range(60):
        deep = [deep, deep]
    return deep


def reused_bytes() -> dict[str, Any]:
    content = b"\0" * 1_000_000
    kind = np.dtype("u1")
    return {str(i): crafted_array(kind, content, (1_000_000,)) for i in range(1000)}


def nested_tuples() -> bytes:
    return b"\x80\x02})" + b"\x85" * 400_000 + b"Ns."


@pytest.mark.parametrize(
    "content",
    [
        memo_bomb(),
        {"x": claims_more(1 << 40)},
        {"x": claims_more(9)},
        reused_bytes(),
        nested_tuples(),
        b"\x80\x02(" + b"]" * 1_000_000 + b".",
        b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f" + b"x" * 9,
        b"\x80\x02\x8b\xff\xff\xff\x7f" + b"x" * 9 + b".",
        b"\x80\x02}Q.",
        b"\x80\x02\x82\x01.",
        b"(I1\nios\nsystem\n.",
        b"I" + b"9" * 100_000 + b"\n.",
        b"}" + b"(" * 1000 + b"u.",
        b"",
        b"}",
        b".",
    ],
    ids=range(16),
)
def test_bombs_end_at_once(tmp_path: Path, content: Any) -> None:
    path = save(tmp_path, content)
    start = time.perf_counter()
    try:
        found = read(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert found == {}
    assert time.perf_counter() - start < 10


def test_lists_that_hold_each_other_become_no_array(tmp_path: Path) -> None:
    found = read(save(tmp_path, {"x": doubled_lists()}))
    with pytest.raises(ValueError, match="items"):
        plain_array(found["x"])


@pytest.mark.parametrize("layout", [sparse.csc_matrix, sparse.csr_matrix])
def test_a_sparse_matrix_is_written_out(tmp_path: Path, layout: Any) -> None:
    dense = np.array([[0, 2.5, 0, 1], [0, 0, 0, 0], [3, 0, 0, 4]])
    content = read(save(tmp_path, {"x": layout(dense), "none": layout((2, 5))}))
    np.testing.assert_array_equal(plain_array(content["x"]), dense)
    np.testing.assert_array_equal(plain_array(content["none"]), np.zeros((2, 5)))


@pytest.mark.parametrize(
    "changes",
    [
        {"indptr": np.array([0, 1 << 40, 0, 0, 0])},  # scipy's check passes it; then signal 11
        {"indptr": np.array([0, 1, 1, 1, 1])},
        {"indptr": np.array([0, 0])},
        {"indptr": np.zeros(5)},
        {"indptr": np.array([0, 0, 0, 0, 1]), "indices": np.array([3]), "data": np.ones(1)},
        {"indptr": np.array([0, 0, 0, 0, 1]), "indices": np.array([-1]), "data": np.ones(1)},
        {"indptr": np.array([0, 0, 0, 0, 1]), "indices": np.array([1]), "data": np.array(["x"])},
        {"_shape": (1 << 20, 1 << 20)},
    ],
    ids=range(8),
)
def test_a_crafted_sparse_matrix_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    matrix: Any = sparse.csc_matrix((3, 4))
    for key, value in changes.items():
        setattr(matrix, key, value)
    content = read(save(tmp_path, {"x": matrix}))
    with pytest.raises(ValueError, match=r"sparse|kind"):
        plain_array(content["x"])
