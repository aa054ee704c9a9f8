"""Failures under load: every accepted image is in S3 once, or a dead letter with its reason."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .aws import Results
from .faults import kill, reboot
from .fleet import Fleet
from .hosts import RECOVERY_TIMEOUT_S, until
from .load import Load, load

_PYTHON = "/opt/frota/current/bin/python"
_CLIENTS = 8
_MIN_IMAGES = 25  # with a final status between two faults
_WORKER, _PRODUCER = "frota-image-worker.service", "frota-image-producer.service"
_RETRY_WARNING = "does not answer, trying again"


@contextmanager
def _images(fleet: Fleet, prefix: str, interval_s: float) -> Iterator[Load]:
    with load(fleet.image_client, "image_load.py", prefix, str(interval_s), python=_PYTHON) as running:
        running.wait_for_more(_MIN_IMAGES)
        yield running


def _verify(fleet: Fleet, prefix: str, report: dict[str, Any]) -> None:
    """Check that every accepted image is in S3 once or a dead letter with its reason, as its sender was informed."""
    # Some images may have been redelivered, and are converted again.
    until(lambda: _queue_is_empty(fleet), "the queue of images is not empty")
    results, accepted, final = Results(fleet), set(report["accepted"]), report["final"]
    stored = results.keys_by_image(prefix)
    dead = {letter["id"]: letter for letter in _dead(fleet, prefix)}
    results.drop(prefix)
    # A dead letter that was published twice is there twice.
    while remaining := {letter["id"] for letter in _dead(fleet, prefix)}:
        fleet.image_producer.run_as_admin(f"frota images dead drop --yes {' '.join(remaining)}")

    assert {name: status for name, status in final.items() if status["state"] not in ("done", "dead")} == {}
    assert final.keys() == accepted
    assert {name for name, status in final.items() if status["state"] == "done"} == stored.keys()
    assert {name: keys for name, keys in stored.items() if len(keys) != 1} == {}
    for name, (key,) in stored.items():
        assert key == final[name]["filename"].replace(".jpg", "_gray.jpg")
        assert final[name]["url"].endswith(key)
    assert stored.keys() | dead.keys() == accepted
    assert stored.keys() & dead.keys() == set()
    # The invalid images, and at most those that a worker had each time when it was killed.
    invalid = {f"{prefix}-{client}-0.png" for client in range(_CLIENTS)}
    assert {letter["filename"] for letter in dead.values()} >= invalid
    assert {letter["code"] for letter in dead.values()} <= {"damaged", "delivery_limit"}
    assert all(letter["reason"] for letter in dead.values())
    assert [line for line in report["output"] if _RETRY_WARNING not in line] == []


def _dead(fleet: Fleet, prefix: str) -> list[dict[str, Any]]:
    output = fleet.image_producer.run_as_admin("frota images dead list --json")
    return [letter for letter in map(json.loads, output.splitlines()) if letter["filename"].startswith(prefix)]


def _interrupt_s3(fleet: Fleet) -> None:
    """Stop S3 until a worker has logged that it is unavailable."""
    start = time.time()
    fleet.embedded_aws.run("systemctl stop embedded-aws")
    try:
        fleet.image_workers[0].wait_for_record(f"--unit={_WORKER}", "FROTA_EVENT=storage_unavailable", since=start)
    finally:
        fleet.embedded_aws.run("systemctl start embedded-aws", RECOVERY_TIMEOUT_S)


def _queue_is_empty(fleet: Fleet) -> bool:
    """Return whether no image is queued or unacknowledged."""
    command = "rabbitmqctl --quiet list_queues --vhost frota --formatter json name messages"
    output = fleet.brokers[0].try_to_run(command)
    return bool(output) and {queue["name"]: queue["messages"] for queue in json.loads(output)}["images"] == 0


@pytest.mark.beside(system="images")
def test_images_survive_failures(
    fleet: Fleet,
) -> None:
    """No image is lost by killed workers, a killed producer, a broker's reboot or an outage of S3."""
    prefix, worker = f"carga-{secrets.token_hex(4)}", fleet.image_workers[0]
    with _images(fleet, prefix, interval_s=1) as running:
        faults: list[Callable[[], None]] = [
            lambda: kill(worker, _WORKER),
            lambda: reboot(fleet.brokers[0], ""),
            lambda: kill(worker, _WORKER),
            lambda: _interrupt_s3(fleet),
            lambda: kill(fleet.image_producer, _PRODUCER),
            lambda: kill(worker, _WORKER),
        ]
        for fault in faults:
            fault()
            running.wait_for_more(_MIN_IMAGES)
        report = running.stop()
    _verify(fleet, prefix, report)


@pytest.fixture
def initial_size(fleet: Fleet) -> Iterator[int]:
    size = len(fleet.image_workers)
    yield size
    fleet.read_inventory()
    if len(fleet.image_workers) != size:
        _scale(fleet, size)


def _scale(fleet: Fleet, size: int) -> None:
    fleet.play("playbooks/scale.yml", "-e", f"image_workers={size}")
    fleet.read_inventory()
    assert len(fleet.image_workers) == size


def test_scaling_workers(fleet: Fleet, initial_size: int) -> None:
    """A new worker takes images at once, and a removed one loses none."""
    prefix, before = f"escala-{secrets.token_hex(4)}", {host.name for host in fleet.image_workers}
    _scale(fleet, initial_size + 1)
    added = {host.name for host in fleet.image_workers} - before
    with _images(fleet, prefix, interval_s=15) as running:
        _scale(fleet, initial_size)
        running.wait_for_more(_MIN_IMAGES)
        report = running.stop()
    assert added <= {status.get("worker") for status in report["final"].values()}
    _verify(fleet, prefix, report)
