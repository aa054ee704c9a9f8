"""IPv6: server, agents, viewers and collectors, by address, in brackets and by name."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from frota.core.settings import SettingsError
from frota.core.settings import read as read_settings
from frota.cpu.agent.spool import Spool
from frota.cpu.agent.uplink import Uplink
from frota.cpu.messages import hello
from frota.cpu.settings import PREFIX, AgentSettings, ServerSettings
from frota.cpu.viewer.query import Client
from support import TIMEOUT_S, output, run_frota, start_frota, until
from support.metrics import RUN, SAMPLE, TEXT, in_process_server, run


def ask(*words: object) -> list[dict[str, object]]:
    """Return what a viewer's command prints."""
    return [json.loads(line) for line in output("cpu", *words, "--json").splitlines()]


def measured(where: str) -> int:
    """Return how many hosts a server has samples of."""
    return sum(bool(host["samples"]) for host in ask("top", "--once", "--host", where))


@pytest.fixture(params=["::1", "[::1]", "::"])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> int:
    """Give the port of a server on IPv6."""
    log = tmp_path / "server.log"
    with log.open("wb") as errors:
        start_frota(
            "cpu", "serve", "--host", request.param, "--port", 0, "--state-dir", tmp_path / "state", stderr=errors
        )
    host = request.param.strip("[]")
    line = until(
        lambda: [text for text in log.read_text().splitlines() if f"Rodando em [{host}]:" in text], "no server"
    )
    return int(line[0].rpartition(":")[2])


def test_everything_works_over_ipv6(port: int, tmp_path: Path) -> None:
    """Agents, viewers and collectors reach a server that listens on an IPv6 address."""
    for name, host in (("plain", "::1"), ("brackets", "[::1]")):
        start_frota("cpu", "agent", "--host", host, "--port", port, "--name", name, "--state-dir", tmp_path / name)
    where = f"[::1]:{port}"

    until(lambda: measured(where) == 2, "not all agents are known")
    assert ask("history", "plain", "--host", "::1", "--port", port)
    assert ask("history", "brackets", "--host", "[::1]", "--port", port)
    assert all(str(host["peer"]).startswith("[::1]:") for host in ask("top", "--once", "--host", where))
    with socket.create_connection(("::1", port), TIMEOUT_S) as collector:
        collector.sendall(b"GET /metrics HTTP/1.1\r\nHost: [::1]:5001\r\n\r\n")
        assert b'frota_cpu_up{host="plain"}' in b"".join(iter(lambda: collector.recv(65536), b""))
    with socket.create_connection(("::1", port), TIMEOUT_S) as agent:
        agent.sendall(TEXT)
        until(lambda: ask("history", "::1", "--host", where), "the legacy agent is not known")


def test_dual_stack_shows_ipv4_addresses(tmp_path: Path) -> None:
    """An IPv4 agent has its plain IPv4 address on a server that listens for both families."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
            loop = asyncio.get_running_loop()
            both = await loop.create_server(running.server.tcp.connection, sock=listener)
            running.address = ("127.0.0.1", listener.getsockname()[1])
            agent = await running.agent()
            await agent.send(1)
            [host] = await running.query(ask="hosts")
            assert host["peer"] == agent.name
            both.close()

    run(scenario())


@pytest.mark.parametrize("cls", [ServerSettings, AgentSettings])
def test_host_setting_rejects_a_port(cls: type) -> None:
    """CPU_HOST is a host alone; with a port, the error says what is right."""
    for text in ("[::1]:5001", "127.0.0.1:5001", "web-1:5001", "[web-1]", "[", "", "::1]"):
        with pytest.raises(SettingsError, match=r"CPU_HOST=.*: must be a host"):
            read_settings(cls, PREFIX, {"CPU_HOST": text})
    for text, host in (("[::1]", "::1"), ("fe80::1%lo", "fe80::1%lo"), ("web-1", "web-1"), ("::", "::")):
        assert read_settings(cls, PREFIX, {"CPU_HOST": text}).host == host


@pytest.mark.parametrize("text", ["[::1]:x", "[::1]:0", "[::1]:99999", "web-1:", ":5001", "[::1"])
def test_viewer_reports_an_invalid_address(text: str) -> None:
    """`frota cpu top` names an invalid address and exits with status 2."""
    done = run_frota("cpu", "top", "--once", "--host", text)
    assert done.returncode == 2
    assert repr(text) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "reason"), [("máquina", "'á' (U+00E1)"), ("ma\u0301quina", "(U+0301)"), ("a b", "' ' (U+0020)")]
)
def test_name_error_shows_the_character(name: str, reason: str) -> None:
    """An invalid CPU_NAME is rejected with the first character that no host name may have."""
    with pytest.raises(SettingsError) as refused:
        read_settings(AgentSettings, PREFIX, {"CPU_NAME": name})
    assert f"{reason} is none of them" in str(refused.value)


def test_missing_ipv6_address_is_named(tmp_path: Path) -> None:
    """A server that cannot listen names the IPv6 address."""
    done = run_frota("cpu", "serve", "--host", "2001:db8::1", "--port", 0, "--state-dir", tmp_path)
    assert done.returncode == 1
    assert "cannot start: [2001:db8::1]:0: " in done.stderr


def test_hello_over_ipv6(tmp_path: Path) -> None:
    """A hello and samples over IPv6 are processed."""

    async def scenario() -> None:
        async with in_process_server(tmp_path, host="::1") as running:
            agent = await running.connect("web-1", source="::1")
            assert await agent.receive() == {"frota": 1, "last": 0}
            agent.writer.write(hello("web-1", RUN, 5.0) + SAMPLE.native(1, 0.0))
            await running.until(lambda: running.server.hosts.get("web-1").row.last == 1)  # type: ignore[union-attr] # connected

    run(scenario())


def test_name_with_only_an_ipv6_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent reaches a server whose name has no IPv4 address."""
    lookups = list[Any]()
    real: Any = socket.getaddrinfo

    def only_ipv6(host: Any, port: Any, *words: Any, flags: int = 0, **options: Any) -> Any:
        if host not in ("metrics.example", b"metrics.example"):
            return real(host, port, *words, flags=flags, **options)
        lookups.append(host)
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "a name")
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))]

    async def scenario() -> None:
        async with in_process_server(tmp_path, host="::1") as running:
            port = running.address[1]
            spool = Spool(10)
            spool.add(SAMPLE)
            uplink = Uplink(AgentSettings(host="metrics.example", port=port, name="web-6"), spool, lambda: None)
            while len(spool):
                uplink.step(0.0)
                await asyncio.sleep(0.01)
            uplink.close()
            with Client("metrics.example", port) as client:
                hosts = await asyncio.get_running_loop().run_in_executor(None, client.hosts)
            assert [host.name for host in hosts] == ["web-6"]

    monkeypatch.setattr(socket, "getaddrinfo", only_ipv6)
    run(scenario())
    assert len(lookups) >= 3
