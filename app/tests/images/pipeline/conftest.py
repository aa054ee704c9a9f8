"""A real RabbitMQ, made by tools/broker, and an S3 on loopback, with their clients."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.pipeline import ROOT, S3, Broker, Pipeline


@pytest.fixture(scope="session")
def session_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Run a broker for all tests."""
    with Broker(ROOT / ".local" / "broker", tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def broker(session_broker: Broker) -> Broker:
    """Give a broker that is up and has no queue."""
    session_broker.empty()
    return session_broker


@pytest.fixture(scope="session")
def session_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """Run an S3 for all tests."""
    with S3(tmp_path_factory.mktemp("s3")) as s3:
        yield s3


@pytest.fixture
def s3(session_s3: S3) -> S3:
    """Give an S3 that is up, with two empty buckets."""
    session_s3.empty()
    return session_s3


@pytest.fixture
def pipeline(broker: Broker, s3: S3, tmp_path: Path) -> Iterator[Pipeline]:
    """Give a pipeline, whose producer and workers the test starts."""
    with Pipeline(broker, s3, tmp_path) as running:
        yield running
