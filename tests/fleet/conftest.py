"""Fixtures, markers and order of the acceptance tests. No test depends on another one.

Tests marked `whole` run site.yml on the whole fleet. They come first only because site.yml takes longer after partial
runs, which leave the systems that they configured without a record.

Tests marked `beside` make a single system fail and check only that system: tools/fleet runs them in parallel with those
of other systems. All other tests see the whole fleet and run one after the other: no unit restarts, every host
responds.

Tests marked `restart` stop every host of this checkout, those of Molecule's scenarios too, and run last.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .fleet import Fleet, NoFleetError


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    config.addinivalue_line("markers", "whole: runs site.yml on the whole fleet")
    config.addinivalue_line("markers", "restart: stops every host of this checkout")
    config.addinivalue_line("markers", "beside(system): makes only this system fail; may run beside tests of others")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put whole runs before partial runs, and set a timeout for each test."""
    here = Path(__file__).parent
    own_items = [item for item in items if item.path.parent == here]
    for item in own_items:
        item.add_marker(pytest.mark.timeout(5400))
    places = [place for place, item in enumerate(items) if item in own_items]
    in_order = sorted(own_items, key=lambda item: item.get_closest_marker("whole") is None)
    for place, item in zip(places, in_order, strict=True):
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
