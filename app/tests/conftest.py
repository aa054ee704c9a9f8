"""Fixtures that several folders of tests share."""

from collections.abc import Iterator

import pytest

from support import STARTED, Disk


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Stand in for the disk under the logs of this process."""
    return Disk(monkeypatch)


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    """Kill what a failed test has left behind."""
    yield
    for process in STARTED:
        if process.poll() is None:
            process.kill()
            process.wait()
    STARTED.clear()
