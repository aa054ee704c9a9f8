"""The fleet for the tests, which no test needs to come upon after another.

Those marked `whole` play site.yml on the whole fleet. They come first only because that takes longer after runs of a
part, which leave what they went through without a record.

Those marked `beside` fail a single system and judge by that system: tools/fleet runs them beside those of other
systems. All others see the whole fleet and run alone: no unit restarts, every host responds.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .fleet import Fleet, NoFleetError


def pytest_configure(config: pytest.Config) -> None:
    """Know the markers."""
    config.addinivalue_line("markers", "whole: plays site.yml on the whole fleet")
    config.addinivalue_line("markers", "beside(system): fails this system only, and may run beside tests of others")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put whole runs before runs of a part, and bound each test."""
    here = Path(__file__).parent
    ours = [item for item in items if item.path.parent == here]
    for item in ours:
        item.add_marker(pytest.mark.timeout(5400))
    places = [place for place, item in enumerate(items) if item in ours]
    in_order = sorted(ours, key=lambda item: item.get_closest_marker("whole") is None)
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
