"""The resume store: what a run has found out so far, beside its output, until the output is there.

A folder `.NAME.hpsvid` beside the output NAME. It holds what the networks answered, in files of
some seconds' work each, and what the finished stages made: tracks, observations, people. A run
that was killed goes on from it: a finished stage is read, a stage that was under way decodes the
clip again and takes the stored answers in place of the networks'. The result is the same to the
byte, because everything that is not stored is computed again from the same numbers.

A store is used only if its key is that of the run (`run_key`: clip, options, weights, body, code)
and no other process uses it; a folder that hpsvid did not write is neither used nor touched.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock

import hpsvid
from hpsvid.backbone import Backbone
from hpsvid.body.model import Body
from hpsvid.common.files import hidden_name, read_json, read_npz, staged, try_lock, write_npz
from hpsvid.common.records import from_arrays, to_arrays
from hpsvid.common.weights import imported_dir, weights_dir
from hpsvid.errors import InputError, NoPersonError, reason
from hpsvid.formats.npz import read_motion, write_motion
from hpsvid.options import Options
from hpsvid.pipeline.answers import Answer, Answers, KeptDetector, mark
from hpsvid.tracking import Detector
from hpsvid.types import (
    Array,
    Camera,
    Clip,
    Motion,
    Observations,
    Person,
    Provenance,
    Track,
)
from hpsvid.video.egomotion import Steps
from hpsvid.video.pictures import picture_files
from hpsvid.video.probe import identity

EVERY_S = 5.0  # of work that a kill may cost; a run shorter than that leaves no store at all
KIND = "hpsvid resume store"
KEY_FILE, LOCK_FILE = "key.json", "lock"
# whose last bits the result depends on
_LIBRARIES = ("numpy", "scipy", "torch", "onnxruntime", "opencv-python-headless", "av", "pillow")

Arrays = dict[str, Array]


def store_folder(output: Path) -> Path:
    """Where the store of the run that makes `output` lies."""
    return output.with_name(f"{hidden_name(output.name)}.hpsvid")


def run_key(clip: Clip, body: Body, options: Options, sources: Sequence[Any]) -> dict[str, Any]:
    """What a result depends on, as JSON has it; the number of threads changes nothing.

    sources: what the detector and the solver say of their weights. Shipped weights are in the
    manifest; imported ones are told apart by size and time of change.
    """
    clip_facts = {
        k: str(v) for k, v in asdict(clip).items() if k not in ("path", "identity", "notes")
    }
    files = (f"{path.name} {identity(path)}".encode() for path in picture_files(clip.path))
    used = {k: v for k, v in asdict(options).items() if k not in ("threads", "smpl")}
    imported = imported_dir()
    brought = sorted(imported.iterdir()) if imported.is_dir() else []
    return {
        "clip": clip_facts,
        "files": _digest(files),
        "options": used,
        "sources": list(sources),
        "weights": _digest([(weights_dir() / "manifest.toml").read_bytes()]),
        "imported": [[path.name, *identity(path)] for path in brought],
        "body": body.sha256,
        "code": code_digest(),
    }


@cache
def code_digest() -> str:
    """What tells this version of hpsvid, and of the libraries that compute, from another."""
    versions = [f"hpsvid {hpsvid.__version__}"]
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            versions.append(f"{name} {version(name)}")
    package = Path(hpsvid.__file__).parent
    files = sorted(package.rglob("*.py"))
    return _digest([text.encode() for text in versions] + [file.read_bytes() for file in files])


def _digest(parts: Iterator[bytes] | Sequence[bytes]) -> str:
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(len(part).to_bytes(8, "little") + part)
    return sha256.hexdigest()


class Store:
    """What a run keeps for the run that goes on when it is killed.

    Without a folder nothing is kept, and every method just computes. All methods raise InputError
    when the folder cannot be written (a full disk, a folder that is gone); what is in it stays.
    """

    def __init__(self, folder: Path | None = None, *, every_s: float | None = None) -> None:
        """folder: of `store_folder`. every_s: s of work between two writes; None: EVERY_S."""
        self.folder = folder
        self.notes: list[str] = []  # what the user should know
        self._every_s = EVERY_S if every_s is None else every_s
        self._last_s = time.monotonic()
        self._key: dict[str, Any] = {}
        self._lock: FileLock | None = None  # held while the folder is ours

    def open(self, key: dict[str, Any]) -> None:
        """Take over what a run of the same `key` (of `run_key`) has left.

        What a run of another key has left is removed. A folder that is not hpsvid's, or that
        another process uses, is left alone, and nothing is kept.
        """
        self._key = json.loads(json.dumps(key, default=str))
        if self.folder is None or not os.path.lexists(self.folder):
            return
        if not self._is_ours():
            self._give_up("is not a resume store of hpsvid")
        elif not self._locked():
            self._give_up("is in use by another hpsvid")
        elif self._stored_key() != self._key:
            self.remove()
        else:
            self.notes.append(f"went on with the run that left {self.folder}")

    def remove(self) -> None:
        """Remove the store, because its output is there or it belongs to another run."""
        if self.folder is None or self._lock is None:
            return
        for name in self._names():
            (self.folder / name).unlink(missing_ok=True)
        self.close()
        with suppress(OSError):  # it holds what is not ours
            (self.folder / LOCK_FILE).unlink(missing_ok=True)
            self.folder.rmdir()

    def close(self) -> None:
        """Let other processes use the store; harmless when it is not held."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def discard(self) -> None:
        """Remove an earlier run's store, whatever its key; for a run that keeps none."""
        if self.folder is not None and self._is_ours() and self._locked():
            self.remove()
        self.folder = None

    # ---- what is kept

    def detector(self, detector: Detector) -> Detector:
        """The same detector; it is not asked again what it has answered before."""
        return detector if self.folder is None else KeptDetector(detector, Answers(self, "looks"))

    def backbone(self, backbone: Backbone, number: int) -> Backbone:
        """The same backbone, whose network is not asked again what it has answered before.

        number: tells the backbones of one run apart.
        """
        if self.folder is not None:
            answers, network = Answers(self, f"crops_{number}"), backbone.network

            def kept(crops: Array) -> Answer:
                return answers([mark(crops)], lambda: [network(crops)])[0]

            backbone.network = kept
        return backbone

    def tracks(
        self, make: Callable[[], tuple[list[Track], Array, Steps]]
    ) -> tuple[list[Track], Array, Steps]:
        """Tracks, times (F,) s of all frames and what the background says, as made or stored."""

        def pack(made: tuple[list[Track], Array, Steps]) -> Arrays:
            steps = {f"steps_{name}": array for name, array in to_arrays(made[2]).items()}
            return {"pts_s": made[1], **steps, **_pack(made[0])}

        def unpack(arrays: Arrays) -> tuple[list[Track], Array, Steps]:
            steps = {
                name.removeprefix("steps_"): array
                for name, array in arrays.items()
                if name.startswith("steps_")
            }
            return _unpack(Track, arrays), arrays["pts_s"], from_arrays(Steps, steps)

        return self._kept("tracks", make, pack, unpack)

    def observations(
        self, number: int, make: Callable[[], list[Observations]]
    ) -> list[Observations]:
        """What backbone `number` saw of each track, as made or as stored."""
        return self._kept(f"observations_{number}", make, _pack, partial(_unpack, Observations))

    def person(
        self, clip: Clip, pts_s: Array, camera: Camera, number: int, make: Callable[[], Person]
    ) -> Person:
        """The solved person of running number `number`, as made or as stored."""
        name = f"person_{number:06d}"
        if (path := self._path(name)) is not None and path.exists():
            with suppress(InputError, IndexError):  # damaged: made again
                return read_motion(path).people[0]
        person = make()
        if (path := self._begun(name)) is not None:
            alone = Motion(
                clip=clip, pts_s=pts_s, camera=camera, people=(person,), provenance=Provenance()
            )
            self._write(path, lambda: write_motion(alone, path))
        return person

    def _kept(
        self,
        name: str,
        make: Callable[[], Any],
        pack: Callable[[Any], Arrays],
        unpack: Callable[[Arrays], Any],
    ) -> Any:
        if (arrays := self.load(name)) is not None:
            with suppress(KeyError, ValueError, TypeError):  # not what `pack` makes
                return unpack(arrays)
        made = make()
        if (path := self._begun(name)) is not None:
            self._write(path, lambda: write_npz(path, pack(made)))
        return made

    def load(self, name: str) -> Arrays | None:
        """The arrays stored as `name`; None when there are none, or damaged ones."""
        path = self._path(name)
        if path is None or not path.exists():
            return None
        with suppress(InputError):
            return read_npz(path, KIND)
        return None

    def save_after_a_while(self, name: str, pack: Callable[[], Arrays]) -> bool:
        """Store the arrays as `name` if the last write is long enough ago; whether it did."""
        if time.monotonic() < self._last_s + self._every_s:
            return False
        if (path := self._begun(name)) is None:
            return False
        self._write(path, lambda: write_npz(path, pack()))
        return True

    # ---- the folder

    def _path(self, name: str) -> Path | None:
        """The file of that name in a store that is ours; None without one."""
        return self.folder / f"{name}.npz" if self.folder and self._lock else None

    def _begun(self, name: str) -> Path | None:
        """`_path`; makes the store if the run has taken long enough to be worth one."""
        if self.folder is not None and self._lock is None:
            if time.monotonic() < self._last_s + self._every_s:
                return None
            self._write(self.folder, self._make)
        return self._path(name)

    def _make(self) -> None:
        """Make the folder with its key, whole, and lock it."""
        assert self.folder is not None
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(self.folder):  # since `open`, so another process's
            return self._give_up("is there already")
        with staged(self.folder) as unseen:
            unseen.mkdir()
            text = json.dumps({"kind": KIND, "key": self._key}, indent=1)
            (unseen / KEY_FILE).write_text(text, encoding="utf-8")
        if not self._locked():
            self._give_up("is in use by another hpsvid")

    def _write(self, path: Path, write: Callable[[], None]) -> None:
        try:
            write()
        except (InputError, OSError) as error:
            raise InputError(
                f"{path}: cannot be kept for a later run ({reason(error, path)}); free some disk "
                "space or bring the folder back and give the same command, which goes on from "
                "there, or --no-resume, which keeps nothing"
            ) from error
        self._last_s = time.monotonic()

    def _give_up(self, why: str) -> None:
        self.notes.append(f"{self.folder}: {why}, so nothing is kept for a later run")
        self.close()
        self.folder = None

    def _is_ours(self) -> bool:
        """Whether hpsvid made the folder, for this user."""
        folder = self.folder
        if folder is None or folder.is_symlink() or not folder.is_dir():
            return False
        own = getattr(os, "getuid", lambda: folder.stat().st_uid)()
        return folder.stat().st_uid == own and self._stored_key() is not None

    def _stored_key(self) -> dict[str, Any] | None:
        assert self.folder is not None
        with suppress(InputError, OSError, ValueError, KeyError, TypeError):
            said = read_json(self.folder / KEY_FILE)
            if said["kind"] == KIND and isinstance(said["key"], dict):
                return said["key"]
        return None

    def _locked(self) -> bool:
        assert self.folder is not None
        lock = try_lock(self.folder / LOCK_FILE)
        if lock is None:
            return False
        self._lock = lock
        return True

    def _names(self) -> list[str]:
        """The files that a store may hold, of those there; the key is the last, the lock not in."""
        assert self.folder is not None
        own = ("looks", "crops_", "tracks", "observations_", "person_")
        names = [
            name
            for name in os.listdir(self.folder)
            if (name.endswith(".npz") and name.startswith(own))
            or (name.endswith(".part") and name.startswith(tuple(f".{start}" for start in own)))
        ]
        return [*names, KEY_FILE]


@contextmanager
def opened_store(output: Path, *, resume: bool) -> Iterator[Store]:
    """The store of the run that makes `output`; removed when the block ends well.

    It stays when the block fails, but not for a clip without people. resume: False keeps nothing
    and removes what an earlier run kept.
    """
    store = Store(store_folder(output))
    if not resume:
        store.discard()
    try:
        yield store
        store.remove()
    except NoPersonError:
        store.remove()
        raise
    finally:
        store.close()


def _pack(records: Sequence[Track] | Sequence[Observations]) -> Arrays:
    """Records as arrays named PLACE/field."""
    fields = [to_arrays(record) for record in records]
    return {f"{i}/{name}": a for i, arrays in enumerate(fields) for name, a in arrays.items()}


def _unpack(kind: type, arrays: Arrays) -> list[Any]:
    """The inverse of `_pack`. Raises KeyError, TypeError, ValueError for other arrays."""
    records: dict[int, Arrays] = {}
    for key, array in arrays.items():
        place, slash, name = key.partition("/")
        if slash:
            records.setdefault(int(place), {})[name] = array
    return [from_arrays(kind, records[i]) for i in range(len(records))]
