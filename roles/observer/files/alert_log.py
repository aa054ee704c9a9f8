"""Log the alerts of Alertmanager: each that fires or is resolved becomes a record of the journal. Listens on loopback.

Uses nothing but the host's Python, so that an alert about a release is logged whatever state the release is in.
"""

import json
import socket
import struct
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

JOURNAL = "/run/systemd/journal/socket"
MAX_BODY_BYTES = 4_000_000
REQUEST_TIMEOUT_S = 10
# Syslog's priorities: error, warning, and notice for what is over.
PRIORITIES, RESOLVED_PRIORITY = {"page": 3}, 5
OTHER_PRIORITY = 4


def fields_of(alert: dict[str, Any]) -> dict[str, str]:
    """Return the fields of the record about an alert. Raises KeyError if it is not one of Alertmanager's."""
    labels, texts = alert["labels"], alert.get("annotations", {})
    fires = alert["status"] == "firing"
    state = "fires" if fires else "is resolved"
    summary, action = texts.get("summary", ""), texts.get("action", "")
    priority = PRIORITIES.get(labels.get("severity", ""), OTHER_PRIORITY) if fires else RESOLVED_PRIORITY
    return {
        "MESSAGE": f"Alert {labels['alertname']} {state}: {summary}"
        + (f". Next: {action}" if fires and action else ""),
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": "alert-log",
        "FROTA_SYSTEM": "observer",
        "FROTA_EVENT": "alert_fired" if fires else "alert_resolved",
        "ALERT": labels["alertname"],
        "HOST": labels.get("host", ""),
        "UNIT": labels.get("unit", ""),
    }


def encode(fields: dict[str, str]) -> bytes:
    """Return fields in journald's native format, with their lengths, so that no value can become a further field."""
    encoded = ((name.encode(), value.encode()) for name, value in fields.items())
    return b"".join(name + b"\n" + struct.pack("<Q", len(value)) + value + b"\n" for name, value in encoded)


class Handler(BaseHTTPRequestHandler):
    """Accepts the webhook of Alertmanager."""

    timeout = REQUEST_TIMEOUT_S

    def do_POST(self) -> None:
        """Log every alert of the request."""
        try:
            records = [encode(fields_of(alert)) for alert in json.loads(self._body())["alerts"]]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self.send_error(400, f"not a request of Alertmanager: {type(error).__name__}")
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            for record in records:
                journal.sendto(record, JOURNAL)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self) -> bytes:
        """Return the body of the request. Raises ValueError or TypeError if it has no length, or too great a one."""
        length = int(self.headers["Content-Length"])
        if not 0 <= length <= MAX_BODY_BYTES:
            raise ValueError(length)
        return self.rfile.read(length)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
        """Log no line for each request."""


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
