"""Errors that reach the user as one line: what was found, what was expected, how to mend it."""

import signal
from pathlib import Path


def one_line(error: Exception) -> str:
    """An error's message without line breaks, the machine's as "file: what"; or its type."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'output'}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def reason(error: Exception, path: Path) -> str:
    """`one_line` without the name of the file that it is about, where the reader has it already."""
    return one_line(error).removeprefix(f"{path}: ")


class Ended(KeyboardInterrupt):
    """A signal asked this process to end, which it does as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        """number: of the signal, as in the module `signal`."""
        super().__init__(number)
        self.number = number


def ending(error: BaseException) -> tuple[str, int]:
    """What ended the process, in words, and its exit code; error: a KeyboardInterrupt."""
    if not isinstance(error, Ended):
        return "interrupted", 128 + signal.SIGINT
    return f"ended by {signal.Signals(error.number).name}", 128 + error.number


class HpsvidError(Exception):
    """Base of all errors that hpsvid raises on purpose; the CLI prints one line and exits 1."""


class InputError(HpsvidError):
    """The user's file or option cannot be used as given."""


class NoPersonError(InputError):
    """The clip was read to its end and no person was found."""


class WeightsError(HpsvidError):
    """A network's weights or a body model file are missing, damaged or of the wrong kind."""


class DependencyError(HpsvidError):
    """An optional package or system library that the chosen option needs is not usable here."""
