"""Threads: how many are worth having, items made ahead, the newest item only, torch's own."""

import math
import os
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

Item = TypeVar("Item")
CGROUPS = Path("/sys/fs/cgroup")  # where Linux shows the limits of containers
OWN_CGROUP = Path("/proc/self/cgroup")
POLL_S = 0.1  # how long a full queue may keep a stopped thread alive


def usable_cores() -> int:
    """Cores that this process may keep busy: those of its affinity, at most its CPU quota.

    A container often sees all cores of its host and may use only a few of them.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota_cores())))


def thread_count(asked: int | None) -> int:
    """Threads to start: as many as asked for, at most the usable cores; None takes all of these."""
    return min(asked or usable_cores(), usable_cores())


def _quota_cores() -> float:
    """Cores' worth of time that control groups allow; infinite where they set no limit."""
    try:
        lines = OWN_CGROUP.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return math.inf
    quotas = [math.inf]
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUPS / "cpu" if controllers else CGROUPS  # version 1, 2
        own = root / path.lstrip("/")
        # inside a container the path may be the host's, and the limit is at the root
        for group in {own, *own.parents, root}:
            if group.is_relative_to(root):
                quotas.append(_quota_of(group))
    return min(quotas)


def _quota_of(group: Path) -> float:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota, period = (
                (group / f"cpu.cfs_{name}_us").read_text(encoding="ascii")
                for name in ("quota", "period")
            )
        cores = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max", or no such limit
        return math.inf
    return cores if cores > 0 else math.inf  # version 1 says -1


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run torch on `count` threads."""
    import torch  # here: callers that only count cores must not wait for it

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch and OpenCV on the calling thread alone; the networks have threads of their own.

    Our own tensors and the pictures that OpenCV scales are small, and a second thread only makes
    them wait, OpenCV's by spinning: on two free cores the difference is nil, on a busy machine one
    thread of torch is ten times as fast, and one of OpenCV saves a tenth of an export's processor
    time. What they compute is the same with any number.
    """
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with torch_threads(1):
            yield
    finally:
        cv2.setNumThreads(before)


def prefetch(items: Iterable[Item], depth: int = 1) -> Generator[Item]:
    """The same items, made in another thread: at most `depth` ready, and the next in the making.

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
        except BaseException as error:  # raised again where the items are taken
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


def ahead(items: Iterator[Item], pool: Executor) -> Iterator[Item]:
    """The same items; each is made by a thread while the one before it is worked on.

    At most one is in the making or waits, so that none grows old in a queue.
    """
    coming = pool.submit(next, items, None)
    while (item := coming.result()) is not None:
        coming = pool.submit(next, items, None)
        yield item
