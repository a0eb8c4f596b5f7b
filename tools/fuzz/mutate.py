"""Strategies that damage whole files or build them from a format's own parts."""

import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[bytes]
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
           0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)  # fmt: skip
TEXTS = (
    b"-1", b"0", b"1e999", b"NaN", b"Infinity", b"9" * 400, b"[" * 300, b"{" * 300, b"(" * 99,
    b"\xff\xfe", b"\0", b"../../x", b"/dev/zero", b"|O", b"<U9999999", b">f8", b"''",
)  # fmt: skip


def damaged(seeds: Sequence[bytes]) -> Strategy:
    """One of the seeds with up to eight faults."""
    return st.tuples(st.sampled_from(seeds), st.integers(0, 2**48)).map(
        lambda case: _damage(case[0], random.Random(case[1]), seeds)
    )


def _damage(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        place = rng.randrange(len(data) + 1)
        if rng.random() < 0.3:  # the heads of files decide most
            place = min(place, rng.randrange(200))
        length = rng.choice((1, 1, 2, 4, 8, 30, 1000))
        fault = rng.randrange(9)
        if fault == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif fault == 1:
            data[place : place + 1] = rng.randbytes(1)
        elif fault == 2:
            del data[place : len(data) if rng.random() < 0.3 else place + length]
        elif fault == 3:
            data[place:place] = data[place : place + length]
        elif fault == 4:
            number = rng.choice(NUMBERS)
            width = rng.choice((1, 2, 4, 8))
            order = rng.choice(("little", "big"))
            data[place : place + width] = (number % (1 << 8 * width)).to_bytes(width, order)
        elif fault == 5:
            text = rng.choice(TEXTS)
            data[place : place + rng.choice((0, len(text)))] = text
        elif fault == 6:
            other = rng.choice(others)
            begin = rng.randrange(len(other) + 1)
            data[place : place + length] = other[begin : begin + length]
        elif fault == 7:
            data[place:place] = rng.randbytes(length)
        else:
            end = min(len(data), place + length)
            data[place:end] = bytes(end - place)
    return bytes(data)


def damaged_members(seeds: Sequence[bytes]) -> Strategy:
    """Zips whose sums are right and whose members are damaged, dropped, doubled or exchanged."""
    return st.tuples(st.sampled_from(seeds), st.integers(0, 2**48)).map(
        lambda case: _damage_members(case[0], random.Random(case[1]))
    )


def _damage_members(content: bytes, rng: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    contents = [data for _, data in members]
    for _ in range(rng.choice((1, 1, 2, 4))):
        i = rng.randrange(len(members))
        name, data = members[i]
        fault = rng.randrange(6)
        if fault <= 2:
            members[i] = (name, _damage(data, rng, contents))
        elif fault == 3:
            members[i] = (name, rng.choice(contents))
        elif fault == 4 and len(members) > 1:
            del members[i]
        else:
            odd = rng.choice((name, f"/{name}", f"../{name}", "x" * 3000, "a/b/c.npy"))
            members.append((odd, data))
    packed = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with warnings.catch_warnings(), zipfile.ZipFile(packed, "w", method) as archive:
        warnings.simplefilter("ignore", UserWarning)  # names that occur twice
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return packed.getvalue()


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.sampled_from([10**400, -1, 1e308, float("nan"), float("inf"), "1e999999999", "1/0"])
)  # fmt: skip
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


def changed_json(seeds: Sequence[bytes], pack: Callable[[str], bytes] = str.encode) -> Strategy:
    """JSON of the seeds with one of its values exchanged; pack: makes a file of the text."""

    def change(case: tuple[bytes, int, Any]) -> bytes:
        whole: Any = {"": json.loads(case[0])}
        rng = random.Random(case[1])
        outer: Any = whole
        key: Any = ""
        while rng.random() > 0.2:  # down a random path
            inner = outer[key]
            deeper = range(len(inner)) if isinstance(inner, list) else inner
            if not isinstance(inner, list | dict) or not inner:
                break
            outer, key = inner, rng.choice(list(deeper))
        outer[key] = case[2]
        return pack(json.dumps(whole[""]))

    return st.tuples(st.sampled_from(seeds), st.integers(0, 2**48), JSON).map(change)


OPERATIONS = [
    b"(", b".", b"0", b"1", b"2", b"N", b"]", b")", b"}", b"l", b"t", b"d", b"a", b"e", b"s", b"u",
    b"R", b"b", b"\x81", b"\x85", b"\x86", b"\x87", b"\x88", b"\x89", b"\x8f", b"\x90", b"\x94",
    b"\x93", b"Q", b"\x80\x04", b"q\0", b"h\0", b"q\1", b"h\1", b"r\xff\xff\xff\x7f", b"K\1",
    b"K\2",
    b"M\xff\xff", b"J\xff\xff\xff\xff", b"J\0\0\0\x10", b"I01\n", b"I7\n", b"F1e999\n", b"S'f8'\n",
    b"S'<'\n", b"S'x'\n", b"Va\n", b"\x8c\1x", b"\x8c\2f8", b"\x8c\2O8", b"C\x08" + bytes(8),
    b"B\xff\xff\xff\x7f", b"\x8a\1\x07", b"\x8b\xff\xff\xff\x7f", b"G" + struct.pack(">d", 1.5),
    b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy.core.multiarray\nscalar\n", b"cnumpy.core.numeric\n_frombuffer\n",
    b"c_codecs\nencode\n", b"cchumpy.ch\nCh\n", b"cchumpy.reordering\nSelect\n",
    b"cscipy.sparse.csc\ncsc_matrix\n", b"c__builtin__\nset\n", b"c__builtin__\nobject\n",
    b"ccopy_reg\n_reconstructor\n", b"cos\nsystem\n", b"\x95" + bytes(8),
    # whole pieces: an array of two numbers, a dtype with its state, a dictionary's item
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85C\1b\x87R",
    b"(K\1K\2\x85cnumpy\ndtype\n(\x8c\2f8K\0K\1\x87R"
    b"(K\3\x8c\1<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89C\x10" + bytes(16) + b"tb",
    b"\x8c\1x", b"s", b"cchumpy.ch\nCh\n)\x81}\x8c\1xK\1sb",
]  # fmt: skip


def pickles() -> Strategy:
    """Programs of pickle's operations that begin a dictionary and may end."""
    body = st.lists(st.sampled_from(OPERATIONS), max_size=40).map(b"".join)
    return body.map(lambda operations: b"\x80\x02}" + operations + b".")
