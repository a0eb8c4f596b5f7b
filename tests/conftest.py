"""Fixtures that several test modules share."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data that is never committed; tests that need it skip plainly without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the shared data at {SHARED}, which is not there")
    return SHARED
