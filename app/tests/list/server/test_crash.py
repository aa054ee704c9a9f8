"""Kills and restarts under load: no answered change is lost or repeated, and clients see a pause."""

import random
import threading
import time
from pathlib import Path

from frota.list.client.client import Client
from frota.list.client_settings import ClientSettings
from support import FULL, TIMEOUT_S
from support.zmq_server import ListServer, list_server

CLIENTS, KILLS = 16, 20 if FULL else 5


class Load(threading.Thread):
    """A client that appends unique elements until it is told to stop."""

    def __init__(self, name: int, port: int) -> None:
        super().__init__(daemon=True)
        self.client, self.port = name, port
        self.answered: list[str] = []
        self.in_flight = ""
        self.stop = threading.Event()
        self.changed = threading.Condition()
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        access = ClientSettings(host="127.0.0.1", port=self.port, list=f"list{self.client % 3}", timeout=TIMEOUT_S)
        try:
            with Client(access, warn=lambda _: None) as client:
                while not self.stop.is_set():
                    self.in_flight = f"{self.client}.{len(self.answered)}"
                    assert client.ask("append", value=self.in_flight).ok
                    with self.changed:
                        self.answered.append(self.in_flight)
                        self.changed.notify()
        except Exception as error:  # noqa: BLE001 -- assert_kept_once reports it
            with self.changed:
                self.error = error
                self.changed.notify()

    def wait_for(self, count: int) -> None:
        """Wait until there are `count` responses, or an error."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.answered) >= count or self.error, TIMEOUT_S)


def progressed(loads: list[Load], count: int) -> None:
    """Wait until every client has `count` further responses."""
    for load, least in [(load, len(load.answered) + count) for load in loads]:
        load.wait_for(least)


def assert_kept_once(server: ListServer, loads: list[Load]) -> None:
    for load in loads:
        load.stop.set()
    for load in loads:
        load.join(TIMEOUT_S)
        assert load.error is None
    for number in range(3):
        own = [load for load in loads if load.client % 3 == number]
        elements = server.elements(f"list{number}")
        assert len(elements) == len(set(elements)), "an element is there twice"
        for load in own:
            own_elements = [element for element in elements if element.startswith(f"{load.client}.")]
            assert own_elements == load.answered


def test_kills_lose_and_repeat_no_change(tmp_path: Path) -> None:
    """Kills at random moments neither lose nor repeat an answered change."""
    moments = random.Random(7)
    # Small, so that many kills happen while a snapshot is being written.
    with list_server(tmp_path, "--snapshot-bytes", 20_000, "--log-requests-per-second", 0) as server:
        loads = [Load(number, server.port) for number in range(CLIENTS)]
        for _ in range(KILLS):
            progressed(loads, 5)
            time.sleep(moments.uniform(0, 0.05))  # a random moment is the point
            server.kill()
            server.start()
        progressed(loads, 5)
        assert_kept_once(server, loads)
        assert sum(len(load.answered) for load in loads) >= CLIENTS * KILLS * 5
        server.kill()
        server.start()
        assert_kept_once(server, loads)


def test_restarts_under_load_are_pauses(tmp_path: Path) -> None:
    """Restarts under load neither lose nor repeat a change."""
    with list_server(tmp_path, "--log-requests-per-second", 0) as server:
        loads = [Load(number, server.port) for number in range(4)]
        for _ in range(3):
            progressed(loads, 20)
            assert server.stop() == 0
            server.start()
        progressed(loads, 20)
        assert_kept_once(server, loads)
