"""Prometheus's own tool, promtool, accepts the metrics of every service."""

import dataclasses
import importlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from support import TIMEOUT_S, reserved_port, start_frota
from support.metrics import metrics_server
from support.prometheus import collect

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"),
    reason="promtool is not installed, so that Prometheus does not check the metrics: see tools/promtool",
)
ENVIRON = {**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
Started = Callable[[Path, int], AbstractContextManager[None]]


def service(*words: object) -> Started:
    """Return a function that runs a service with a state folder and a metrics port for the time of a block."""

    @contextmanager
    def run(folder: Path, port: int) -> Iterator[None]:
        flags = ("--state-dir", folder / "state", "--metrics-port", port)
        process = start_frota(*words, *flags, stderr=subprocess.DEVNULL, env=ENVIRON)
        yield
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0

    return run


@contextmanager
def cpu_server(folder: Path, port: int) -> Iterator[None]:
    """Run a CPU metrics server with a host, so that it has the metrics of hosts."""
    with metrics_server(folder, "--metrics-port", port) as server, server.agent() as agent:
        agent.send(1)
        agent.wait(1)
        yield


LISTEN = ("--host", "127.0.0.1", "--port", 0)
BROKERS = ("--brokers", "127.0.0.1:1")
SERVICES = {
    "sensors/server": service("sensors", "serve", *LISTEN),
    "sensors/client": service("sensors", "simulate", "temperature", "--port", 1),
    "list/server": service("list", "serve", *LISTEN),
    "cpu/server": cpu_server,
    "cpu/agent": service("cpu", "agent", "--port", 1, "--name", "web-1"),
    "images/producer": service("images", "serve", *LISTEN, *BROKERS),
    "observer/dashboard": service("dashboard", "serve", *LISTEN, "--prometheus", ""),
    "images/worker": service("images", "work", *BROKERS, "--bucket", "b", "--converters", 1),
}


def promtool(text: str) -> tuple[int, str]:
    """Return the exit status and the output of `promtool check metrics`."""
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout + result.stderr


@needs_promtool
@pytest.mark.parametrize("name", SERVICES)
def test_promtool_accepts_metrics(name: str, tmp_path: Path) -> None:
    """`promtool check metrics` has no complaint about the metrics of a service."""
    with reserved_port() as port, SERVICES[name](tmp_path, port):
        text = collect(port)
    assert text.count("# TYPE frota_") > 3
    assert promtool(text) == (0, "")


def test_every_service_is_checked() -> None:
    """Every service that has the setting metrics_port is a service of this test."""
    services = {
        f"{system}/{name.removesuffix('Settings').lower()}"
        for system in ("sensors", "list", "cpu", "images", "observer")
        for name, settings in vars(importlib.import_module(f"frota.{system}.settings")).items()
        if dataclasses.is_dataclass(settings)
        and "metrics_port" in {field.name for field in dataclasses.fields(settings)}
    }
    assert services == SERVICES.keys()


@needs_promtool
def test_promtool_rejects_wrong_names() -> None:
    """promtool rejects a gauge whose name ends in _total, so that the check can fail."""
    status, output = promtool("# HELP frota_x_total Values.\n# TYPE frota_x_total gauge\nfrota_x_total 1\n")
    assert status != 0
    assert "_total" in output
