"""Server, clients and viewers over IPv6."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from frota.sensors.client.client import SensorClient
from frota.sensors.readings import Query
from frota.sensors.settings import ClientSettings
from frota.sensors.viewer.query import request
from support import READING, RESPONSE, TIMEOUT_S, Server, output, read_exactly, server, serving, start_frota


def simulate(folder: Path, host: str, port: int) -> None:
    """Deliver one reading by the client that is ours."""
    flags = ("--host", host, "--port", port, "--state-dir", folder, "--count", 1, "--interval", 0.01)
    sensor = start_frota("sensors", "simulate", "humidity", *flags, stderr=-1)
    _, errors = sensor.communicate(timeout=TIMEOUT_S)
    assert sensor.returncode == 0, errors.decode()


def send(running: Server, host: str) -> None:
    """Deliver one reading as a legacy client does."""
    with socket.create_connection((host, running.port), TIMEOUT_S) as connection:
        connection.sendall(READING)
        assert read_exactly(connection, len(RESPONSE)) == RESPONSE


@pytest.mark.parametrize("host", ["::1", "[::1]", "::"])
def test_everything_works_over_ipv6(tmp_path: Path, host: str) -> None:
    """Clients and viewers work over IPv6."""
    with server(tmp_path, "--host", host) as running:
        send(running, "::1")
        simulate(tmp_path / "sensor", "::1", running.port)
        for spelling in ("::1", "[::1]"):
            lines = output("sensors", "history", "--json", "--host", spelling, "--port", running.port).splitlines()
            assert [json.loads(line)["sensor"] for line in lines] == ["Sensor1", "Sensor2"]
            assert all(json.loads(line)["peer"].startswith("[::1]:") for line in lines)
        tail = start_frota("sensors", "tail", "--host", "::1", "--port", running.port, "--last", 0, "--json", stdout=-1)
        running.wait_for("Conexões ativas: 1")
        assert tail.stdout
        send(running, "::1")
        tail.terminate()
        tail.communicate(timeout=TIMEOUT_S)
        assert "Nova conexão de ('::1', " in running.log()


def test_dual_stack_shows_ipv4_addresses(tmp_path: Path) -> None:
    """A server on :: serves IPv4 clients, shown by their plain addresses."""
    with server(tmp_path, "--host", "::") as running:
        send(running, "127.0.0.1")
        send(running, "::1")
        peers = [reading["peer"].rpartition(":")[0] for reading in running.stored_readings()]
        assert peers == ["127.0.0.1", "[::1]"]
        running.wait_for(r"Nova conexão de \('127.0.0.1', ")


def test_mapped_address_is_served(tmp_path: Path) -> None:
    """A server on an IPv4-mapped IPv6 address serves the IPv4 address."""
    with server(tmp_path, "--host", "::ffff:127.0.0.1") as running:
        send(running, "127.0.0.1")
        assert running.stored_readings()[0]["peer"].startswith("127.0.0.1:")


def test_unavailable_ipv6_server_is_named(tmp_path: Path) -> None:
    """A client without a server logs its IPv6 address in brackets."""
    flags = ("--host", "::1", "--port", 1, "--state-dir", tmp_path, "--max-backoff", 0.01)
    sensor = start_frota("sensors", "simulate", "humidity", *flags, stderr=-1)
    assert sensor.stderr
    assert any("[::1]:1: " in line.decode() for line in sensor.stderr)
    sensor.terminate()
    sensor.communicate(timeout=TIMEOUT_S)


def test_name_with_only_an_ipv6_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients and viewers reach a server whose name has no IPv4 address."""
    resolve = socket.getaddrinfo

    def only_ipv6(host: Any, port: Any, family: int = 0, *args: Any, **named: Any) -> Any:
        if host == "sensors.example":
            host = "::1" if family != socket.AF_INET else "no such host"
        return resolve(host, port, family, *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", only_ipv6)

    async def live() -> list[dict[str, Any]]:
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        async with serving(tmp_path / "state", host="sensors.example") as (_, port):
            where = ("sensors.example", port)
            config = ClientSettings(*where, sensor="S", label="Umidade", unit="%", count=1)
            client = SensorClient(config, tmp_path / "sensor", ended.set_result)
            await client.start()
            assert await asyncio.wait_for(ended, TIMEOUT_S) == 0
            await client.stop()
            readings = request("sensors.example", port, "history", Query(), print)
            return await asyncio.to_thread(list, readings)

    (reading,) = asyncio.run(live())
    assert reading["sensor"] == "S"
    assert reading["peer"].startswith("[::1]:")
