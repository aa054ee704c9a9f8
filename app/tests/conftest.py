"""Fixtures that several folders of tests share."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support import FULL, STARTED, Disk, Server, server

# gRPC reads it at its import, and complains of forks on standard error: set here, before any test is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

# Ports of metrics are fixed by default: tests that need one name it.
os.environ.update(SENSORS_METRICS_PORT="0", CPU_METRICS_PORT="0")

# How fast a machine makes up examples says nothing about the code, nor how fast it runs the first one.
settings.register_profile(
    "frota", deadline=None, max_examples=100 if FULL else 30, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("frota")

# Processes that a shell starts in the background, such as `make test &`, inherit that Ctrl+C is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Know the markers."""
    config.addinivalue_line("markers", "mariadb: requires a real MariaDB, which tools/database makes as root")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Replace the disk of the logs in this process."""
    return Disk(monkeypatch)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Server]:
    """Run a server with the default settings in a process of its own."""
    with server(tmp_path) as sensor_server:
        yield sensor_server


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    """Kill the processes that a failed test has left."""
    yield
    for process in STARTED:
        if process.poll() is None:
            process.kill()
            process.wait()
    STARTED.clear()
