"""Find shipped weights by name, check them before use, and load the ONNX ones.

`weights/manifest.toml` lists every file with its sha256, licence and source; a file that does
not match is refused, never silently used. Weights that the user imported lie in a folder of
theirs.
"""

import hashlib
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpsvid.common.threads import thread_count
from hpsvid.errors import InputError, WeightsError, reason

if TYPE_CHECKING:
    import onnxruntime
    from torch import nn

_CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsEntry:
    """One row of the manifest."""

    name: str
    file: str
    sha256: str
    bytes: int
    licence: str
    source: str


def weights_dir() -> Path:
    """The folder of shipped weights: the wheel's own copy, or `weights/` of the source tree."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "data" / "weights"
    return packaged if packaged.is_dir() else package.parent / "weights"


def read_manifest() -> dict[str, WeightsEntry]:
    """All entries of the manifest by name.

    Raises WeightsError when the manifest is missing or not valid TOML.
    """
    path = weights_dir() / "manifest.toml"
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["weights"]
        return {row["name"]: WeightsEntry(**row) for row in rows}
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise WeightsError(
            f"{path}: the weights manifest cannot be read ({error}); reinstall hpsvid"
        ) from error


def weights_path(name: str) -> Path:
    """Path of the shipped file `name`, verified against the manifest's sha256.

    Raises WeightsError when the name is unknown, the file is missing or its bytes differ.
    """
    manifest = read_manifest()
    if name not in manifest:
        raise WeightsError(f"weights {name!r}: unknown; known are {', '.join(sorted(manifest))}")
    entry = manifest[name]
    path = weights_dir() / entry.file
    if not path.is_file():
        raise WeightsError(f"{path}: missing; reinstall hpsvid, or run `git checkout -- weights`")
    sha256 = file_sha256(path)
    if sha256 != entry.sha256:
        raise WeightsError(
            f"{path}: sha256 is {sha256[:12]}…, the manifest expects {entry.sha256[:12]}…; "
            "the file is damaged: reinstall hpsvid"
        )
    return path


def shipped_hashes(*names: str) -> dict[str, str]:
    """The sha256 of those of `names` that are shipped files, for a result's header."""
    manifest = read_manifest()
    return {name: manifest[name].sha256 for name in names if name in manifest}


def load_onnx(
    name: str, threads: int | None = None, device: str = "auto"
) -> "onnxruntime.InferenceSession":
    """The shipped ONNX network `name`.

    threads: CPU threads; at most the usable cores; None takes these. device: "cpu", "cuda" or
    "cuda:1", or "auto": on CUDA where onnxruntime offers it, else on the CPU. Raises WeightsError
    when the file is unknown, missing or damaged, InputError when the device is not there.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count(threads)
    options.log_severity_level = 3  # errors only
    options.use_deterministic_compute = True
    # threads that wait for work sleep: spinning costs a core and, on a busy machine, the others
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = providers_of(device, onnxruntime.get_available_providers())
    session = onnxruntime.InferenceSession(weights_path(name), options, providers=providers)
    if device.startswith("cuda") and session.get_providers()[0] != _CUDA:
        raise InputError(f"--device {device}: onnxruntime cannot use it; see `hpsvid doctor`")
    return session


def providers_of(device: str, present: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Onnxruntime's providers, of those that are `present`, for a device; see `load_onnx`."""
    cpu = ("CPUExecutionProvider", {})
    kind, _, number = device.partition(":")
    if kind == "cpu" or (kind == "auto" and _CUDA not in present):
        return [cpu]
    if _CUDA not in present:
        raise InputError(
            f"--device {device}: this onnxruntime has no CUDA; install onnxruntime-gpu in place of "
            "onnxruntime, or leave --device out"
        )
    return [(_CUDA, {"device_id": number or "0"}), cpu]


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def imported_dir() -> Path:
    """The folder of imported weights: $HPSVID_WEIGHTS, or the user's cache."""
    folder = os.environ.get("HPSVID_WEIGHTS") or Path.home() / ".cache" / "hpsvid" / "weights"
    return Path(folder)


def imported_path(name: str) -> Path:
    """Where the weights `name` lie once imported."""
    return imported_dir() / f"{name}.safetensors"


def imported_source(name: str) -> dict[str, str]:
    """File name and sha256 of the checkpoint that the imported weights `name` were made from.

    Raises WeightsError when they were not imported or are damaged.
    """
    from hpsvid.common.checkpoints import read_config

    path = imported_path(name)
    if not path.is_file():
        raise WeightsError(
            f"{path}: missing; get {name}.pth from its authors and run "
            f"`hpsvid weights import {name}.pth`"
        )
    try:
        return read_config(path, "imported weights", ("file", "sha256"))
    except WeightsError as error:
        raise WeightsError(f"{path}: damaged ({reason(error, path)}); import it again") from error


def load_imported(model: "nn.Module", name: str) -> dict[str, str]:
    """Fill `model`, which may be on torch's meta device, with the imported weights `name`.

    Returns their source. Raises WeightsError when they are missing, damaged or of another model.
    """
    from hpsvid.common.checkpoints import fill, read_tensors

    source = imported_source(name)
    path = imported_path(name)
    fill(model, read_tensors(path), path)
    return source
