"""Hand over only the newest item between threads: whoever is slow misses some, nobody queues."""

import threading
import time
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Newest(Generic[Item]):
    """One place; a new item takes the place of the last. Items are numbered from 1."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._error: BaseException | None = None
        self._closed = False
        self.count = 0  # items so far

    def put(self, item: Item) -> None:
        """Let `item` be the newest."""
        with self._changed:
            self._item = item
            self.count += 1
            self._changed.notify_all()

    def close(self, error: BaseException | None = None) -> None:
        """No more items come; `error` comes out where the next item would have."""
        with self._changed:
            self._closed, self._error = True, error
            self._changed.notify_all()

    def after(self, number: int, timeout_s: float) -> tuple[int, Item | None]:
        """The newest item if its number is above `number`, and that number; waits for it.

        With None in its place no newer one came in time, or will come at all.
        """
        until = time.monotonic() + timeout_s
        with self._changed:
            while self.count <= number and not self._closed:
                if not self._changed.wait(until - time.monotonic()):
                    return number, None
            if self.count > number:
                return self.count, self._item
            if self._error is not None:
                raise self._error
            return number, None

    @property
    def closed(self) -> bool:
        """Whether no more items come."""
        return self._closed
