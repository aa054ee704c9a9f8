"""Who is stale: whose samples do not come, and not who sends more of them than the server looks at the time."""

from pathlib import Path

import pytest

from frota.cpu_metrics.framing import Hello, Reading
from frota.cpu_metrics.server.server import Server
from frota.cpu_metrics.settings import ServerSettings
from support.metrics import RUN, SAMPLE


class Connected:
    """Stands in for a connection that is looked at as often as the server looks at the time."""

    address, name, host = ("10.0.0.1", 1), "10.0.0.1:1", None


@pytest.fixture
def server(tmp_path: Path) -> Server:
    one = Server(ServerSettings(state_dir=tmp_path), ServerSettings, lambda _: None)
    one.now = 100.0
    return one


def test_a_lively_agent_of_a_tenth_of_a_second_is_never_stale(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[str] = []
    monkeypatch.setattr(server.event_log, "changed", lambda _, event: changes.append(event))
    connection = Connected()
    server.greet(connection, Hello("fast", RUN, 0.1, 0))  # type: ignore[arg-type]
    for second in range(10):
        for tenth in range(10):
            server.take(connection, Reading(10 * second + tenth + 1, 0.0, SAMPLE))  # type: ignore[arg-type]
        server.now += 1.1  # a sweep that comes late
        server._look_at_hosts()
    assert changes == ["connected"]
    server.now += 2
    server._look_at_hosts()
    assert changes == ["connected", "stale"]


@pytest.mark.parametrize(("interval", "stale", "dead"), [(0.1, 2.0, 4.0), (5.0, 15.0, 60.0)])
def test_silence_is_measured_in_intervals_but_never_shorter_than_can_be_known(
    server: Server, interval: float, stale: float, dead: float
) -> None:
    host = server.hosts.greet(Hello("a", RUN, interval, 0))
    assert (server.stale_seconds(host), server.dead_seconds(host)) == (stale, dead)
