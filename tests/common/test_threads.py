"""Items made ahead: the same ones, no more than asked for, errors and endings in their place."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpsvid.common import threads
from hpsvid.common.threads import prefetch


def test_gives_the_same_items_in_order():
    assert list(prefetch(iter(range(100)), 3)) == list(range(100))
    assert list(prefetch(())) == []


def test_runs_no_further_ahead_than_asked():
    made = []

    def source() -> Iterator[int]:
        for i in range(50):
            made.append(i)
            yield i

    items = prefetch(source(), 2)
    for taken in range(1, 20):
        next(items)
        # `depth` wait in the queue and one in the thread's hand
        assert len(made) <= taken + 2 + 1
    items.close()


def test_an_error_comes_after_the_items_before_it():
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("broken at the third")

    taken = []
    with pytest.raises(ValueError, match="broken at the third"):
        for item in prefetch(source()):
            taken.append(item)
    assert taken == [1, 2]


def test_closing_ends_the_thread_and_the_source():
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            i = 0
            while True:
                yield (i := i + 1)
        finally:
            closed.set()

    before = threading.active_count()
    items = prefetch(source())
    assert next(items) == 1
    items.close()
    assert closed.is_set()
    assert threading.active_count() == before


def test_work_is_done_in_another_thread():
    names = list(prefetch(threading.current_thread().name for _ in range(3)))
    assert names == ["prefetch"] * 3


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("0::/host/only\n", {"cpu.max": "50000 100000"}, 1),  # the path is not to be seen here
        ("3:cpuset:/\n1:cpu,cpuacct:/x\n",
         {"cpu/x/cpu.cfs_quota_us": "200000", "cpu/x/cpu.cfs_period_us": "100000"}, 2),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("1:cpu:/\n", {}, 8),
        ("nonsense", {"cpu.max": "nonsense"}, 8),
        (None, {}, 8),
    ],
)  # fmt: skip
def test_cores_are_counted_by_affinity_and_quota(tmp_path, monkeypatch, own, files, cores):
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if own is not None:
        (tmp_path / "own").write_text(own)
    monkeypatch.setattr(threads, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(threads, "OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert threads.usable_cores() == cores
    assert [threads.thread_count(asked) for asked in (None, 1, 10**6)] == [cores, 1, cores]


def test_nothing_else_counts_cores():
    package = Path(threads.__file__).parents[1]
    users = [path.name for path in package.rglob("*.py") if "cpu_count" in path.read_text()]
    assert users == ["threads.py"]
