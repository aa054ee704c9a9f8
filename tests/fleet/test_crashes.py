"""Failures of the sensor server under load: every acknowledged reading is stored exactly once."""

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from .faults import kill, reboot, restart
from .fleet import Fleet
from .hosts import Host
from .load import MIN_REQUESTS, load

_UNIT = "frota-sensor-server.service"
_NATIVE_READINGS = 2000  # of the native client, one every 5 ms

# Errors of established connections; new connections must not fail.
_CONNECTION_ERRORS = {"closed", "[Errno 104] Connection reset by peer", "[Errno 32] Broken pipe"}


@contextmanager
def _native_client(host: Host, fleet: Fleet, name: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a native client at full speed with a spool of its own; it exits when everything is delivered."""
    flags = f"--host {fleet.server.address} --port {fleet.port} --protocol native --max-backoff 1 --log-level ERROR"
    reading = f"--sensor {name} --label Teste --unit % --interval 0.005 --count {_NATIVE_READINGS}"
    folder = f"/var/tmp/{name}"
    with host.start(f"timeout 900 frota sensors simulate {name} {flags} {reading} --state-dir {folder}") as process:
        try:
            yield process
        finally:
            process.kill()
            host.run(f"rm -rf {folder}")


@pytest.mark.beside(system="sensors")
@pytest.mark.parametrize(
    ("faults", "errors_allowed"),
    [
        # systemd holds the socket, so that no new connection is refused; only established ones are lost.
        pytest.param((restart, kill, restart, kill), _CONNECTION_ERRORS, id="restarts and kill -9"),
        pytest.param((reboot,), None, id="a reboot"),
    ],
)
def test_no_acknowledged_reading_is_lost(
    fleet: Fleet, start: float, faults: Sequence[Callable[[Host, str], None]], errors_allowed: set[str] | None
) -> None:
    """After restarts, kills or a reboot under load, every acknowledged reading is stored exactly once."""
    name = f"Carga{time.time_ns() // 10**6:x}"  # a sensor's name has at most 32 characters
    with ExitStack() as running:
        address = (fleet.server.address, str(fleet.port))
        loads = [
            running.enter_context(load(host, "sensor_load.py", *address, f"{name}-{host.name}"))
            for host in fleet.sensors
        ]
        native = running.enter_context(_native_client(fleet.sensors[0], fleet, f"{name}n"))
        for client_load in loads:
            client_load.wait_for_more()
        for fault in faults:
            fault(fleet.server, _UNIT)
            for client_load in loads:
                client_load.wait_for_more()
        reports = [client_load.stop() for client_load in loads]
        assert native.wait(600) == 0
    assert _wrong_counts(fleet, start, reports) == {}
    assert fleet.numbers(start)[f"{name}n"] == list(range(1, _NATIVE_READINGS + 1))
    assert errors_allowed is None or {error for report in reports for error in report["errors"]} <= errors_allowed


def _wrong_counts(fleet: Fleet, start: float, reports: list[dict[str, Any]]) -> dict[str, int]:
    """Return how often a reading is stored, if an acknowledged one is not stored once or any is stored twice."""
    acknowledged = {
        f"{sensor} - Teste: {number}.0%"
        for report in reports
        for sensor, numbers in report["acknowledged"].items()
        for number in numbers
    }
    assert len(acknowledged) >= 2 * MIN_REQUESTS * len(reports)
    sensors = {sensor for report in reports for sensor in report["acknowledged"]}
    counts = Counter(reading["text"] for reading in fleet.history(start) if reading["sensor"] in sensors)
    return {text: counts[text] for text in acknowledged | counts.keys() if counts[text] != 1}
