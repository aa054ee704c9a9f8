"""When a host is stale, and when its connection is closed: both are measured in intervals of its samples."""

from pathlib import Path

import pytest

from frota.cpu.framing import Hello, SampleMessage
from frota.cpu.server.agents import Agents
from frota.cpu.server.event_log import EventLog
from frota.cpu.server.hosts import Hosts
from frota.cpu.session import Step
from frota.cpu.settings import ServerSettings
from frota.net.tcp_server import CoarseClock, Watermarks
from support.metrics import RUN, SAMPLE


class Connected:
    """Stands in for an agent's connection."""

    address, name, host, instance, name_numbers = ("10.0.0.1", 1), "10.0.0.1:1", None, "", ()

    def advance(self, step: Step) -> None:
        assert step is Step.IDENTIFIED


class Changes(EventLog):
    """Records the changes of hosts."""

    def __init__(self) -> None:
        super().__init__(0)
        self.changes: list[str] = []

    def changed(self, _: object, event: str) -> None:
        self.changes.append(event)


@pytest.fixture
def clock() -> CoarseClock:
    return CoarseClock(100.0)


@pytest.fixture
def log() -> Changes:
    return Changes()


@pytest.fixture
def agents(tmp_path: Path, clock: CoarseClock, log: Changes) -> Agents:
    pending = Watermarks(1000, 500, lambda: None, lambda: None)
    return Agents(Hosts(), ServerSettings(state_dir=tmp_path), log, clock, pending)


def test_short_interval_is_not_stale(agents: Agents, clock: CoarseClock, log: Changes) -> None:
    """An agent with an interval shorter than a sweep is stale only after two sweeps without a sample."""
    connection = Connected()
    agents.greet(connection, Hello("fast", RUN, 0.1, 0))  # type: ignore[arg-type] # all that it uses of it
    for second in range(10):
        for tenth in range(10):
            agents.receive(connection, SampleMessage(10 * second + tenth + 1, 0.0, SAMPLE))  # type: ignore[arg-type] # all that it uses of it
        clock.now += 1.1  # a late sweep
        agents.sweep()
    assert log.changes == ["connected"]
    clock.now += 2
    agents.sweep()
    assert log.changes == ["connected", "stale"]


@pytest.mark.parametrize(("interval", "stale", "dead"), [(0.1, 2.0, 4.0), (5.0, 15.0, 60.0)])
def test_timeouts_follow_the_interval(agents: Agents, interval: float, stale: float, dead: float) -> None:
    """Both timeouts are multiples of the interval, and never shorter than the resolution of the clock."""
    host = agents._hosts.greet(Hello("a", RUN, interval, 0))
    assert (agents.stale_seconds(host), agents.dead_seconds(host)) == (stale, dead)
