"""Thresholds: a crossing is logged once, and its end once, over restarts and reloads."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from frota.cpu.settings import parse_thresholds
from support.metrics import SAMPLE, AsyncAgent, InProcessServer, in_process_server, metrics_server, run

CPU = {"thresholds": parse_thresholds("cpu:90:75"), "threshold_samples": 2}


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    records: list[str] = []
    monkeypatch.setattr("frota.cpu.server.event_log.record", lambda _, event, *__, **___: records.append(event))
    return records


async def send(agent: AsyncAgent, first: int, *means: float) -> None:
    for number, mean in enumerate(means, first):
        await agent.send(number, sample=SAMPLE._replace(mean=mean))


def crossings(records: list[str]) -> list[str]:
    return [event for event in records if event.startswith("threshold")]


def over(running: InProcessServer) -> list[str]:
    host = running.server.hosts.get("web-1")
    assert host
    return host.crossings.over


def test_crossing_is_logged_once(tmp_path: Path) -> None:
    """A crossed threshold is logged once, and once when it is cleared."""
    values = [95, 95, 80, 95, 95, 95, 92, 80, 70, 80, 70, 70, 70, 99]
    with (
        metrics_server(tmp_path, "--thresholds", "cpu:90:75", "--threshold-samples", 2) as server,
        server.agent() as agent,
    ):
        for number, value in enumerate(values, 1):
            agent.send(number, sample=SAMPLE._replace(mean=value))
        agent.wait(len(values))
        crossed = re.findall(r"web-1: cpu is (at|down to) ([\d.]+)", server.log())
    assert crossed == [("at", "95.0"), ("down to", "70.0")]


def test_crossings_survive_a_restart(tmp_path: Path, records: list[str]) -> None:
    """A restart logs no crossing again and still logs its end."""

    async def scenario() -> None:
        async with in_process_server(tmp_path, **CPU) as running:
            agent = await running.agent()
            await send(agent, 1, 95, 95)
            assert crossings(records) == ["threshold_crossed"]
        async with in_process_server(tmp_path, **CPU) as running:
            assert over(running) == ["cpu"]
            agent = await running.agent()
            await send(agent, 3, 95, 95, 95)
            assert crossings(records) == ["threshold_crossed"]
            await send(agent, 6, 70, 70)
            assert crossings(records) == ["threshold_crossed", "threshold_cleared"]
        async with in_process_server(tmp_path, **CPU) as running:
            assert over(running) == []

    run(scenario())


def test_removed_threshold_is_not_crossed(tmp_path: Path, records: list[str]) -> None:
    """A metric whose threshold was removed is not above it."""

    async def scenario() -> None:
        async with in_process_server(tmp_path, **CPU) as running:
            agent = await running.agent()
            await send(agent, 1, 95, 95)
            agent.close()
            changed = replace(running.server.settings, thresholds=parse_thresholds("memory:90:75"))
            running.server._reread = lambda: changed
            running.server.reload()
            assert over(running) == []
        async with in_process_server(tmp_path, **CPU) as running:
            agent = await running.agent()
            await send(agent, 3, 95, 95)
            assert over(running) == ["cpu"]
        async with in_process_server(tmp_path, thresholds=()) as running:
            assert over(running) == []

    run(scenario())
    assert crossings(records) == ["threshold_crossed"] * 2


def test_one_threshold_per_metric() -> None:
    """A second threshold of one metric is rejected."""
    with pytest.raises(ValueError, match="'cpu:50:40': cpu has a threshold already, one is enough"):
        parse_thresholds("cpu:90:75,memory:90:85,cpu:50:40")
