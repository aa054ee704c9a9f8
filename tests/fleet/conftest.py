"""The fleet for the tests, and the order of the tests: what destroys most comes last."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .fleet import Fleet, NoFleetError

_ORDER = (
    "test_hosts",
    "test_wire",
    "test_remote_list",
    "test_images",
    "test_cpu_metrics",
    "test_journal",
    "test_drift",
    "test_configuration",
    "test_left_out",
    "test_partition",
    "test_crashes",
    "test_remote_list_under_load",
    "test_images_under_load",
    "test_releases",
    "test_membership",
    "test_machine",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of this folder in order, and bound each."""
    here = Path(__file__).parent
    ours = [item for item in items if item.path.parent == here]
    for item in ours:
        item.add_marker(pytest.mark.timeout(5400))
    places = [place for place, item in enumerate(items) if item in ours]
    for place, item in zip(places, sorted(ours, key=lambda item: _ORDER.index(item.path.stem)), strict=True):
        items[place] = item


@pytest.fixture(scope="session")
def fleet(root: Path) -> Iterator[Fleet]:
    """Give the running fleet."""
    with tempfile.TemporaryDirectory(prefix="frota-") as sockets:  # short: a socket's path may not exceed 108 bytes
        running = None
        with suppress(NoFleetError):
            running = Fleet(root, Path(sockets))
        if running is None:
            pytest.fail("There is no fleet to test: bring it up with `make up`.", pytrace=False)
        yield running


@pytest.fixture
def start() -> float:
    """Give the time at which the test began, in seconds since 1970."""
    return time.time()
