"""The module `unit_health` without a host: faults in the output of systemd's commands."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from .modules import load, systemd_units

_MODULE = load("unit_health")
_UNIT = "frota-example@left.service"
_RUNNING = {"ActiveState": "active", "SubState": "running", "UnitFileState": "enabled"}


def test_healthy_unit() -> None:
    """An active and enabled unit has no faults."""
    assert list(_MODULE.state_faults(_UNIT, _RUNNING)) == []


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ({"ActiveState": "activating", "SubState": "auto-restart"}, f"{_UNIT} is not active: auto-restart"),
        ({"UnitFileState": "disabled"}, f"{_UNIT} is not enabled"),
        ({"UnitFileState": ""}, f"{_UNIT} is not enabled"),
    ],
)
def test_state_faults(state: dict[str, str], fault: str) -> None:
    """Every wrong state is reported."""
    assert list(_MODULE.state_faults(_UNIT, {**_RUNNING, **state})) == [fault]


def test_verify_output_about_the_unit() -> None:
    """A line of `systemd-analyze verify` is a fault only if it is about the unit."""
    output = "/etc/systemd/system/frota-example@.service:9: Unknown key 'Typ'\n/etc/systemd/system/other.service:1: x\n"
    assert _MODULE.verify_faults(_UNIT, output) == output.splitlines()[:1]


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        ("\u2192 Overall exposure level for frota-example@left.service: 1.4 OK \U0001f642", ""),
        (
            "\u2192 Overall exposure level for frota-example@left.service: 1.5 OK",
            "has the exposure level 1.5: expected at most 1.4",
        ),
        ("Failed to load", "has the exposure level unknown: expected at most 1.4"),
    ],
)
def test_exposure_limit(output: str, fault: str) -> None:
    """An exposure level that is unknown or above the limit is a fault."""
    assert _MODULE.exposure_fault(_UNIT, output, 1.4) == (f"{_UNIT} {fault}" if fault else "")


def test_unhealthy_service() -> None:
    """A service must answer GET /healthz and GET /metrics with 200 and the whole body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path != broken or is_whole else 503)
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"ok\n" if self.path != broken else b"")

        def log_message(self, *_: object) -> None:
            pass

    broken, is_whole = "", True
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        address = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert _MODULE.health_faults(address) == []
        broken = "/metrics"
        [message] = _MODULE.health_faults(address)
        assert message.startswith(f"GET http://{address}/metrics: IncompleteRead")
        broken, is_whole = "/healthz", False
        [message] = _MODULE.health_faults(address)
        assert message.startswith(f"GET http://{address}/healthz: HTTP Error 503")
        server.shutdown()
    assert all("Connection refused" in message for message in _MODULE.health_faults(address))


def test_properties_by_unit() -> None:
    """Properties are parsed by unit."""
    output = "Id=a.service\nActiveState=active\n\nId=b@c.service\nActiveState=inactive\nX=a=b\n"
    assert systemd_units.parse_properties(output) == {
        "a.service": {"Id": "a.service", "ActiveState": "active"},
        "b@c.service": {"Id": "b@c.service", "ActiveState": "inactive", "X": "a=b"},
    }
