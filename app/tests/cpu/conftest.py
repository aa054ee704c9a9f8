"""A metrics server in a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.metrics import MetricsServer, metrics_server


@pytest.fixture
def running(tmp_path: Path) -> Iterator[MetricsServer]:
    """Give a server that writes to its disk several times a second."""
    with metrics_server(tmp_path) as started:
        yield started
