"""Run a reader on bytes in a child process that may die, hang or want too much memory."""

import faulthandler
import os
import signal
import struct
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from select import select
from types import TracebackType

from hpsvid.errors import HpsvidError, one_line

TIME_LIMIT_S = 20.0
MEMORY_LIMIT = 3 << 30  # bytes of data
FIRST_WORDS = 300  # characters of an error that are kept

Read = Callable[[Path], object]


class Guard:
    """A child process, forked anew when it ends, that reads file after file."""

    def __init__(self, read: Read, suffix: str) -> None:
        """read: what is tested; suffix: of the files that it gets."""
        self._read, self._suffix = read, suffix
        self._child = 0
        self.peak_mib = 0  # largest resident size of a child so far
        self.whole = 0  # files that were read without an error

    def __enter__(self) -> "Guard":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def fault(self, content: bytes) -> str | None:
        """What is wrong with the reader on a file of this content; None: nothing."""
        if not self._child:
            self._start()
        start = time.monotonic()
        try:
            os.write(self._to, struct.pack("<Q", len(content)))
            for begin in range(0, len(content), 1 << 16):
                os.write(self._to, content[begin : begin + (1 << 16)])
            if not select([self._from], [], [], TIME_LIMIT_S)[0]:
                self._end()
                return f"no end within {TIME_LIMIT_S:.0f} s"
            answer = os.read(self._from, 9 + 4 * FIRST_WORDS)
        except BrokenPipeError:
            answer = b""
        if not answer:
            status = os.waitpid(self._child, 0)[1]
            self._child = 0
            os.close(self._to)
            os.close(self._from)
            return f"the process ended with {os.waitstatus_to_exitcode(status)}"
        peak, whole = struct.unpack("<QB", answer[:9])
        self.peak_mib, self.whole = max(self.peak_mib, peak), self.whole + whole
        words = answer[9:].decode()
        if not words and time.monotonic() - start > TIME_LIMIT_S:
            return "too slow"
        return words or None

    def _start(self) -> None:
        there, self._to = os.pipe()
        self._from, back = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._to)
            os.close(self._from)
            with suppress(BaseException):
                _work(self._read, self._suffix, there, back)
            os._exit(3)
        os.close(there)
        os.close(back)

    def _end(self) -> None:
        if self._child:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            os.close(self._to)
            os.close(self._from)
            self._child = 0


def _work(read: Read, suffix: str, requests: int, answers: int) -> None:
    """The child: a length and a file's bytes come, the peak size in MiB and what is wrong go."""
    import resource

    faulthandler.disable()  # it would print what a crash looked like
    silence = os.open(os.devnull, os.O_WRONLY)  # libraries print what they think of a file
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, os.fdopen(requests, "rb") as stream:
        path = Path(folder) / f"case{suffix}"
        while head := stream.read(8):
            path.write_bytes(stream.read(*struct.unpack("<Q", head)))
            words, whole = "", False
            try:
                read(path)
                whole = True
            except HpsvidError as error:
                if "\n" in str(error):
                    words = f"an error of several lines: {one_line(error)}"
            except BaseException as error:
                words = f"{type(error).__name__}: {one_line(error)}"  # type: ignore[arg-type]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            text = words[:FIRST_WORDS].encode("utf-8", "replace")
            os.write(answers, struct.pack("<QB", peak, whole) + text)
