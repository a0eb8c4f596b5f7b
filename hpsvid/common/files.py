"""Files that appear whole or not at all, and npz files that hold nothing but arrays."""

import os
import stat
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hpsvid.errors import HpsvidError, InputError, one_line

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold


_OTHER_KINDS = (  # of what a path can lead to
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def regular_file(path: Path, kind: type[HpsvidError] = InputError) -> Path:
    """`path` itself, checked before it is opened: a regular file, or a link to one.

    A named pipe keeps its reader waiting and a device may never end. Raises `kind` for those, for
    a folder and for a path that leads nowhere.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise kind(f"{path}: cannot be opened ({error.strerror})") from error
    except ValueError as error:  # a NUL in the name
        raise kind(f"{str(path)!r}: no name of a file ({error})") from error
    if not stat.S_ISREG(mode):
        what = next((name for is_kind, name in _OTHER_KINDS if is_kind(mode)), "of an unknown kind")
        raise kind(f"{path}: is {what}, expected a regular file")
    return path


def check_folder(folder: Path) -> None:
    """Make sure, before any work, that files can be written into `folder`, or that it can be made.

    Changes nothing on disk. Raises InputError.
    """
    there = next(part for part in (folder.absolute(), *folder.absolute().parents) if part.exists())
    if not there.is_dir():
        raise InputError(f"{folder}: {there} is a file; expected a folder")
    try:
        tempfile.TemporaryFile(dir=there).close()  # without a name; asks quotas and mounts too
    except OSError as error:
        raise InputError(
            f"{folder}: the folder {there} cannot be written ({error.strerror}); "
            "choose another place"
        ) from error


def check_file(path: Path) -> None:
    """Make sure, before any work, that `path` can be written, its folder made if need be.

    Changes nothing on disk. Raises InputError.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file")
    check_folder(path.parent)


def make_parent(path: Path) -> None:
    """Make the folder of `path`. Raises InputError when it cannot be made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: its folder cannot be made ({error.strerror})") from error


class Stage:
    """A hidden file in the folder of `path` that takes the name `path` when it is complete.

    For a writer that opens and closes at different times; otherwise use `staged`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.beside = path.with_name(f".{path.name}.{os.getpid()}.part")  # write here

    def publish(self) -> None:
        """Rename the complete file to `path`. Raises InputError when that is not possible."""
        try:
            self.beside.replace(self.path)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from error

    def discard(self) -> None:
        """Remove the hidden file if it is there; harmless after `publish`."""
        with suppress(OSError):  # a read-only folder allows no removal either
            self.beside.unlink(missing_ok=True)


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A hidden name beside `path`; the file written there becomes `path` when the block ends well.

    When the block fails the file is removed. Raises InputError when `path` cannot be written.
    """
    stage = Stage(path)
    try:
        yield stage.beside
        stage.publish()
    finally:
        stage.discard()


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose bytes become `path` when the block ends well, and are removed when it fails.

    Raises InputError when the folder cannot be written.
    """
    try:
        with staged(path) as beside, beside.open("wb") as stream:
            yield stream
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def write_npz(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """A compressed npz whose bytes depend on the arrays alone: sorted keys, no clock.

    Raises InputError when the folder cannot be written.
    """
    with written_whole(path) as stream, zipfile.ZipFile(stream, "w") as archive:
        for key in sorted(arrays):
            content = BytesIO()
            np.lib.format.write_array(content, np.asanyarray(arrays[key]), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{key}.npy", _ZIP_EPOCH)
            entry.create_system = 3  # Unix, wherever we run
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED)


def read_npz(
    path: Path, expected: str, keys: Collection[str] | None = None
) -> dict[str, NDArray[Any]]:
    """The arrays of an npz by key; with `keys` only those of them that it holds.

    expected: what the file should have been, for the message. Keys that are not asked for stay
    unread (some programs pickle theirs). Raises InputError when the file cannot be opened, is no
    npz, is damaged or holds pickled objects where arrays are wanted.
    """
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: a single array, expected {expected}")
            return {key: archive[key] for key in archive.files if keys is None or key in keys}
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from error
    except InputError:
        raise
    # damaged or hostile bytes make zipfile and numpy raise nearly anything, MemoryError included
    except Exception as error:
        raise InputError(
            f"{path}: not a readable npz ({one_line(error)}); expected {expected}"
        ) from error
