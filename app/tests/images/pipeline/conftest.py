"""A real RabbitMQ and an S3 on loopback, and what speaks to them. RabbitMQ is the hosts' own: tools/broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.pipeline import ROOT, S3, Broker, Pipeline


@pytest.fixture(scope="session")
def one_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Run a broker for all tests."""
    with Broker(ROOT / ".local" / "broker", tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def broker(one_broker: Broker) -> Broker:
    """Give a broker that is up and has no queue."""
    one_broker.empty()
    return one_broker


@pytest.fixture(scope="session")
def one_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """Run an S3 for all tests."""
    with S3(tmp_path_factory.mktemp("s3")) as s3:
        yield s3


@pytest.fixture
def s3(one_s3: S3) -> S3:
    """Give an S3 that is up, with two empty buckets."""
    one_s3.empty()
    return one_s3


@pytest.fixture
def pipeline(broker: Broker, s3: S3, tmp_path: Path) -> Iterator[Pipeline]:
    """Give a producer and as many workers as a test starts."""
    with Pipeline(broker, s3, tmp_path) as running:
        yield running
