"""Find shipped weights by name, check them before use, and load the ONNX ones.

`weights/manifest.toml` lists every file with its sha256, licence and source; a file that does
not match is refused, never silently used. Weights that the user imported lie in a folder of
theirs.
"""

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpsvid.errors import WeightsError, one_line

if TYPE_CHECKING:
    import onnxruntime
    from torch import Tensor, nn


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
    found = file_sha256(path)
    if found != entry.sha256:
        raise WeightsError(
            f"{path}: sha256 is {found[:12]}…, the manifest expects {entry.sha256[:12]}…; "
            "the file is damaged: reinstall hpsvid"
        )
    return path


def shipped_hashes(*names: str) -> dict[str, str]:
    """The sha256 of those of `names` that are shipped files, for a result's header."""
    manifest = read_manifest()
    return {name: manifest[name].sha256 for name in names if name in manifest}


def load_onnx(name: str, threads: int | None = None) -> "onnxruntime.InferenceSession":
    """The shipped ONNX network `name`, on CUDA where onnxruntime offers it, else on the CPU.

    threads: CPU threads; None takes a thread for each logical core. Raises WeightsError when the
    file is unknown, missing or damaged.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or os.cpu_count() or 1
    options.log_severity_level = 3  # errors only
    options.use_deterministic_compute = True
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    present = onnxruntime.get_available_providers()
    return onnxruntime.InferenceSession(
        weights_path(name), options, providers=[p for p in wanted if p in present]
    )


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
    from safetensors import safe_open

    path = imported_path(name)
    if not path.is_file():
        raise WeightsError(
            f"{path}: missing; get {name}.pth from its authors and run "
            f"`hpsvid weights import {name}.pth`"
        )
    try:
        with safe_open(path, "pt") as archive:
            return json.loads((archive.metadata() or {})["source"])
    except Exception as error:  # safetensors raises its own, undocumented kinds
        raise WeightsError(f"{path}: damaged ({one_line(error)}); import it again") from error


def load_imported(model: "nn.Module", name: str) -> dict[str, str]:
    """Fill `model`, which may be on torch's meta device, with the imported weights `name`.

    Returns their source. Raises WeightsError when they are missing, damaged or of another model.
    """
    from safetensors.torch import load_file

    source = imported_source(name)
    path = imported_path(name)
    fill(model, load_file(path), path)
    return source


def fill(model: "nn.Module", tensors: "Mapping[str, Tensor]", path: Path) -> None:
    """Make `tensors` read from `path` the model's; WeightsError unless all of them fit it."""
    expected = model.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - expected.keys())
    other = [k for k in sorted(expected.keys() & tensors) if tensors[k].shape != expected[k].shape]
    for keys, what in ((missing, "lacks"), (unknown, "holds the unknown"), (other, "misshapes")):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise WeightsError(
                f"{path}: {what} `{keys[0]}`{more}; expected the {len(expected)} tensors of "
                f"{type(model).__name__} as its authors released them"
            )
    model.load_state_dict(tensors, assign=True)
