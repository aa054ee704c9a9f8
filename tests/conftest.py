"""What every test of the checkout knows: where it is."""

import fcntl
import os
from collections.abc import Generator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout's folder."""
    return Path(__file__).parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Know the marker of pytest-xdist also where that is not installed: with the newer Ansible."""
    config.addinivalue_line("markers", "xdist_group(name): tests that run in one process when they are distributed")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let one process collect before the others: it compiles the tests, which takes longer than the rest."""
    with Path(__file__).open() as lock:
        if "PYTEST_XDIST_WORKER" in os.environ:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(lock, fcntl.LOCK_SH)
        return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test that is distributed apart from its group: each process would start what the group shares."""
    distributed = item.config.getoption("loadgroup", False)  # set in the processes of pytest-xdist
    if distributed and item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
        pytest.fail("This pytest-xdist ignores groups of tests. Lock a pytest that it knows in requirements/.")
