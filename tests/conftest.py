"""Fixtures that several test modules share."""

import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from hpsvid.body.model import Body


SHARED = Path(__file__).resolve().parents[2] / "shared"
FAKES = {  # kinds of `hpsvid weights import`, and what ../shared/ref calls them
    "niki_1stage": "niki_onestage",
    "niki_ts": "niki_ts",
    "hybrik_res34": "res34_cam",
    "hybrik_hrnet": "hrnet48_cam",
}


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data that is never committed; tests that need it skip plainly without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the shared data at {SHARED}, which is not there")
    return SHARED


@pytest.fixture(scope="session")
def body() -> "Body":
    """The free body."""
    from hpsvid.body.model import load_body
    from hpsvid.common.weights import weights_path

    return load_body(weights_path("free_body"))


@pytest.fixture(scope="session")
def official_folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the synthetic SMPL file and room for fake checkpoints, removed at the end."""
    folder = tmp_path_factory.mktemp("official")
    for path in (shared / "ref").iterdir():
        if path.suffix == ".py" or path.name.endswith(("_manifest.json", "_bn.npz")):
            shutil.copy(path, folder)
    _run(folder / "synthetic_smpl.py").make_smpl(os.fspath(folder / "model_files"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def fake_state(official_folder: Path) -> Callable[[str], dict[str, Any]]:
    """Makes the tensors of a kind in FAKES under its authors' names, as the reference runs had."""

    def make(kind: str) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # the script leaves files open
            return _run(official_folder / "make_fake_ckpt.py").build(FAKES[kind])

    return make


@pytest.fixture
def imported(
    official_folder: Path,
    fake_state: Callable[[str], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], Path]:
    """Imports the fake checkpoint of a kind, once; the test loads weights from where it went."""
    import torch

    from hpsvid.common.weights import imported_path
    from hpsvid.official.importing import import_weights

    monkeypatch.setenv("HPSVID_WEIGHTS", os.fspath(official_folder / "imported"))

    def make(kind: str) -> Path:
        if not imported_path(kind).exists():
            path, state = official_folder / f"{kind}.pth", fake_state(kind)
            torch.save({"model": state} if kind.startswith("hybrik") else state, path)
            import_weights(path)
        return imported_path(kind)

    return make


def _run(script: Path):
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
