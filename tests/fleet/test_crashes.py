"""Whatever happens to the server under load, what it acknowledged is there, once."""

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from .blows import kill, reboot, restart
from .fleet import Fleet
from .hosts import Host
from .loads import ENOUGH, load

_UNIT = "frota-sensor-server.service"
_NUMBERED = 2000  # readings of the numbered client, one each 5 ms

# What may happen to those who were connected, and to nobody who connects.
_LOST = {"closed", "[Errno 104] Connection reset by peer", "[Errno 32] Broken pipe"}


@contextmanager
def _numbered(host: Host, fleet: Fleet, name: str) -> Iterator["subprocess.Popen[str]"]:
    """Run our own client at full speed with a spool of its own; it ends when everything is delivered."""
    flags = f"--host {fleet.server.address} --port {fleet.port} --protocol native --max-backoff 1 --log-level ERROR"
    wanted = f"--sensor {name} --label Teste --unit % --interval 0.005 --count {_NUMBERED}"
    folder = f"/var/tmp/{name}"
    with host.start(f"timeout 900 frota sensors simulate {name} {flags} {wanted} --state-dir {folder}") as process:
        try:
            yield process
        finally:
            process.kill()
            host.run(f"rm -rf {folder}")


@pytest.mark.beside(system="sensors")
@pytest.mark.parametrize(
    ("blows", "errors_allowed"),
    [
        # Its socket stays systemd's, so that nobody is refused: those who were connected lose their connection.
        pytest.param((restart, kill, restart, kill), _LOST, id="restarts and kill -9"),
        pytest.param((reboot,), None, id="a reboot"),
    ],
)
def test_every_acknowledged_reading_is_there_exactly_once_after(
    fleet: Fleet, start: float, blows: Sequence[Callable[[Host, str], None]], errors_allowed: set[str] | None
) -> None:
    name = f"Carga{time.time_ns() // 10**6:x}"  # a sensor's name has up to 32 characters
    with ExitStack() as running:
        where = (fleet.server.address, str(fleet.port))
        loads = [running.enter_context(load(host, "load.py", *where, f"{name}-{host.name}")) for host in fleet.sensors]
        numbered = running.enter_context(_numbered(fleet.sensors[0], fleet, f"{name}n"))
        for one in loads:
            one.wait_for_more()
        for blow in blows:
            blow(fleet.server, _UNIT)
            for one in loads:
                one.wait_for_more()
        reports = [one.stop() for one in loads]
        assert numbered.wait(600) == 0
    assert _kept_wrongly(fleet, start, reports) == {}
    assert fleet.numbers(start)[f"{name}n"] == list(range(1, _NUMBERED + 1))
    assert errors_allowed is None or {error for report in reports for error in report["errors"]} <= errors_allowed


def _kept_wrongly(fleet: Fleet, start: float, reports: list[dict[str, Any]]) -> dict[str, int]:
    """Return how often a reading is kept, where that is not once for one that was acknowledged, or more than once."""
    acknowledged = {
        f"{sensor} - Teste: {number}.0%"
        for report in reports
        for sensor, numbers in report["acknowledged"].items()
        for number in numbers
    }
    assert len(acknowledged) >= 2 * ENOUGH * len(reports)
    sensors = {sensor for report in reports for sensor in report["acknowledged"]}
    kept = Counter(one["text"] for one in fleet.history(start) if one["sensor"] in sensors)
    return {text: kept[text] for text in acknowledged | kept.keys() if kept[text] != 1}
