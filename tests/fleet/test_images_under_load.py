"""Whatever happens to the image pipeline, an accepted image is in S3 once, or dead with its reason."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .aws import Results
from .blows import kill, reboot
from .fleet import Fleet
from .hosts import RECALL, until
from .loads import Load, load

_PYTHON = "/opt/frota/current/bin/python"
_CLIENTS = 8
_MORE = 25  # images that come to their end between two blows
_WORKER, _PRODUCER = "frota-image-worker.service", "frota-image-producer.service"
_WAITS = "does not answer, trying again"


@contextmanager
def _images(fleet: Fleet, prefix: str, pause: float) -> Iterator[Load]:
    with load(fleet.image_client, "image_load.py", prefix, str(pause), python=_PYTHON) as running:
        running.wait_for_more(_MORE)
        yield running


def _prove(fleet: Fleet, prefix: str, report: dict[str, Any]) -> None:
    """See that every accepted image is in S3 once or dead with its reason, and that its sender was told so."""
    until(lambda: _nothing_waits(fleet), "the queue of images empty")  # of which some may have been delivered again
    results, accepted, ends = Results(fleet), set(report["accepted"]), report["ends"]
    kept = results.keys_by_image(prefix)
    dead = {one["id"]: one for one in _dead(fleet, prefix)}
    results.drop(prefix)
    while left := {one["id"] for one in _dead(fleet, prefix)}:  # one that was published twice is there twice
        fleet.image_producer.run_as_admin(f"frota images dead drop --yes {' '.join(left)}")

    assert {name: end for name, end in ends.items() if end["state"] not in ("done", "dead")} == {}
    assert ends.keys() == accepted
    assert {name for name, end in ends.items() if end["state"] == "done"} == kept.keys()
    assert {name: keys for name, keys in kept.items() if len(keys) != 1} == {}
    for name, (key,) in kept.items():
        assert key == ends[name]["filename"].replace(".jpg", "_gray.jpg")
        assert ends[name]["url"].endswith(key)
    assert kept.keys() | dead.keys() == accepted
    assert kept.keys() & dead.keys() == set()
    # Those that nobody can do, and what was at hand each time when a worker was killed; in words.
    assert {one["filename"] for one in dead.values()} >= {f"{prefix}-{client}-0.png" for client in range(_CLIENTS)}
    assert {one["code"] for one in dead.values()} <= {"damaged", "delivery_limit"}
    assert all(one["reason"] for one in dead.values())
    assert [line for line in report["said"] if _WAITS not in line] == []


def _dead(fleet: Fleet, prefix: str) -> list[dict[str, Any]]:
    said = fleet.image_producer.run_as_admin("frota images dead list --json")
    return [one for one in map(json.loads, said.splitlines()) if one["filename"].startswith(prefix)]


def _without_s3(fleet: Fleet) -> None:
    """Take S3 away until a worker that has an image for it has noticed."""
    began = time.time()
    fleet.embedded_aws.run("systemctl stop embedded-aws")
    try:
        fleet.image_workers[0].wait_for_record(f"--unit={_WORKER}", "FROTA_EVENT=storage_unavailable", since=began)
    finally:
        fleet.embedded_aws.run("systemctl start embedded-aws", RECALL)


def _nothing_waits(fleet: Fleet) -> bool:
    """Tell whether no image is queued, or in the hands of a worker."""
    command = "rabbitmqctl --quiet list_queues --vhost frota --formatter json name messages"
    said = fleet.brokers[0].try_to_run(command)
    return bool(said) and {queue["name"]: queue["messages"] for queue in json.loads(said)}["images"] == 0


@pytest.mark.beside(system="images")
def test_images_survive_failures(
    fleet: Fleet,
) -> None:
    """No image is lost by killed workers, a killed producer, a broker's reboot or an outage of S3."""
    prefix, worker = f"carga-{secrets.token_hex(4)}", fleet.image_workers[0]
    with _images(fleet, prefix, pause=1) as running:
        blows: list[Callable[[], None]] = [
            lambda: kill(worker, _WORKER),
            lambda: reboot(fleet.brokers[0], ""),
            lambda: kill(worker, _WORKER),
            lambda: _without_s3(fleet),
            lambda: kill(fleet.image_producer, _PRODUCER),
            lambda: kill(worker, _WORKER),
        ]
        for blow in blows:
            blow()
            running.wait_for_more(_MORE)
        report = running.stop()
    _prove(fleet, prefix, report)


@pytest.fixture
def same_size(fleet: Fleet) -> Iterator[int]:
    size = len(fleet.image_workers)
    yield size
    fleet.read_inventory()
    if len(fleet.image_workers) != size:
        _scale(fleet, size)


def _scale(fleet: Fleet, size: int) -> None:
    fleet.play("playbooks/scale.yml", "-e", f"image_workers={size}")
    fleet.read_inventory()
    assert len(fleet.image_workers) == size


def test_scaling_workers(fleet: Fleet, same_size: int) -> None:
    """A new worker takes images at once, and a removed one loses none."""
    prefix, before = f"escala-{secrets.token_hex(4)}", {host.name for host in fleet.image_workers}
    _scale(fleet, same_size + 1)
    further = {host.name for host in fleet.image_workers} - before
    with _images(fleet, prefix, pause=15) as running:
        _scale(fleet, same_size)
        running.wait_for_more(_MORE)
        report = running.stop()
    assert further <= {end.get("worker") for end in report["ends"].values()}
    _prove(fleet, prefix, report)
