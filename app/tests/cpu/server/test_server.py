"""The metrics' server as a process, with agents and viewers."""

import json
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from support import TIMEOUT_S, read_all, reserved_port, until
from support.metrics import RUN, SAMPLE, TEXT, MetricsServer, metrics_server
from support.prometheus import get, scrape


def test_native_sample_is_acknowledged(running: MetricsServer) -> None:
    """A native sample is acknowledged and shown as it was measured."""
    with running.agent() as agent:
        assert agent.last == 0
        agent.send(1)
        agent.wait(1)
        host = running.hosts()["web-1"]
    assert host["state"] == "connected"
    assert (host["samples"], host["missing"], host["means"]) == (1, 0, [22.9])
    assert host["sample"] == {
        name: value._asdict() if hasattr(value, "_asdict") else list(value) if isinstance(value, tuple) else value
        for name, value in SAMPLE._asdict().items()
    }


def test_legacy_agent_gets_no_answer(running: MetricsServer) -> None:
    """A legacy agent is known by its address and receives nothing."""
    with running.connect() as agent:
        agent.sendall(TEXT)
        host = until(lambda: running.hosts().get("127.0.0.1"), "the host is not there")
        assert (host["dialect"], host["sample"]) == ("original", {"cpu": [37.3, 31.5, 0.0], "mean": 22.9})
        agent.shutdown(socket.SHUT_WR)
        assert read_all(agent) == b""
    assert "[NOVA CONEXÃO] Cliente ('127.0.0.1', " in running.log()
    assert "[STATUS] Clientes conectados: 1" in running.log()


@pytest.mark.parametrize(
    ("pieces", "count"),
    [
        ([TEXT + TEXT], 2),
        ([TEXT[:9], TEXT[9:] + TEXT[:30], TEXT[30:]], 2),
        ([bytes([byte]) for byte in TEXT], 1),
        ([f"CPU -> Núcleos: {[99.9] * 200} | Média: 99.9%".encode()], 1),
        ([b"\x00\xff%" + TEXT], 1),
        ([b"CPU -> nonsense 100%" + TEXT + b"noise" + TEXT], 2),
    ],
    ids=["two in one packet", "split", "byte by byte", "200 cores", "binary before", "noise between"],
)
def test_legacy_messages_in_any_packets(running: MetricsServer, pieces: list[bytes], count: int) -> None:
    """Legacy messages are separated in whichever packets they arrive."""
    with running.connect() as agent:
        agent.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        agent.sendall(TEXT)  # makes it a legacy agent, whatever follows
        for piece in pieces:
            agent.sendall(piece)
        until(lambda: running.hosts().get("127.0.0.1", {}).get("samples", 0) > count, "not as many samples")
        assert running.hosts()["127.0.0.1"]["samples"] == 1 + count


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00\x01\x02binary\n", "mensagem inv"),
        (b"{not json}\n", "mensagem inv"),
        (b'{"frota": 2, "n": 1}\n', "mensagem inv"),
        (b'{"frota": 1, "n": 1, "cpu": [1.0], "mean": 1.0}\n', "deve ser hello"),
        (b'{"frota": 1, "hello": {"host": "../x", "run": "%b", "interval": 5}}\n' % RUN.encode(), "hello inv"),
        (b'{"frota": 1, "hello": {"host": "a", "run": "%b", "interval": -5}}\n' % RUN.encode(), "hello inv"),
        (b'{"frota": 1, "ask": "history", "host": "nobody"}\n', "host desconhecido"),
        (b'{"frota": 1, "ask": "history", "host": "%b"}\n' % (b"x" * 261), "mensagem inv"),
        (b'{"frota": 1, "ask": "history", "host": ["a"]}\n', "mensagem inv"),
        (b"{" + b"x" * 70_000, "longa demais"),
    ],
)
def test_malformed_message_ends_the_connection(running: MetricsServer, data: bytes, reason: str) -> None:
    """A malformed message is answered with the reason, ends its connection, and no other."""
    with running.agent() as bystander:
        answer = json.loads(running.request(data))
        assert reason in answer["error"]
        bystander.send(1)
        bystander.wait(1)


@pytest.mark.parametrize(
    "change",
    [
        {"n": 0}, {"n": 1.5}, {"n": 2**60}, {"n": 2**53}, {"n": True}, {"cpu": []}, {"cpu": [101]}, {"cpu": [-1]},
        {"cpu": ["1"]}, {"cpu": [1.0] * 5000}, {"mean": None}, {"load": [1]}, {"memory": []}, {"memory": {"total": 1}},
        {"age": -1}, {"disk": {"total": 2**64, "used": 0, "read": 0, "write": 0}}, {"own": {"cpu": "x", "memory": 1}},
    ],
)  # fmt: skip
def test_invalid_sample_is_rejected(running: MetricsServer, change: dict[str, Any]) -> None:
    """A sample with a value out of range or of the wrong type is rejected."""
    with running.agent() as agent:
        sample = json.loads(SAMPLE.native(1, 0.0)) | change
        agent.connection.sendall(json.dumps(sample).encode() + b"\n")
        assert "inválida" in agent.receive()["error"]
    assert running.hosts()["web-1"]["samples"] == 0


def test_gaps_and_duplicates_are_counted(
    running: MetricsServer,
) -> None:
    """Missing numbers are counted as gaps; repeated ones are stored once."""
    with running.agent() as agent:
        agent.send(1, 2, 5, 3, 5, 6)
        agent.wait(6)
    host = running.hosts()["web-1"]
    assert (host["samples"], host["missing"], host["duplicates"]) == (4, 2, 2)
    assert running.numbers("web-1") == [1, 2, 5, 6]


def test_kill_loses_no_acknowledged_sample(running: MetricsServer) -> None:
    """Acknowledged samples survive a kill; an agent sends the others again."""
    agent = running.agent()
    agent.send(*range(1, 201))
    agent.wait(200)
    agent.send(202)
    running.kill()
    running.start()
    with running.agent() as second_agent:
        assert second_agent.last in (200, 202)
        second_agent.send(*range(second_agent.last + 1, 301))
        second_agent.wait(300)
    assert [number for number in running.numbers("web-1") if number != 201] == [*range(1, 201), *range(202, 301)]
    host = running.hosts()["web-1"]
    assert host["samples"] + host["missing"] == 300
    assert host["state"] == "away"


def test_history_is_trimmed(tmp_path: Path) -> None:
    """The history of a host keeps its newest CPU_HISTORY_SAMPLES samples."""
    with (
        metrics_server(tmp_path, "--history-samples", 120, "--samples-per-second", 10_000) as server,
        server.agent() as agent,
    ):
        agent.send(*range(1, 2001))
        agent.wait(2000)
        numbers = server.numbers("web-1")
        assert numbers == list(range(numbers[0], 2001))
        assert 120 <= len(numbers) <= 240


def test_history_respects_the_time_span(running: MetricsServer) -> None:
    """A query for some seconds gets the samples of those seconds."""
    with running.agent() as agent:
        for number in range(1, 101):
            agent.send(number, age=1000.0 - 10 * number)
        agent.wait(100)
    lines = running.query(ask="history", host="web-1", seconds=255)
    assert [number for line in lines for number in line["number"]] == list(range(75, 101))
    assert lines[-1]["mean"][-1] == 22.9
    assert lines[-1]["cpu"][-1] == [37.3, 31.5, 0.0]


def test_late_sample_is_dated_by_its_age(running: MetricsServer) -> None:
    """A late sample is dated by its age and the server's clock."""
    with running.agent() as agent:
        agent.send(1, age=3600.0)
        agent.wait(1)
    sample_time = running.query(ask="history", host="web-1", seconds=7200)[0]["time"][0]
    assert 3590 < time.time() - sample_time < 3600 + TIMEOUT_S


def test_silent_host_is_stale_then_away(tmp_path: Path) -> None:
    """A silent host becomes stale; later its connection is closed."""
    with (
        metrics_server(tmp_path, "--stale-intervals", 2, "--dead-intervals", 20) as server,
        server.agent(interval=0.2) as agent,
    ):
        agent.send(1)
        until(lambda: server.hosts()["web-1"]["state"] == "stale", "it is not stale")
        agent.send(2)
        until(lambda: server.hosts()["web-1"]["state"] == "connected", "it is still stale")
        until(lambda: server.hosts()["web-1"]["state"] == "away", "it is still connected")
        assert "sent nothing for 4 s; connection closed" in server.log()


def test_flooding_agent_is_rate_limited(tmp_path: Path) -> None:
    """A flooding agent is read at the rate limit while others are served."""
    with (
        metrics_server(tmp_path, "--samples-per-second", 50) as server,
        server.agent("flood") as flood,
        server.agent("calm") as calm,
    ):
        flood.connection.setblocking(False)
        flooding = b"".join(SAMPLE.native(number, 0.0) for number in range(1, 20_001))
        sent = flood.connection.send(flooding)
        for number in range(1, 6):
            calm.send(number)
            calm.wait(number)
        hosts = server.hosts()
        assert sent > 50 * len(SAMPLE.native(1, 0.0))
        assert 0 < hosts["flood"]["samples"] < 20_000
        assert hosts["calm"]["samples"] == 5
        server.wait_for("exceeds the rate limit of samples")
        assert server.metrics()["frota_cpu_server_rate_limited_total"] >= 1


def test_metrics_of_every_host(running: MetricsServer) -> None:
    """GET /metrics has the metrics of every host."""
    with running.agent() as agent:
        agent.send(1, 3)
        agent.wait(3)
        samples = running.metrics()
    assert samples['frota_cpu_up{host="web-1"}'] == 1
    assert samples['frota_cpu_core_busy_ratio{host="web-1",core="0"}'] == pytest.approx(0.373)
    assert samples['frota_cpu_busy_ratio{host="web-1"}'] == pytest.approx(0.229)
    assert samples['frota_cpu_missing_samples_total{host="web-1"}'] == 1
    assert samples['frota_cpu_memory_bytes{host="web-1",kind="available"}'] == 5 << 30
    assert samples['frota_cpu_disk_bytes_per_second{host="web-1",direction="read"}'] == 1234
    assert samples['frota_cpu_network_faults_per_second{host="web-1",kind="drops"}'] == 0.25
    assert samples['frota_cpu_server_hosts{state="connected"}'] == 1


def test_metrics_at_a_port_of_their_own(tmp_path: Path) -> None:
    """The same metrics, and the server's health, are at a port that serves no agents."""
    with reserved_port() as port, metrics_server(tmp_path, "--metrics-port", port) as server, server.agent() as agent:
        agent.send(1, 3)
        agent.wait(3)
        samples = scrape(port)
        assert samples.keys() == server.metrics().keys()
        assert get(port, "/healthz").content == "ok\n"
        assert server.request(b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 404")
    assert samples['frota_cpu_samples_total{host="web-1"}'] == 2
    assert samples["frota_cpu_server_agents"] == 1
    assert samples["frota_cpu_server_commits_total"] >= 1
    assert samples["frota_cpu_server_commit_seconds_total"] > 0


def test_other_http_requests(running: MetricsServer) -> None:
    """Other paths get 404, malformed requests 400."""
    assert running.request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 404")
    assert running.request(b"GET / HTTP/9.9\r\nHost\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_limits_of_connections_and_hosts(tmp_path: Path) -> None:
    """Connections and hosts above their limits are rejected with the reason."""
    with metrics_server(tmp_path, "--max-hosts", 1, "--max-connections", 2) as server, server.agent() as agent:
        with server.connect() as other, other.makefile("rb") as lines:
            other.sendall(b'{"frota": 1, "hello": {"host": "b", "run": "%b", "interval": 5}}\n' % RUN.encode())
            assert "cheio" in json.loads(lines.readline())["error"]
        until(lambda: "web-1" in server.hosts(), "the place is not free again")
        with server.connect(), server.connect() as third:
            assert b"cheio" in read_all(third)
        agent.send(1)
        agent.wait(1)


def test_reload_applies_live_settings(tmp_path: Path) -> None:
    """SIGHUP applies the settings that may change live."""
    env = tmp_path / "env"
    env.write_text("CPU_THRESHOLDS=cpu:90:75\n", encoding="utf-8")
    with metrics_server(tmp_path, "--env-file", env, "--threshold-samples", 1) as server, server.agent() as agent:
        env.write_text("CPU_THRESHOLDS=cpu:20:10\n", encoding="utf-8")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("configuration reloaded")
        agent.send(1)
        assert server.wait_for("web-1: cpu is at 22.9 %")


def test_stop_writes_and_acknowledges(tmp_path: Path) -> None:
    """SIGTERM writes and acknowledges what was received."""
    server = MetricsServer(tmp_path, "--commit-seconds", 10)
    connection = server.connect()
    connection.sendall(b'{"frota": 1, "hello": {"host": "a", "run": "%b", "interval": 5}}\n' % RUN.encode())
    connection.sendall(SAMPLE.native(1, 0.0))
    until(lambda: server.hosts().get("a", {}).get("samples") == 1, "it did not come")
    assert server.stop() == 0
    assert read_all(connection) == b'{"frota":1,"last":1}\n'
    connection.close()
    server.start()
    assert server.numbers("a") == [1]
    assert server.stop() == 0


def test_unreadable_history_is_reported(tmp_path: Path) -> None:
    """A history that cannot be opened is reported with what to do."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "history.sqlite").write_text("this is no database, and never was one " * 30, encoding="utf-8")
    with pytest.raises(AssertionError, match=r"history.sqlite: file is not a database; repair the file, or remove it"):
        MetricsServer(tmp_path)
