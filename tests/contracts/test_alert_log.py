"""The log of alerts: requests of Alertmanager become records of the journal, anything else is rejected."""

import importlib.util
import json
import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest

from .checkout import ROOT

_SPEC = importlib.util.spec_from_file_location("alert_log", ROOT / "roles" / "observer" / "files" / "alert_log.py")
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)
_ALERT: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "UnitDown", "severity": "page", "host": "list-server", "unit": "frota-list-server"},
    "annotations": {"summary": "frota-list-server on list-server does not respond", "action": "frota status"},
}


class Log:
    """A running log of alerts, and the journal that it writes to."""

    def __init__(self, port: int, journal: socket.socket) -> None:
        self._url, self._journal = f"http://127.0.0.1:{port}/", journal

    def post(self, body: bytes) -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(self._url, body), timeout=30) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code

    def record(self) -> dict[str, str]:
        """Return the fields of the next record, as journald reads them."""
        data, fields = self._journal.recv(100_000), {}
        while data:
            name, _, data = data.partition(b"\n")
            (length,) = struct.unpack("<Q", data[:8])
            fields[name.decode()], data = data[8 : 8 + length].decode(), data[9 + length :]
        return fields


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """Give a log of alerts on a port of its own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        journal.settimeout(30)
        monkeypatch.setattr(_MODULE, "JOURNAL", str(tmp_path / "journal"))
        server = HTTPServer(("127.0.0.1", 0), _MODULE.Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Log(server.server_port, journal)
        server.shutdown()
        thread.join()
        server.server_close()


def test_alert_is_a_record(log: Log) -> None:
    """An alert that fires is a record with its fields; that it is resolved is another one."""
    assert log.post(json.dumps({"alerts": [_ALERT, {**_ALERT, "status": "resolved"}]}).encode()) == 200
    assert log.record() == {
        "MESSAGE": "Alert UnitDown fires: frota-list-server on list-server does not respond. Next: frota status",
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "alert-log",
        "FROTA_SYSTEM": "observer",
        "FROTA_EVENT": "alert_fired",
        "ALERT": "UnitDown",
        "HOST": "list-server",
        "UNIT": "frota-list-server",
    }
    resolved = log.record()
    assert (resolved["FROTA_EVENT"], resolved["PRIORITY"]) == ("alert_resolved", "5")


def test_alert_cannot_forge_a_field(log: Log) -> None:
    """A line break in a label stays in its field."""
    labels = {**_ALERT["labels"], "host": "x\nFROTA_FORGED=1"}
    assert log.post(json.dumps({"alerts": [{**_ALERT, "labels": labels}]}).encode()) == 200
    record = log.record()
    assert record["HOST"] == "x\nFROTA_FORGED=1"
    assert "FROTA_FORGED" not in record


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"alerts": [1]}', b'{"alerts": [{"labels": {}}]}', b"\xff"])
def test_malformed_request_is_rejected(log: Log, body: bytes) -> None:
    """What is no request of Alertmanager is rejected, and the log goes on."""
    assert log.post(body) == 400
    assert log.post(json.dumps({"alerts": [_ALERT]}).encode()) == 200
    assert log.record()["ALERT"] == "UnitDown"
