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
