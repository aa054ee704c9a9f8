"""Whatever ends the server, no answered change is lost, none is done twice, and no client sees more than a pause."""

import random
import threading
import time
from pathlib import Path

from frota.remote_list.client.client import Client
from frota.remote_list.client_settings import ClientSettings
from support import FULL, PATIENCE
from support.zmq_server import ListServer, list_server

CLIENTS, KILLS = 16, 20 if FULL else 5


class Load(threading.Thread):
    """A client that appends, each element unlike all others, until it is told to stop."""

    def __init__(self, name: int, port: int) -> None:
        super().__init__(daemon=True)
        self.client, self.port = name, port
        self.answered: list[str] = []
        self.under_way = ""
        self.stop = threading.Event()
        self.changed = threading.Condition()
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        access = ClientSettings(host="127.0.0.1", port=self.port, list=f"list{self.client % 3}", patience=PATIENCE)
        try:
            with Client(access, warn=lambda _: None) as client:
                while not self.stop.is_set():
                    self.under_way = f"{self.client}.{len(self.answered)}"
                    assert client.ask("append", value=self.under_way).ok
                    with self.changed:
                        self.answered.append(self.under_way)
                        self.changed.notify()
        except Exception as error:  # noqa: BLE001 -- told by whoever looks at the result
            with self.changed:
                self.error = error
                self.changed.notify()

    def wait_for(self, least: int) -> None:
        """Wait until there have been so many answers, or an error."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.answered) >= least or self.error, PATIENCE)


def progressed(loads: list[Load], count: int) -> None:
    """Wait until every client has had so many answers more."""
    for load, least in [(load, len(load.answered) + count) for load in loads]:
        load.wait_for(least)


def assert_kept_once(server: ListServer, loads: list[Load]) -> None:
    for load in loads:
        load.stop.set()
    for load in loads:
        load.join(PATIENCE)
        assert load.error is None
    for number in range(3):
        own = [load for load in loads if load.client % 3 == number]
        elements = server.elements(f"list{number}")
        assert len(elements) == len(set(elements)), "an element is there twice"
        for load in own:
            mine = [element for element in elements if element.startswith(f"{load.client}.")]
            assert mine == load.answered


def test_kills_at_random_moments_lose_no_answered_change_and_double_none(tmp_path: Path) -> None:
    moments = random.Random(7)
    # Small, so that many kills meet a snapshot that is being written.
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
    with list_server(tmp_path, "--log-requests-per-second", 0) as server:
        loads = [Load(number, server.port) for number in range(4)]
        for _ in range(3):
            progressed(loads, 20)
            assert server.stop() == 0
            server.start()
        progressed(loads, 20)
        assert_kept_once(server, loads)
