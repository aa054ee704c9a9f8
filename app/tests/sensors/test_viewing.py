"""Those who look: the same history everywhere, and a tail without gap or repetition."""

import asyncio
import json
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from frota.logbook.segments import NOBODY
from frota.sensors.readings import Query
from frota.sensors.viewing import Follower
from support import ANSWER, READING, Server, output, read_all, read_exactly, server

LINE = READING + b"\n"
ANSWER_LINE = ANSWER + b"\n"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Server]:
    with server(tmp_path) as one:
        yield one


def test_history_is_the_same_from_the_folder_and_from_the_server(running: Server) -> None:
    running.ask(b"".join(b"S%d - Umidade: %d%%\n" % (number % 3, number % 100) for number in range(2000)))
    where = ("--host", "127.0.0.1", "--port", running.port)
    for question in (("--last", 1500), ("--sensor", "S1", "--last", 5), ("--since", "10m"), ("--since", "2099-01-01")):
        asked = output("sensors", "history", "--json", *where, *question)
        assert asked == output("sensors", "history", "--json", "--state-dir", running.state, *question)
    assert len(output("sensors", "history", *where, "--last", 7).splitlines()) == 7


def test_a_follower_sees_the_last_readings_then_new_ones_without_gap_or_repetition(running: Server) -> None:
    numbers = iter(range(10**6))

    def more(count: int) -> bytes:
        return b"".join(b"S - Umidade: %d%%\n" % next(numbers) for _ in range(count))

    running.ask(more(100))
    with running.connect() as sender, running.connect() as viewer:
        viewer.sendall(b'frota tail {"last": 50}\n')
        lines = viewer.makefile("rb")
        for _ in range(20):
            sender.sendall(more(10))
            read_exactly(sender, 10 * len(ANSWER_LINE))
        found = [int(json.loads(lines.readline())["value"]) for _ in range(150)]
    assert found == list(range(found[0], found[0] + 150))
    assert found[0] >= 50


def test_a_follower_that_does_not_read_is_let_go_with_a_word_and_costs_little_memory(tmp_path: Path) -> None:
    with server(tmp_path, "--log-readings-per-second", 0) as running, running.connect() as viewer:
        viewer.sendall(b"frota tail {}\n")
        running.ask(READING)
        viewer.recv(1)
        before = running.rss_kib()
        with running.connect() as sender:
            for _ in range(200):
                sender.sendall(LINE * 1000)
                assert read_exactly(sender, 1000 * len(ANSWER_LINE)) == ANSWER_LINE * 1000
        assert running.rss_kib() - before < 24 * 1024
        assert read_all(viewer).endswith(b"frota end lento demais, conecte-se de novo\n")


def test_sigterm_ends_within_five_seconds_with_followers_and_idle_connections_open(tmp_path: Path) -> None:
    running = Server(tmp_path)
    with running.connect() as viewer, running.connect() as idle:
        viewer.sendall(b"frota tail {}\n")
        idle.sendall(READING)
        assert read_exactly(idle, len(ANSWER)) == ANSWER
        begin = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - begin < 5  # the promise to systemd, not a measurement
        assert read_all(idle) == b""


def test_what_waits_for_a_slow_follower_is_bounded() -> None:
    async def offer() -> None:
        follower = Follower(Query())
        for _ in range(50):
            follower.offer([(bytes(2**20), 0, NOBODY, 0, print, None)])
        with pytest.raises(OverflowError):
            await follower.lines()

    tracemalloc.start()
    try:
        asyncio.run(offer())
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
