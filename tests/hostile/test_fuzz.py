"""A few hundred cases of `tools.fuzz`, the same in every run; and that it finds what is wrong."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpsvid.errors import InputError
from hpsvid.official.importing import CHECKPOINTS
from tools.fuzz import guard as guard_module
from tools.fuzz.__main__ import faults
from tools.fuzz.guard import Guard
from tools.fuzz.readers import KIND, Reader, readers

CASES = {  # of each reader
    "result": 60, "truth": 10, "mocap": 40, "pickle": 60, "sequence": 40, "smpl": 5,
    "safetensors": 30, "checkpoint": 30, "receipt": 40, "report": 40,
    "import gvhmr": 20, "import wham": 20, "import phalp": 20, "import romp": 20, "import bvh": 20,
    "store tracks": 20, "store observations": 20, "store person": 20, "store crops": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Reader]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HPSVID_SMPL", raising=False)
        # `readers` puts a small network in its place; other tests want their own back
        patch.setitem(CHECKPOINTS, KIND, CHECKPOINTS[KIND])
        yield readers(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", CASES)
def test_nothing_but_one_line_comes_out(every: dict[str, Reader], name: str) -> None:
    reader = every[name]
    with Guard(reader.read, reader.suffix) as guard:
        found = [words for _, words in faults(reader, guard, CASES[name], number=1) if words]
    assert found == []


def misread(path: Path) -> None:
    content = path.read_bytes()
    if content == b"dies":
        os.kill(os.getpid(), signal.SIGSEGV)
    if content == b"hangs":
        time.sleep(60)
    if content == b"eats":
        bytearray(4 << 30)
    if content == b"breaks":
        raise KeyError("x")
    if content == b"says much":
        raise InputError("one\ntwo")
    if content == b"refused":
        raise InputError("one line")


def test_the_guard_sees_every_kind_of_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "TIME_LIMIT_S", 0.5)
    with Guard(misread, ".x") as guard:
        for content, words in {
            b"": None,
            b"refused": None,
            b"dies": "ended with -11",
            b"hangs": "no end within",
            b"eats": "MemoryError",
            b"breaks": "KeyError: 'x'",
            b"says much": "several lines",
        }.items():
            found = guard.fault(content)
            assert found == words or (words is not None and found is not None and words in found)
        assert guard.whole == 1
