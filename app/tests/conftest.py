"""Fixtures that several folders of tests share."""

import pytest

from support import Disk


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Stand in for the disk under the logs of this process."""
    return Disk(monkeypatch)
