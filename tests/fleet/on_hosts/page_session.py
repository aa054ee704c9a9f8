"""A session of an operator on the page: appends to the list, sends an image, and sees both, as a browser would.

    python3 page_session.py VALUE <PASSWORD

Prints what it saw as one JSON object: the hosts in the trace of the image, and the status of a change without the
session's CSRF token.
"""

import http.client
import json
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from typing import Any

_TIMEOUT_S = 60


class Page:
    """The page, for one user."""

    def __init__(self) -> None:
        self._headers: dict[str, str] = {}

    def log_in(self, name: str, password: str) -> None:
        """Log in, and use the session from now on."""
        response, data = self._exchange("POST", "/api/login", json.dumps({"name": name, "password": password}))
        assert response.status == 200, data
        self._headers["cookie"] = str(response.headers["set-cookie"]).partition(";")[0]
        self._headers["x-csrf-token"] = json.loads(data)["csrf"]

    def forget_token(self) -> None:
        """Send no CSRF token from now on, as a page of another site would."""
        del self._headers["x-csrf-token"]

    def get(self, path: str) -> tuple[int, bytes]:
        """Return the status and the content."""
        response, data = self._exchange("GET", path)
        return response.status, data

    def post(self, path: str, content: str | bytes, name: str = "") -> tuple[int, dict[str, Any]]:
        """Send JSON, or a file with its name; return the status and the answer."""
        response, data = self._exchange("POST", path, content, {"x-file-name": name} if name else {})
        return response.status, dict(json.loads(data))

    def events(self, topics: str) -> Iterator[str]:
        """Yield the JSON of each event of these topics."""
        connection = http.client.HTTPConnection("localhost", 8080, timeout=_TIMEOUT_S)
        connection.request("GET", f"/events?topics={topics}", headers=self._headers)
        for line in connection.getresponse():
            if line.startswith(b"data: "):
                yield line.removeprefix(b"data: ").decode()

    def _exchange(
        self, method: str, path: str, body: str | bytes | None = None, more: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        kind = {"content-type": "application/json"} if isinstance(body, str) else {}
        connection = http.client.HTTPConnection("localhost", 8080, timeout=_TIMEOUT_S)
        connection.request(method, path, body, {**self._headers, **kind, **(more or {})})
        response = connection.getresponse()
        return response, response.read()


def png() -> bytes:
    """Return a red image of 64 by 64 points."""
    header, rows = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0), (b"\0" + b"\xff\0\0" * 64) * 64
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return bytes(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def wait_for(events: Iterator[str], *texts: str) -> None:
    """Read events until one has all of these texts."""
    deadline = time.monotonic() + _TIMEOUT_S
    for event in events:
        if all(text in event for text in texts):
            return
        assert time.monotonic() < deadline, f"{texts} are not shown; the last event: {event}"


def hosts_of_trace(page: Page, trace: str) -> list[str]:
    """Return the hosts of a trace once a worker is one of them: journals arrive after a second or two."""
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        status, data = page.get(f"/api/trace/{trace}")
        hosts = {record["host"] for record in json.loads(data)["records"]} if status == 200 else set()
        if any(host.startswith("image-worker") for host in hosts) or time.monotonic() > deadline:
            return sorted(hosts)
        time.sleep(0.3)


def main() -> None:
    """Act, and print what was seen."""
    value, page = sys.argv[1], Page()
    page.log_in("operator", sys.stdin.readline().rstrip("\n"))
    events = page.events("list,images")
    status, answer = page.post("/api/list", json.dumps({"op": "append", "value": value}))
    assert status == 200, answer
    wait_for(events, value)
    status, image = page.post("/api/images", png(), f"{value}.png")
    assert status == 202, image
    wait_for(events, image["id"], '"done"')
    hosts = hosts_of_trace(page, image["trace"])
    page.forget_token()
    forged, _ = page.post("/api/list", json.dumps({"op": "append", "value": "forged"}))
    print(json.dumps({"hosts": hosts, "forged": forged}))


if __name__ == "__main__":
    main()
