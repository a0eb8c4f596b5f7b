"""Jobs in processes of this machine, each with its share of the cores."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Thread

from hpsvid.batch.jobs import Job, Row, Work, failed, finished

# What libraries ask for the size of their pools; read when they are loaded, so set before.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM",
)  # fmt: skip


def run_in_processes(
    jobs: Sequence[Job], work: Work, *, at_once: int, threads: int
) -> Generator[Row]:
    """The rows of `jobs` as they are done, `at_once` of them at a time.

    work: done in another process, so a function of a module. threads: of each process. A job
    whose process dies fails; the next one gets a new process.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    waiting = deque(jobs)
    busy: dict[Connection, tuple[SpawnProcess, Job]] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < at_once:
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, work, threads), daemon=True)
                with _safe_path():
                    process.start()
                theirs.close()  # now only the process holds it, so that its death is felt here
                busy[ours] = process, waiting.popleft()
                _send(ours, busy[ours][1])
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                process, job = busy[pipe]
                try:
                    row = pipe.recv()
                except (EOFError, OSError):
                    process.join()
                    row = finished(job) or failed(job, _death(process.exitcode))
                if waiting and process.is_alive():
                    busy[pipe] = process, waiting.popleft()
                    _send(pipe, busy[pipe][1])
                else:
                    del busy[pipe]
                    pipe.close()  # which ends the process
                    process.join()
                yield row
    finally:
        for process, _ in busy.values():
            process.kill()
        for pipe, (process, _) in busy.items():
            process.join()
            pipe.close()


@contextmanager
def _safe_path() -> Iterator[None]:
    """Let Python processes that start now find no modules in the current folder.

    `multiprocessing` starts them with `python -c`, which would import a `types.py` from there.
    """
    earlier = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTHONSAFEPATH"]
        if earlier is not None:
            os.environ["PYTHONSAFEPATH"] = earlier


def _send(pipe: Connection, job: Job) -> None:
    with suppress(OSError):  # the process is dead, which is found when its answer is read
        pipe.send(job)


def _serve(pipe: Connection, work: Work, threads: int) -> None:
    """Life of a process: do what comes, until nothing more does or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends us
    os.environ |= dict.fromkeys(_THREAD_VARIABLES, str(threads))
    Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            pipe.send(work(pipe.recv()))


def _end_with_parent() -> None:
    """End this process at once when its parent is gone, killed with its clips half done.

    The same command, given again, does them; two must not do one clip.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        also = "; not enough memory?" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{also}"
    return f"its process ended with exit code {code}"
