"""Two agents with the same name: the first is served while it answers pings, nothing is stored twice."""

import json
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest

from frota.cpu.messages import Sample, hello
from support import start_frota, until
from support.metrics import (
    RUN,
    SAMPLE,
    AsyncAgent,
    InProcessServer,
    MetricsServer,
    in_process_server,
    metrics_server,
    run,
)

RUNS = [f"{number:032x}" for number in range(1, 30)]
ONE, OTHER, THIRD = "a1" * 16, "b2" * 16, "c3" * 16  # processes of agents
Records = list[str]


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Records:
    records: Records = []
    monkeypatch.setattr(
        "frota.cpu.server.event_log.record", lambda _, event, text, **__: records.append(f"{event}: {text}")
    )
    return records


async def refused(newcomer: AsyncAgent) -> str:
    answer = await newcomer.receive()
    assert answer["code"] == "name_taken"
    assert await newcomer.reader.read() == b""
    newcomer.close()
    return str(answer["error"])


def test_second_agent_is_rejected(tmp_path: Path, records: Records) -> None:
    """While the first agent answers pings, a second one of its name is rejected with the reason."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            first = await running.agent(run=RUNS[0], instance=ONE)
            for _ in range(3):
                second = await running.connect(run=RUNS[1], instance=OTHER)
                await first.answer_ping()
                reason = await refused(second)
                assert reason == (
                    f"dois agentes se chamam web-1: {first.name} e {second.name} (este);"
                    " dê outro nome a um dos dois (CPU_NAME, --name)"
                )
            await first.send(1, 2)
            [host] = await running.query(ask="hosts")
            assert (host["samples"], host["duplicates"], host["name_conflicts"]) == (2, 0, [second.name])
            assert host["peer"] == first.name

    run(scenario())
    assert sum(text.startswith("name_conflict: two agents are called web-1: 127.0.0.1:") for text in records) == 1


def test_rejected_agent_stores_nothing(tmp_path: Path) -> None:
    """Samples that a rejected agent sent behind its hello are not stored."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            first = await running.agent(run=RUNS[0], instance=ONE)
            second = await running.connect(run=RUNS[1], instance=OTHER)
            second.writer.write(b"".join(SAMPLE.native(number, 0.0) for number in range(1, 100)))
            await first.answer_ping()
            await refused(second)
            await first.send(1)
            assert await running.numbers("web-1") == [1]

    run(scenario())


def test_unresponsive_agent_is_replaced(tmp_path: Path) -> None:
    """An agent that does not answer a ping loses its name to the contender."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            first = await running.agent(run=RUNS[0], instance=ONE)
            await first.send(1, 2)
            running.server.services.agents.names.pong_timeout_s = 0.05
            for new_run, instance in ((RUNS[0], ONE), (RUNS[0], OTHER), (RUNS[1], THIRD)):
                second = await running.connect(run=new_run, instance=instance)
                second.writer.write(SAMPLE.native(3, 0.0))
                assert await second.receive() == {"frota": 1, "last": 3}
                assert "ping" in await first.receive()
                assert "error" in await first.receive()
                first = second
            assert await running.query(ask="hosts")

    run(scenario())


def test_contender_follows_a_disconnect(tmp_path: Path) -> None:
    """A contender is served as soon as the holder of the name disconnects."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            first = await running.agent(run=RUNS[0], instance=ONE)
            second = await running.connect(run=RUNS[1], instance=OTHER)
            assert "ping" in await first.receive()
            first.close()
            assert await second.receive() == {"frota": 1, "last": 0}
            await second.send(1)

    run(scenario())


def test_contenders_are_served_in_order(tmp_path: Path, records: Records) -> None:
    """Of several contenders the first is served, and the others contend with it."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            first = await running.agent(run=RUNS[0], instance=ONE)
            second = await running.connect(run=RUNS[1], instance=OTHER)
            third = await running.connect(run=RUNS[2], instance=THIRD)
            await running.until(lambda: sum(map(len, running.server.services.agents.names._contests.values())) == 2)
            first.close()
            await second.answer_ping()
            await refused(third)
            assert await second.receive() == {"frota": 1, "last": 0}
            await second.send(1)
            assert not running.server.services.agents.names._contests

    run(scenario())
    assert sum(text.startswith("name_conflict") for text in records) == 1


def test_contender_that_leaves_is_no_rival(tmp_path: Path) -> None:
    """A contender that disconnects while it waits is no rival."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            first = await running.agent(run=RUNS[0], instance=ONE)
            second = await running.connect(run=RUNS[1], instance=OTHER)
            assert "ping" in await first.receive()
            second.close()
            [[(contender, _)]] = running.server.services.agents.names._contests.values()
            contender.tcp.abort()  # type: ignore[attr-defined]
            await running.until(lambda: len(running.server.tcp.connections) == 1)
            first.writer.write(b'{"frota": 1, "pong": 1}\n')
            await first.send(1)
            [host] = await running.query(ask="hosts")
            assert (host["name_conflicts"], host["samples"]) == ([], 1)

    run(scenario())


def test_unexpected_pong_is_ignored(tmp_path: Path) -> None:
    """A pong without a ping changes nothing, also before a hello."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            first = await running.agent(run=RUNS[0], instance=ONE)
            for _ in range(3):
                first.writer.write(b'{"frota": 1, "pong": 1}\n')
            await first.send(1)
            other = await running.connect("web-2", instance=OTHER)
            assert await other.receive() == {"frota": 1, "last": 0}

    run(scenario())


def test_alternating_runs_are_stored_once(tmp_path: Path) -> None:
    """Runs that take turns continue at their own last numbers, also after a restart."""

    async def scenario() -> None:
        sent: list[int] = []
        async with in_process_server(tmp_path) as running:
            for turn in range(6):
                agent = await running.connect(run=RUNS[turn % 2], instance=ONE)
                last = (await agent.receive())["last"]
                assert last == turn // 2 * 3
                await agent.send(last + 1, last + 2, last + 3)
                sent += [last + 1, last + 2, last + 3]
                agent.close()
                await visit(running)
            assert await running.numbers("web-1") == sent
        async with in_process_server(tmp_path) as running:
            for name, last in ((RUNS[0], 9), (RUNS[1], 9), (RUNS[2], 0)):
                agent = await running.connect(run=name)
                assert (await agent.receive())["last"] == last
                agent.close()
                await visit(running)
            [host] = await running.query(ask="hosts")
            assert (host["samples"], host["missing"], host["duplicates"]) == (18, 0, 0)

    run(scenario())


def test_remembered_runs_are_bounded(tmp_path: Path) -> None:
    """Of a name's former runs only the newest are remembered."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            for name in RUNS:
                agent = await running.agent(run=name)
                await agent.send(1)
                agent.close()
                await visit(running)
            for name, last in ((RUNS[-2], 1), (RUNS[0], 0)):
                agent = await running.connect(run=name)
                assert (await agent.receive())["last"] == last
                agent.close()
                await visit(running)

    run(scenario())


async def visit(running: InProcessServer) -> None:
    await running.until(lambda: running.server.hosts.get("web-1").connection is None)  # type: ignore[union-attr] # connected


@pytest.mark.parametrize(("newer", "source"), [("", "127.0.0.2"), (OTHER, "127.0.0.1"), (OTHER, "127.0.0.2")])
def test_agent_without_pings_keeps_its_name(tmp_path: Path, newer: str, source: str) -> None:
    """An older agent that knows no ping keeps its name while its samples arrive."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            old = await running.agent(run=RUNS[0])
            second = await running.connect(run=RUNS[1], instance=newer, source=source)
            await refused(second)
            await old.send(1)
            running.server.tcp.clock.now += 9.4  # it is silent for less than an interval and a half, and two seconds
            await refused(await running.connect(run=RUNS[1], instance=newer, source=source))
            host = running.server.hosts.get("web-1")
            assert host
            host.heard -= 10.0
            third = await running.connect(run=RUNS[1], instance=newer, source=source)
            assert await third.receive() == {"frota": 1, "last": 0}
            assert "tomou o lugar" in (await old.receive())["error"]

    run(scenario())


def test_reconnecting_agent_is_served_at_once(tmp_path: Path) -> None:
    """An older agent that reconnects replaces its own half-open connection."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            old = await running.agent(run=RUN)
            reconnected = await running.connect(run=RUN)
            assert await reconnected.receive() == {"frota": 1, "last": 0}
            assert "tomou o lugar" in (await old.receive())["error"]

    run(scenario())


def test_rivals_expire(tmp_path: Path) -> None:
    """Rivals are bounded, and expire when they stop trying."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            first = await running.agent(run=RUNS[0], instance=ONE)
            for number in range(120):
                second = await running.connect(run=RUNS[1], instance=f"{number:032x}")
                await first.answer_ping()
                await refused(second)
            host = running.server.hosts.get("web-1")
            assert host
            assert len(host.rivals) == 100
            [listed_host] = await running.query(ask="hosts")
            assert len(listed_host["name_conflicts"]) == 10
            running.server.tcp.clock.now += 181
            running.server.services.agents.sweep()
            assert not host.rivals

    run(scenario())


def samples(server: MetricsServer) -> int:
    return int(server.hosts().get("twin", {}).get("samples", 0))


def has_samples(server: MetricsServer, count: int) -> bool:
    return samples(server) >= count


class Agents:
    """Processes of `frota cpu agent` that are all called twin."""

    def __init__(self, folder: Path, server: MetricsServer) -> None:
        self.folder, self.server = folder, server

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        """Start one with a state folder of its own."""
        log = (self.folder / f"{name}.log").open("ab")
        words = ("cpu", "agent", "--port", self.server.port, "--name", "twin", "--interval", 0.1)
        return start_frota(*words, "--state-dir", self.folder / name, stderr=log)

    def log(self, name: str) -> str:
        """Return what one has logged."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("cloned", [False, True], ids=["two computers", "a computer and its copy"])
def test_second_agent_delivers_later(running: MetricsServer, tmp_path: Path, cloned: bool) -> None:
    """A rejected agent keeps its samples and delivers them when the first is gone."""
    agents = Agents(tmp_path, running)
    first = agents.start("first")
    until(partial(has_samples, running, 4), "nothing comes")
    if cloned:
        first.send_signal(signal.SIGTERM)
        assert first.wait() == 0
        shutil.copytree(tmp_path / "first", tmp_path / "second")
        first = agents.start("first")
        until(lambda: running.hosts()["twin"]["state"] == "connected", "it does not come back")
    second = agents.start("second")
    until(lambda: running.hosts()["twin"]["name_conflicts"], "the second is not records of")
    until(partial(has_samples, running, samples(running) + 20), "the first is not served any more")
    assert agents.log("second").count("another agent, at 127.0.0.1:") == 1
    assert "connected to" not in agents.log("second")
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 0
    until(partial(has_samples, running, samples(running) + 20), "the second does not deliver")
    second.send_signal(signal.SIGTERM)
    assert second.wait() == 0
    host = running.hosts()["twin"]
    stored = [
        repr(sample)  # all that was measured, since two processes may measure in the same millisecond
        for line in running.query(ask="history", host="twin", seconds=1e9)
        for sample in zip(*(line[name] for name in ("time", *Sample._fields)), strict=True)
    ]
    assert len(stored) == len(set(stored)) == host["samples"]
    assert (host["missing"], host["duplicates"]) == (0, 0)
    assert "two agents are called twin: 127.0.0.1:" in running.log()


def test_killed_agent_is_replaced_at_once(running: MetricsServer, tmp_path: Path) -> None:
    """After a kill, an agent of the same name is served at once and without a conflict."""
    agents = Agents(tmp_path, running)
    for name in ("first", "first", "other"):
        count = samples(running) + 4
        agent = agents.start(name)
        until(partial(has_samples, running, count), "nothing comes")
        agent.send_signal(signal.SIGKILL)
        agent.wait()
    assert "two agents" not in running.log()


def test_suspended_agent_is_replaced(tmp_path: Path) -> None:
    """A suspended agent with an open connection is replaced."""
    # A silent connection is given up after four seconds otherwise, which may be before the second agent has started.
    with metrics_server(tmp_path, "--dead-intervals", 1000) as server:
        agents = Agents(tmp_path, server)
        first = agents.start("first")
        until(partial(has_samples, server, 4), "nothing comes")
        first.send_signal(signal.SIGSTOP)
        second = agents.start("second")
        server.wait_for("outra conexão do mesmo host tomou o lugar desta; connection closed")
        until(partial(has_samples, server, samples(server) + 4), "nothing comes")
        first.send_signal(signal.SIGCONT)
        until(lambda: "another agent" in agents.log("first"), "it has not noticed")
        for agent in (first, second):
            agent.send_signal(signal.SIGTERM)
            assert agent.wait() == 0
        assert server.hosts()["twin"]["duplicates"] == 0


def test_instance_is_validated(running: MetricsServer) -> None:
    """A hello may have an instance; an invalid one is rejected."""
    with running.agent(instance=ONE) as agent:
        agent.send(1, sample=Sample((1.0,), 1.0))
        agent.wait(1)
    for instance in ("x", 5, None, ["a"], ONE.upper()):
        line = hello("web-2", RUN, 5.0, 0, "?").replace(b'"?"', json.dumps(instance).encode())
        assert b"hello inv" in running.request(line)
    assert set(running.hosts()) == {"web-1"}
