"""Let the next items be made while the last one is worked on."""

import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import TypeVar

Item = TypeVar("Item")
POLL_S = 0.1  # how long a full queue may keep a stopped thread alive


def prefetch(items: Iterable[Item], depth: int = 1) -> Generator[Item]:
    """The same items, made in a thread of their own, at most `depth` ahead and one in the making.

    An error comes out where its item would have. Closing the iterator ends the thread and closes
    `items`, if it is a generator.
    """
    ready: Queue[tuple[Item | None, BaseException | None]] = Queue(depth)
    stopped = threading.Event()

    def put(item: Item | None, error: BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put((item, error), timeout=POLL_S)
            except Full:
                continue

    def work(source: Iterator[Item]) -> None:
        try:
            for item in source:
                put(item, None)
                if stopped.is_set():
                    break
            else:
                put(None, StopIteration())
        except BaseException as error:  # whoever takes the items gets to see it
            put(None, error)
        finally:
            if isinstance(source, Generator):
                source.close()

    thread = threading.Thread(target=work, args=(iter(items),), name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            assert item is not None
            yield item
    finally:
        stopped.set()
        with suppress(Empty):
            ready.get_nowait()  # lets a thread that waits for room go on at once
        thread.join()
