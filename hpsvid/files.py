"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hpsvid.errors import InputError


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose bytes become `path` when the block ends well, and vanish when it fails.

    Raises InputError when the folder cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as stream:
            yield stream
        beside.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        beside.unlink(missing_ok=True)
