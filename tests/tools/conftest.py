"""What the tests of the tools share."""

import pytest


@pytest.fixture(autouse=True)
def few_backgrounds(monkeypatch: pytest.MonkeyPatch):
    """One room and one field: making many takes seconds."""
    monkeypatch.setattr("tools.people.backdrop.ROOMS", 1)
    monkeypatch.setattr("tools.people.backdrop.FIELDS", 1)
