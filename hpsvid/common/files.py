"""Files that appear whole or not at all, and npz files that hold nothing but arrays."""

import glob
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.lib.format import MAGIC_PREFIX
from numpy.typing import NDArray

from hpsvid.errors import HpsvidError, InputError, one_line

# What unpacking an npz may come to. Real motions shrink to between a third and four fifths; still
# figures and zeros by up to deflate's 1,032, which is why small files may unpack to any share.
FREE_NPZ_BYTES = 256 << 20  # a person's motion has 1.5 kB a frame: 50 minutes of one at 60 fps
MAX_UNPACKING = 8  # times the file's size, on top of the above
SURE_UNPACKING = 4  # and large files to this share of their size, however much that is
MAX_NPZ_BYTES = 2 << 30  # else; with torch and the checks' own copies less than 3 GB are in use
MAX_JSON_CHARACTERS = 8 << 20  # unpacks to up to 0.2 GB; 4,000 rows of `hpsvid bench`
MAX_JSON_DEPTH = 50  # hpsvid writes up to 5; what is read may be printed, by recursion too
_MAX_READ_BYTES = 16 << 20  # directory of 65,535 members with names of 200 bytes
_MAX_HEADER_BYTES = 10_000  # as numpy
_MAX_EMPTY = 1 << 20  # product of the other axes of an array without elements
_PIECE_BYTES = 1 << 20
_LONGEST_NAME = 255  # bytes of a file's name on ext4, XFS, APFS; of 78 Chinese characters 234
_HEADER = (
    re.compile(r"'descr'\s*:\s*'([<>|=]?(?:b1|[iu][1248]|f[248]|[SU]\d{1,8}))'"),
    re.compile(r"'fortran_order'\s*:\s*(True|False)"),
    re.compile(r"'shape'\s*:\s*\(([\d,\sL]*)\)"),
)
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


def hidden_name(name: str) -> str:
    """`.NAME`, shortened where an ending of up to 24 bytes would make it too long for a file.

    A shortened name ends in a mark of the whole one, so that it is always the same.
    """
    encoded = os.fsencode(name)
    if len(encoded) <= _LONGEST_NAME - 1 - 24:
        return f".{name}"
    start = encoded[: _LONGEST_NAME - 40].decode("utf-8", "ignore")
    return f".{start}~{hashlib.sha256(encoded).hexdigest()[:8]}"


class Stage:
    """A hidden file in the folder of `path` that takes the name `path` when it is complete.

    What an earlier process that was killed left of the same output is removed.
    For a writer that opens and closes at different times; otherwise use `staged`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.beside = path.with_name(f"{hidden_name(path.name)}.{os.getpid()}.part")  # write here
        _clear_abandoned(path)

    def publish(self) -> None:
        """Rename the complete file to `path`. Raises InputError when that is not possible."""
        try:
            self.beside.replace(self.path)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from error

    def discard(self) -> None:
        """Remove the hidden file if it is there; harmless after `publish`."""
        _remove(self.beside)


def try_lock(path: Path) -> FileLock | None:
    """The lock file `path`, taken by this process; None while another process holds it.

    Where the file system cannot lock, it is not held (`is_locked`): care is the user's.
    """
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return None
    except (OSError, NotImplementedError):
        pass
    return lock


def _clear_abandoned(path: Path) -> None:
    """Remove the hidden files of outputs at `path` whose processes are gone."""
    hidden = hidden_name(path.name)
    with suppress(OSError):
        for other in path.parent.glob(f"{glob.escape(hidden)}.*.part"):
            process = other.name.removeprefix(f"{hidden}.").removesuffix(".part")
            if process.isdecimal() and not _is_running(int(process)):
                _remove(other)


def _is_running(process: int) -> bool:
    """Whether there is a process of that number on this machine; True when that is not known."""
    if os.name == "nt":  # where signal 0 ends it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is another user's
        pass
    return True


def _remove(path: Path) -> None:
    """Remove a file or a folder if it is there and may be removed."""
    with suppress(OSError):  # a read-only folder allows no removal
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


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
def staged_apart(path: Path) -> Iterator[Path]:
    """As `staged`, for writers that go by the suffix: the same name in a hidden folder."""
    stage = Stage(path)
    try:
        stage.beside.mkdir()
        inside = stage.beside / path.name
        yield inside
        inside.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
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
        staged_for = re.fullmatch(r"\.(.+)\.\d+\.part", path.name)  # within another stage
        shown = path.with_name(staged_for[1]) if staged_for else path
        raise InputError(f"{shown}: cannot be written ({error.strerror})") from error


def parse_json(text: str) -> Any:
    """What JSON text says. Raises ValueError unless it is JSON of sane length and depth."""
    if len(text) > MAX_JSON_CHARACTERS:
        raise ValueError(f"over {MAX_JSON_CHARACTERS} characters")
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("brackets inside each other without end") from error
    layer = [value]
    for _ in range(MAX_JSON_DEPTH):
        layer = [
            item
            for outer in layer
            if isinstance(outer, list | dict)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not layer:
            return value
    raise ValueError(f"brackets inside each other more than {MAX_JSON_DEPTH} deep")


def read_json(path: Path) -> Any:
    """What a JSON file says. Raises InputError when it is no file, OSError or ValueError."""
    if regular_file(path).stat().st_size > 4 * MAX_JSON_CHARACTERS:
        raise ValueError(f"over {MAX_JSON_CHARACTERS} characters")
    return parse_json(path.read_text(encoding="utf-8"))


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
    path: Path,
    expected: str,
    keys: Collection[str] | None = None,
    kind: type[HpsvidError] = InputError,
) -> dict[str, NDArray[Any]]:
    """The arrays of an npz by key, in the machine's byte order; with `keys` only those it holds.

    expected: what the file should have been, for the message. Keys that are not asked for stay
    unread (some programs pickle theirs). Raises `kind` when the file cannot be opened, is no npz,
    is damaged, holds pickled objects where arrays are wanted or unpacks to far more than it has.
    """
    try:
        with ShortReads(regular_file(path, kind), "rb") as stream:
            if stream.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX:
                raise kind(f"{path}: a single array, expected {expected}")
            with zipfile.ZipFile(stream) as archive:
                return _read_members(archive, keys, stream.size)
    except HpsvidError:
        raise
    except OSError as error:
        raise kind(f"{path}: cannot be opened ({error.strerror})") from error
    # damaged bytes make zipfile and zlib raise nearly anything, MemoryError included
    except Exception as error:
        raise kind(
            f"{path}: not a readable npz ({one_line(error)[:120]}); expected {expected}"
        ) from error


class ShortReads(io.FileIO):
    """A file that refuses to be read in large pieces: a zip's directory has no other limit."""

    def __init__(self, path: Path, mode: str) -> None:
        super().__init__(path, mode)
        self.size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes; None and -1 mean the rest."""
        wanted = self.size - self.tell() if size is None or size < 0 else size
        if wanted > _MAX_READ_BYTES:
            raise ValueError(f"a piece of {wanted} bytes, at most {_MAX_READ_BYTES}")
        return super().read(wanted) or b""


def _read_members(
    archive: zipfile.ZipFile, keys: Collection[str] | None, file_bytes: int
) -> dict[str, NDArray[Any]]:
    """The arrays of an opened zip. Raises ValueError for what no writer of npz files makes."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        key = member.filename.removesuffix(".npy")
        if key in members:
            raise ValueError(f"`{key}` is in it twice")
        if key.startswith("/") or ".." in key.split("/"):
            raise ValueError(f"{key[:40]!r} is no name of an array")
        if member.filename.endswith(".npy") and (keys is None or key in keys):
            members[key] = member
    left = min(MAX_NPZ_BYTES, FREE_NPZ_BYTES + MAX_UNPACKING * file_bytes)
    left = max(left, SURE_UNPACKING * file_bytes)
    arrays = {}
    for key, member in members.items():
        left -= member.file_size
        if left < 0:
            raise ValueError(f"its {file_bytes} bytes unpack to far more than they should")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"`{key}` is packed by method {member.compress_type}")
        with archive.open(member) as stream:
            arrays[key] = _read_array(stream, key, member.file_size)
    return arrays


def read_bytes(stream: IO[bytes], size: int) -> NDArray[Any]:
    """The next `size` bytes, in pieces; raises ValueError when the stream ends before."""
    content = np.empty(size, np.uint8)
    for begin in range(0, size, _PIECE_BYTES):
        piece = content[begin : begin + _PIECE_BYTES]
        piece[:] = np.frombuffer(stream.read(len(piece)), np.uint8)
    return content


def _read_array(stream: IO[bytes], key: str, size: int) -> NDArray[Any]:
    """The array in a .npy file of `size` bytes, whose header is matched, never evaluated."""
    start = stream.read(8)
    length = stream.read(2 if start[6:7] == b"\1" else 4)
    if start[:6] != MAGIC_PREFIX or start[6] not in (1, 2, 3):
        raise ValueError(f"`{key}` is no array")
    header_bytes = int.from_bytes(length, "little")
    if header_bytes > _MAX_HEADER_BYTES:
        raise ValueError(f"`{key}` has a header of {header_bytes} bytes")
    header = stream.read(header_bytes).decode("latin1")
    matches = [pattern.search(header) for pattern in _HEADER]
    if None in matches:
        found = "pickled objects" if "|O" in header else header[:60].strip() or "no header"
        raise ValueError(f"`{key}` holds {found}, expected an array of numbers or text")
    descr, fortran, shape = (match[1] for match in matches if match is not None)
    dtype, sizes = np.dtype(descr), tuple(int(part) for part in re.findall(r"\d+", shape))
    content_bytes = size - len(start) - len(length) - header_bytes
    if math.prod(sizes) * dtype.itemsize != content_bytes:
        raise ValueError(f"`{key}` of shape {sizes} does not fit its {content_bytes} bytes")
    if content_bytes == 0 and math.prod(part or 1 for part in sizes) > _MAX_EMPTY:
        raise ValueError(f"`{key}` is empty and of shape {sizes}")
    if dtype.itemsize == 0:  # empty text
        return np.zeros(sizes, dtype)
    content = read_bytes(stream, content_bytes)
    if stream.read(1):  # what is left unread is left unchecked
        raise ValueError(f"`{key}` goes on after its end")
    if dtype.kind == "b":  # numpy relies on 0 and 1
        np.minimum(content, 1, out=content)
    if dtype.kind == "U" and (content.view(f"{dtype.byteorder}u4") > sys.maxunicode).any():
        raise ValueError(f"`{key}` holds characters that do not exist")
    array = content.view(dtype).reshape(sizes, order="F" if fortran == "True" else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)
