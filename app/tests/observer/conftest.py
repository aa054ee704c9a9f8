"""Fixtures of the observer's tests."""

from pathlib import Path

import pytest

from support.remote import Hosts


@pytest.fixture(name="hosts")
def _hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """Return hosts that stand for a fleet's, none at first."""
    return Hosts(tmp_path, monkeypatch)
