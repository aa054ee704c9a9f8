"""The agent's metrics, in its own loop."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import TIMEOUT_S, read_all, reserved_port, start_frota, until
from support.agent import FakeServer
from support.prometheus import exchange, get, scrape

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def agent(folder: Path, server_port: int, *flags: object) -> Iterator[int]:
    """Run an agent; give the port of its metrics."""
    with reserved_port() as port:
        words = ["cpu", "agent", "--port", server_port, "--state-dir", folder, "--name", "web-1", "--interval", 0.1]
        process = start_frota(*words, "--metrics-port", port, *flags, stderr=subprocess.DEVNULL)
        until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "the metrics port does not listen")
        try:
            yield port
        finally:
            process.terminate()
            assert process.wait(TIMEOUT_S) == 0


def test_metrics_of_an_agent(tmp_path: Path) -> None:
    """Samples taken, delivered and waiting are shown, and whether a server accepts them."""
    with FakeServer() as server, agent(tmp_path, server.port) as port:
        assert scrape(port)["frota_cpu_agent_connected"] == 0
        peer = server.accept()
        peer.hello()
        peer.sample(ack=True)
        until(lambda: scrape(port)["frota_cpu_agent_samples_delivered_total"] == 1, "nothing is delivered")
        until(lambda: scrape(port)["frota_cpu_agent_spool_samples"] > 2, "nothing waits")
        samples = scrape(port)
        assert get(port, "/healthz").content == "ok\n"
    assert samples["frota_cpu_agent_connected"] == 1
    assert samples["frota_cpu_agent_samples_total"] > 2
    assert samples["frota_cpu_agent_samples_dropped_total"] == 0
    assert samples["process_resident_memory_bytes"] > 0


def test_full_spool_is_counted(tmp_path: Path) -> None:
    """Samples that a full spool drops are counted."""
    with reserved_port() as unused_port, agent(tmp_path, unused_port, "--spool-samples", 2) as port:
        until(lambda: scrape(port)["frota_cpu_agent_samples_dropped_total"] > 1, "nothing is dropped")
        assert scrape(port)["frota_cpu_agent_spool_samples"] == 2


def test_legacy_agent_has_no_spool(tmp_path: Path) -> None:
    """An agent of the legacy protocol shows the samples that it takes."""
    with reserved_port() as unused_port, agent(tmp_path, unused_port, "--protocol", "original") as port:
        until(lambda: scrape(port)["frota_cpu_agent_samples_total"] > 1, "no sample is taken")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"GET /metrics HTTP/9.9\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nno header\r\n\r\n", b"400"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 8187, b"400"),
    ],
)
def test_other_requests_of_an_agent(tmp_path: Path, request_: bytes, status: bytes) -> None:
    """Other paths are 404, other methods 405, malformed and oversized requests 400; the agent goes on."""
    with reserved_port() as unused_port, agent(tmp_path, unused_port) as port:
        assert exchange(port, request_).split(b" ", 2)[1] == status
        assert exchange(port, GET).startswith(b"HTTP/1.1 200 OK")
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(GET[:20])
            half.shutdown(socket.SHUT_WR)
            assert read_all(half).startswith(b"HTTP/1.1 400")


def test_idle_connections_do_not_delay_samples(tmp_path: Path) -> None:
    """Connections without a request are closed one after the other; samples are taken all the same."""
    with reserved_port() as unused_port, agent(tmp_path, unused_port) as port:
        before = scrape(port)["frota_cpu_agent_samples_total"]
        idle = [socket.create_connection(("127.0.0.1", port), TIMEOUT_S) for _ in range(2)]
        idle[0].sendall(GET[:9])
        assert [read_all(connection) for connection in idle] == [b"", b""]
        assert scrape(port)["frota_cpu_agent_samples_total"] >= before + 20
