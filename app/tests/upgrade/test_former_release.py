"""An upgrade in place: each process reads the state folder that the former release wrote, and goes on from there."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from frota.images.producer.status_store import State, StatusStore
from frota.images.worker.outbox import EventOutbox
from support import TIMEOUT_S, output, server, start_frota, until
from support.metrics import metrics_server
from support.zmq_server import list_server

_FORMER = Path(__file__).parent / "former_release"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Give a copy of the former release's state folders."""
    return Path(shutil.copytree(_FORMER, tmp_path / "former"))


def _history(port: int) -> list[dict[str, Any]]:
    lines = output("sensors", "history", "--port", port, "--last", 100, "--json").splitlines()
    return [json.loads(line) for line in lines]


def test_sensor_readings(state: Path, tmp_path: Path) -> None:
    """Acknowledged readings are there, and those in the client's spool are delivered behind them, in order and once."""
    shutil.move(state / "sensor_server", tmp_path / "state")
    with server(tmp_path) as running:
        before = _history(running.port)
        assert [reading["sensor"] for reading in before] == ["Sensor1"] * 5 + ["Sensor2", "Sensor3"]
        words = ("--sensor", "Sensor1", "--state-dir", state / "sensor_client", "--count", 1)
        client = start_frota("sensors", "simulate", "temperature", "--port", running.port, *words)
        assert client.wait(TIMEOUT_S) == 0
        readings = [reading for reading in _history(running.port) if reading["sensor"] == "Sensor1"]
    assert len(readings) == 16  # 5 acknowledged, 10 in the spool, a new one
    numbers = [reading["number"] for reading in readings if "number" in reading]
    assert numbers == list(range(numbers[0], 17))
    assert len(numbers) >= 10


def test_lists(state: Path, tmp_path: Path) -> None:
    """Lists are recovered from the snapshot and the log after it."""
    shutil.move(state / "list_server", tmp_path / "state")
    with list_server(tmp_path) as running:
        assert running.elements() == ["3", "two words", "pressão", "-x", "after"]
        assert running.elements("long") == [f"element{number}" for number in range(1, 151)]


def test_samples(state: Path, tmp_path: Path) -> None:
    """The history is there, and the agent's spool is delivered behind it: no sample is missing or counted twice."""
    shutil.move(state / "cpu_server", tmp_path / "state")
    with metrics_server(tmp_path) as running:
        words = ("--name", "web-1", "--interval", 1, "--state-dir", state / "cpu_agent")
        agent = start_frota("cpu", "agent", "--host", "127.0.0.1", "--port", running.port, *words)

        def spool_is_delivered() -> dict[str, Any] | None:
            [host] = [
                json.loads(line)
                for line in output("cpu", "top", "--once", "--json", "--port", running.port).splitlines()
            ]
            return host if host["samples"] >= 14 else None

        host = until(spool_is_delivered, "the spool is delivered")
        agent.terminate()
        assert agent.wait(TIMEOUT_S) == 0
        lines = output("cpu", "history", "web-1", "--port", running.port, "--seconds", 10**9, "--json").splitlines()
    assert (host["missing"], host["duplicates"]) == (0, 0)
    times = [json.loads(line)["time"] for line in lines]
    assert len(times) == host["samples"]
    assert times == sorted(times)


def test_image_statuses(state: Path) -> None:
    """What became of images is known."""

    async def read() -> list[State]:
        store = StatusStore(state / "images_producer", 100)
        await store.open()
        statuses = await store.get([letter * 32 for letter in "abcd"])
        await store.close()
        return [status.state for status in statuses]

    assert asyncio.run(read()) == [State.QUEUED, State.DONE, State.DEAD, State.UNKNOWN]


def test_image_outbox(state: Path) -> None:
    """Status events that a stopped worker could not publish are read."""
    [event] = EventOutbox(state / "images_worker").read()
    assert (event.id, event.state, event.key) == ("a" * 32, "done", "foto_gray.jpg")
