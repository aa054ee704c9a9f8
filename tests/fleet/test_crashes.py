"""Whatever happens to the server under load, what it acknowledged is there, once."""

import json
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from .fleet import Fleet
from .hosts import Host, until

_UNIT = "frota-sensor-server.service"
_NUMBERED = 2000  # readings of the numbered client, one each 5 ms
_ENOUGH = 200  # acknowledged readings, on each host, between two blows

# What may happen to those who were connected, and to nobody who connects.
_LOST = {"closed", "[Errno 104] Connection reset by peer", "[Errno 32] Broken pipe"}


class Load:
    """Original clients on one host, as `load.py` runs them."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def wait_for_more(self) -> None:
        """Wait until readings are being acknowledged (again)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{_ENOUGH}\n")
        assert self._process.stdout.readline(), "the load ended: see its error above"

    def stop(self) -> dict[str, Any]:
        """Stop, and return what was acknowledged and which errors there were."""
        report: dict[str, Any] = json.loads(self._process.communicate(timeout=120)[0])
        return report


@contextmanager
def _load(host: Host, fleet: Fleet, name: str) -> Iterator[Load]:
    script = shlex.quote((Path(__file__).parent / "load.py").read_text(encoding="utf-8"))
    with host.start(f"exec timeout 200 python3 -c {script} {fleet.server.address} {fleet.port} {name}") as process:
        try:
            yield Load(process)
        finally:
            process.kill()


@contextmanager
def _numbered(host: Host, fleet: Fleet, name: str) -> Iterator["subprocess.Popen[str]"]:
    """Run our own client at full speed with a spool of its own; it ends when everything is delivered."""
    flags = f"--host {fleet.server.address} --port {fleet.port} --protocol native --retry-most 1 --log-level ERROR"
    wanted = f"--sensor {name} --label Teste --unit % --interval 0.005 --count {_NUMBERED}"
    folder = f"/var/tmp/{name}"
    with host.start(f"timeout 200 frota sensors simulate {name} {flags} {wanted} --state-dir {folder}") as process:
        try:
            yield process
        finally:
            process.kill()
            host.run(f"rm -rf {folder}")


def _kill(server: Host) -> None:
    before = server.show("InvocationID", units=_UNIT)
    server.run(f"systemctl kill --signal=KILL {_UNIT}")
    until(lambda: server.show("InvocationID", units=_UNIT) != before, "a new server after the killed one")


def _restart(server: Host) -> None:
    server.run(f"systemctl restart {_UNIT}")


def _reboot(server: Host) -> None:
    began = "cut --delimiter=' ' --fields=22 /proc/1/stat"  # of its first process: the kernel is not its own
    before = server.run(began)
    server.try_to_run("systemctl --no-block reboot")
    until(lambda: server.try_to_run(began) not in ("", before), "the host after its reboot")


@pytest.mark.parametrize(
    ("blow", "times", "errors_allowed"),
    [
        # Its socket stays systemd's, so that nobody is refused: those who were connected lose their connection.
        pytest.param(_restart, 3, _LOST, id="a restart"),
        pytest.param(_kill, 3, _LOST, id="kill -9"),
        pytest.param(_reboot, 1, None, id="a reboot"),
    ],
)
def test_every_acknowledged_reading_is_there_exactly_once_after(
    fleet: Fleet, start: float, blow: Callable[[Host], None], times: int, errors_allowed: set[str] | None
) -> None:
    name = f"Carga{time.time_ns() // 10**6:x}"  # a sensor's name has up to 32 characters
    with ExitStack() as running:
        loads = [running.enter_context(_load(host, fleet, f"{name}-{host.name}")) for host in fleet.sensors]
        numbered = running.enter_context(_numbered(fleet.sensors[0], fleet, f"{name}n"))
        for load in loads:
            load.wait_for_more()
        for _ in range(times):
            blow(fleet.server)
            for load in loads:
                load.wait_for_more()
        reports = [load.stop() for load in loads]
        assert numbered.wait(120) == 0
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
    assert len(acknowledged) >= 2 * _ENOUGH * len(reports)
    sensors = {sensor for report in reports for sensor in report["acknowledged"]}
    kept = Counter(one["text"] for one in fleet.history(start) if one["sensor"] in sensors)
    return {text: kept[text] for text in acknowledged | kept.keys() if kept[text] != 1}
