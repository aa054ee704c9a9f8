"""The module `unit_health` without a host: what it reads from systemd's own words, and what it calls a fault."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from .modules import load, systemd_units

_MODULE = load("unit_health")
_UNIT = "frota-example@left.service"
_RUNNING = {"ActiveState": "active", "SubState": "running", "UnitFileState": "enabled"}


def test_a_unit_that_runs_and_starts_at_boot_has_no_fault() -> None:
    assert list(_MODULE.state_faults(_UNIT, _RUNNING)) == []


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ({"ActiveState": "activating", "SubState": "auto-restart"}, f"{_UNIT} is not active: auto-restart"),
        ({"UnitFileState": "disabled"}, f"{_UNIT} is not enabled"),
        ({"UnitFileState": ""}, f"{_UNIT} is not enabled"),
    ],
)
def test_each_wrong_state_is_a_sentence(state: dict[str, str], fault: str) -> None:
    assert list(_MODULE.state_faults(_UNIT, {**_RUNNING, **state})) == [fault]


def test_a_line_about_the_unit_is_a_fault_of_its_form_and_one_about_another_is_not() -> None:
    said = "/etc/systemd/system/frota-example@.service:9: Unknown key 'Typ'\n/etc/systemd/system/other.service:1: x\n"
    assert _MODULE.form_faults(_UNIT, said) == said.splitlines()[:1]


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("\u2192 Overall exposure level for frota-example@left.service: 1.4 OK \U0001f642", ""),
        (
            "\u2192 Overall exposure level for frota-example@left.service: 1.5 OK",
            "has the exposure level 1.5: expected at most 1.4",
        ),
        ("Failed to load", "has the exposure level unknown: expected at most 1.4"),
    ],
)
def test_an_exposure_above_the_limit_or_unknown_is_a_fault(said: str, fault: str) -> None:
    assert _MODULE.exposure_fault(_UNIT, said, 1.4) == (f"{_UNIT} {fault}" if fault else "")


def test_a_service_that_does_not_say_that_it_is_healthy_is_a_fault() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(200 if self.path == "/healthz" and healthy else 503)

        def log_message(self, *_: object) -> None:
            pass

    healthy = True
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        address = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert _MODULE.health_fault(address) == ""
        healthy = False
        assert _MODULE.health_fault(address).startswith(f"GET http://{address}/healthz: HTTP Error 503")
        server.shutdown()
    assert "Connection refused" in _MODULE.health_fault(address)


def test_properties_are_read_unit_by_unit() -> None:
    shown = "Id=a.service\nActiveState=active\n\nId=b@c.service\nActiveState=inactive\nX=a=b\n"
    assert systemd_units.read_properties(shown) == {
        "a.service": {"Id": "a.service", "ActiveState": "active"},
        "b@c.service": {"Id": "b@c.service", "ActiveState": "inactive", "X": "a=b"},
    }
