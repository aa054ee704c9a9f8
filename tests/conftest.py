"""What every test of the checkout knows: where it is."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout's folder."""
    return Path(__file__).parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Know the marker of pytest-xdist also where that is not installed: with the newer Ansible."""
    config.addinivalue_line("markers", "xdist_group(name): tests that run in one process when they are distributed")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test that is distributed apart from its group: each process would start what the group shares."""
    distributed = item.config.getoption("loadgroup", False)  # set in the processes of pytest-xdist
    if distributed and item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
        pytest.fail("This pytest-xdist ignores groups of tests. Lock a pytest that it knows in requirements/.")
