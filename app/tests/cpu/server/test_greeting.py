"""Hellos: how hosts are identified by names, runs and addresses."""

import itertools
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.cpu.framing import SampleMessage
from frota.cpu.messages import hello
from frota.cpu.server.agents import LegacyNames
from support import until
from support.metrics import RUN, SAMPLE, TEXT, MetricsServer, in_process_server, run


def test_new_run_restarts_sequence_numbers(running: MetricsServer) -> None:
    """A new run of an agent begins at 1 without a gap or a duplicate."""
    for name in (RUN, "cd" * 16):
        with running.agent(run=name) as agent:
            assert agent.last == 0
            agent.send(1, 2)
            agent.wait(2)
    host = running.hosts()["web-1"]
    assert (host["samples"], host["missing"], host["duplicates"]) == (4, 0, 0)


def test_second_name_is_rejected(
    running: MetricsServer,
) -> None:
    """A connection cannot change to another host's name, and that host is unharmed."""
    with running.agent("web-1") as victim, running.agent("web-2") as agent:
        victim.send(1, 2, 3)
        victim.wait(3)
        agent.connection.sendall(hello("web-1", "cd" * 16, 5.0))
        assert "hello" in agent.receive()["error"]
        victim.send(4)
        victim.wait(4)
        host = running.hosts()["web-1"]
        assert (host["samples"], host["missing"]) == (4, 0)
        with running.agent("web-3") as another:
            another.connection.sendall(hello("nobody", RUN, 5.0))
            assert "hello" in another.receive()["error"]
    assert set(running.hosts()) == {"web-1", "web-2", "web-3"}
    assert running.numbers("web-1") == [1, 2, 3, 4]


def test_acknowledged_samples_are_no_gap(running: MetricsServer) -> None:
    """A server that lost its history counts no gap below the acknowledged number."""
    with running.agent(acked=41) as agent:
        assert agent.last == 41
        agent.send(42, 44)
        agent.wait(44)
    host = running.hosts()["web-1"]
    assert (host["samples"], host["missing"]) == (2, 1)


def test_newer_connection_replaces_the_older(running: MetricsServer) -> None:
    """A second connection of the same agent replaces the first, which gets an error with the reason."""
    first = running.agent()
    with running.agent() as second:
        assert first.receive()["error"] == "outra conexão do mesmo host tomou o lugar desta"
        assert first.connection.recv(100) == b""
        second.send(1)
        second.wait(1)
        assert running.hosts()["web-1"]["state"] == "connected"


def test_legacy_agents_of_one_address(running: MetricsServer) -> None:
    """Two legacy agents at one address are two hosts."""
    with running.connect() as first, running.connect() as second:
        first.sendall(TEXT)
        second.sendall(TEXT)
        until(lambda: len(running.hosts()) == 2, "there are not two")
        assert set(running.hosts()) == {"127.0.0.1", "127.0.0.1:2"}


def test_legacy_agent_gets_its_name_back(
    running: MetricsServer,
) -> None:
    """A legacy agent that reconnects is the same host, and never takes a native agent's name."""

    def states() -> dict[str, object]:
        return {name: host["state"] for name, host in running.hosts().items()}

    with running.agent("127.0.0.1:3"), ExitStack() as stack:
        agents = [stack.enter_context(running.connect()) for _ in range(3)]
        for agent in agents:
            agent.sendall(TEXT)
        names = {"127.0.0.1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4"}
        until(lambda: states() == dict.fromkeys(names, "connected"), "one has the name of another")
        agents[0].close()
        until(lambda: "away" in states().values(), "the one that left is still here")
        stack.enter_context(running.connect()).sendall(TEXT)
        until(lambda: "away" not in states().values(), "the one that came back is not here")
        assert states() == dict.fromkeys(names, "connected")


@given(
    st.lists(
        st.one_of(st.tuples(st.just("take"), st.sampled_from("ab")), st.tuples(st.just("leave"), st.integers(0, 99)))
    )
)
def test_lowest_free_number_is_taken(steps: list[tuple[str, Any]]) -> None:
    """Each legacy agent gets the lowest free number of its address."""
    numbers, assigned = LegacyNames(), list[tuple[str, int]]()
    for step, what in steps:
        if step == "take":
            number = numbers.take(what)
            assert number == next(n for n in itertools.count(1) if (what, n) not in assigned)
            assigned.append((what, number))
        elif assigned:
            numbers.give_back(*assigned.pop(what % len(assigned)))
    assert len(numbers) == len({address for address, _ in assigned})


@pytest.mark.parametrize("address", ["::1", "fe80::1%eth0", "::ffff:10.0.0.1", "10.0.0.1:2"])
def test_history_by_any_address(tmp_path: Path, address: str) -> None:
    """The history of a legacy agent is found by its address, IPv6 included."""

    async def scenario() -> None:
        async with in_process_server(tmp_path) as running:
            host = running.server.hosts.get_or_create(address, "original", 5.0)
            running.server.hosts.take(host, SampleMessage(0, 0.0, SAMPLE))
            assert await running.numbers(address) == [1]

    run(scenario())
