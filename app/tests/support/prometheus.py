"""Reads metrics as Prometheus does, and checks them more strictly than it."""

import re
import socket
from typing import NamedTuple

from support import TIMEOUT_S, read_all, until

_HELP = re.compile(r"# HELP (\S+) (\S.*\.)")
_TYPE = re.compile(r"# TYPE (\S+) (counter|gauge)")
_LABEL = r'[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"'
_SAMPLE = re.compile(rf"([a-z][a-z0-9_]*)(\{{{_LABEL}(?:,{_LABEL})*\}})? (\S+)")


class Answer(NamedTuple):
    """An HTTP response: its status line, its header and its content, chunks joined."""

    status: str
    header: str
    content: str


def get(port: int, path: str = "/metrics") -> Answer:
    """Send a request of HTTP/1.0, which is answered without chunks."""
    return parse_answer(exchange(port, f"GET {path} HTTP/1.0\r\n\r\n".encode()))


def exchange(port: int, request: bytes) -> bytes:
    """Send bytes over a new connection; return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.sendall(request)
        return read_all(connection)


def parse_answer(data: bytes) -> Answer:
    """Split a response."""
    head, _, content = data.decode().partition("\r\n\r\n")
    status, _, header = head.partition("\r\n")
    return Answer(status, header, content)


def collect(port: int) -> str:
    """Return the text of a service's metrics, once it responds."""

    def listening() -> Answer | None:
        try:
            answer = get(port)
        except ConnectionRefusedError:
            return None
        return answer if answer.status.startswith("HTTP/1.1 200 ") else None  # 503 among many, "" without a descriptor

    answer: Answer = until(listening, f"no metrics at {port}")
    assert "content-type: text/plain; version=0.0.4; charset=utf-8" in answer.header.lower()
    return answer.content


def scrape(port: int) -> dict[str, float]:
    """Return the values of a service's metrics, once it responds; every rule of the format is checked."""
    return parse(collect(port))


def parse(text: str) -> dict[str, float]:
    """Return the value of each sample by its name with labels. Fails for what Prometheus rejects."""
    assert text.endswith("\n")
    values: dict[str, float] = {}
    lines = text.splitlines()
    families: set[str] = set()
    while lines:
        help_, type_ = _HELP.fullmatch(lines.pop(0)), _TYPE.fullmatch(lines.pop(0))
        assert help_
        assert type_
        name = type_[1]
        assert help_[1] == name
        assert name not in families, f"{name} twice"
        assert (type_[2] == "counter") == name.endswith("_total"), name
        assert name.startswith(("frota_", "process_")), name
        families.add(name)
        while lines and not lines[0].startswith("#"):
            sample = _SAMPLE.fullmatch(lines.pop(0))
            assert sample
            assert sample[1] == name
            key = sample[1] + (sample[2] or "")
            assert key not in values, f"{key} twice"
            values[key] = float(sample[3])
    return values
