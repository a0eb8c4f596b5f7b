"""Items made ahead: the same ones, no more than asked for, errors and endings in their place."""

import threading
from collections.abc import Iterator

import pytest

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
