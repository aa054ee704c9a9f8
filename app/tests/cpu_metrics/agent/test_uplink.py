"""The way to the server, step by step in this process: real sockets, and a clock of the test's own."""

import math
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from frota.core.clock import boottime
from frota.cpu_metrics.agent import delivery, spool
from frota.cpu_metrics.agent.spool import Spool
from frota.cpu_metrics.agent.tcp_link import Lookup
from frota.cpu_metrics.agent.uplink import Uplink
from frota.cpu_metrics.messages import REPLACED, Sample, is_run
from frota.cpu_metrics.settings import AgentSettings
from support import PATIENCE, reserved_port
from support.agent import FakeServer, Peer

Told = list[tuple[str, str]]


class Driver:
    """Does what the agent's loop does, but with a clock that stands still unless the test sets it."""

    def __init__(self, port: int, *, keep: int = 1000, protocol: str = "native", **settings: Any) -> None:
        settings = {"host": "127.0.0.1", "name": "web-1", **settings}
        self.config = AgentSettings(port=port, protocol=protocol, **settings)
        self.spool = Spool(keep)
        self.awake = threading.Event()
        self.uplink = Uplink(self.config, self.spool if protocol == "native" else None, self.awake.set)
        self.now = 0.0

    def add(self, count: int = 1, cores: int = 1, *, sent: int = 0) -> None:
        """Make samples, as if those up to the number `sent` had been sent before."""
        for _ in range(count):
            self.spool.add(Sample((1.0,) * cores, 1.0))
        self.spool.sent = max(self.spool.sent, sent)

    def step(self, sample: Sample | None = None) -> None:
        """Wait a moment for the connection, if there is one, and go on."""
        if self.uplink.link:
            poll = select.poll()
            poll.register(self.uplink.link, self.uplink.link.poll_events)
            poll.poll(10)
        self.uplink.step(self.now, sample)

    def until(self, done: Callable[[], object]) -> None:
        """Go on until the test is content."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < deadline
            self.step()

    def readable(self, peer: Peer) -> None:
        """Go on until something is there for the server's end."""
        self.until(lambda: select.select([peer.socket], [], [], 0)[0])

    def failed(self) -> None:
        """Go on until the connection is given up."""
        self.until(lambda: self.uplink.link is None and self.now < self.uplink.deadline < math.inf)

    def again(self) -> None:
        """Let the pause before the next attempt pass."""
        self.now = self.uplink.deadline


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    records: Told = []
    monkeypatch.setattr("frota.logs.log.record", lambda _, event, text, **__: records.append((event, text)))
    return records


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as one:
        yield one


def greeted(driver: Driver, server: FakeServer, last: int = 0) -> Peer:
    driver.step()
    peer = server.accept()
    driver.readable(peer)
    peer.hello(last)
    return peer


def take(driver: Driver, peer: Peer, count: int) -> list[int]:
    """Return the numbers of the next samples."""
    numbers: list[int] = []
    while len(numbers) < count:
        driver.step()
        while len(numbers) < count and select.select([peer.socket], [], [], 0)[0]:
            data = peer.socket.recv(1 << 20)
            while not data.endswith(b"\n"):
                driver.step()
                data += peer.socket.recv(1 << 20)
            numbers += [int(line.split(b'"n": ')[1].split(b",")[0]) for line in data.splitlines()]
    return numbers


def events(told: Told) -> list[str]:
    return [event for event, _ in told]


def test_what_the_server_has_is_dropped_and_the_rest_comes_in_order(server: FakeServer, told: Told) -> None:
    driver = Driver(server.port)
    driver.add(5, sent=2)
    peer = greeted(driver, server, last=2)
    assert take(driver, peer, 3) == [3, 4, 5]
    assert len(driver.spool) == 3
    peer.say(ack=4)
    driver.until(lambda: len(driver.spool) == 1)
    driver.add()
    assert take(driver, peer, 1) == [6]
    assert told == [("connected", f"[CLIENTE] Conectado ao servidor 127.0.0.1:{server.port}")]


def test_a_hello_says_who_it_is_and_which_run(server: FakeServer) -> None:
    driver = Driver(server.port, interval=2.5)
    driver.step()
    peer = server.accept()
    driver.readable(peer)
    said = peer.line()
    assert is_run(said["hello"].pop("instance"))
    hello = {"host": "web-1", "run": driver.spool.run, "interval": 2.5, "acked": 0}
    assert said == {"frota": 1, "hello": hello}


def test_nothing_is_sent_before_the_server_has_said_what_it_has(server: FakeServer) -> None:
    driver = Driver(server.port)
    driver.add(3)
    peer = greeted(driver, server, last=None)  # type: ignore[arg-type]
    for _ in range(5):
        driver.step()
    assert not select.select([peer.socket], [], [], 0)[0]
    peer.say(last=0)
    assert take(driver, peer, 3) == [1, 2, 3]


def test_an_age_is_made_when_a_sample_is_sent(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(server.port)
    driver.add()
    later = boottime() + 60
    monkeypatch.setattr(spool, "boottime", lambda: later)
    peer = greeted(driver, server)
    driver.readable(peer)
    assert peer.sample()["age"] == pytest.approx(60, abs=5)


def test_only_so_many_samples_are_on_their_way(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MAX_IN_FLIGHT", 70)
    driver = Driver(server.port)
    driver.add(200)
    peer = greeted(driver, server)
    assert take(driver, peer, 70) == list(range(1, 71))
    for _ in range(5):
        driver.step()
    assert not select.select([peer.socket], [], [], 0)[0]
    peer.say(ack=30)
    assert take(driver, peer, 30) == list(range(71, 101))


def test_a_server_that_does_not_read_is_not_waited_for(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MAX_IN_FLIGHT", 100_000)
    driver = Driver(server.port, keep=100_000)
    driver.add(10_000, cores=400)
    peer = greeted(driver, server)
    driver.until(lambda: driver.uplink.link and driver.uplink.link.pending_bytes)
    assert driver.uplink.link
    assert driver.uplink.link.pending_bytes < 1 << 20  # of 20 MiB
    assert take(driver, peer, 10_000) == list(range(1, 10_001))


def test_after_an_outage_everything_that_is_not_acknowledged_comes_again(server: FakeServer, told: Told) -> None:
    driver = Driver(server.port)
    driver.add(3)
    peer = greeted(driver, server)
    take(driver, peer, 3)
    peer.say(ack=1)
    driver.until(lambda: len(driver.spool) == 2)
    peer.close()
    driver.failed()
    driver.add(2)
    driver.again()
    assert take(driver, greeted(driver, server, last=1), 4) == [2, 3, 4, 5]
    assert events(told) == ["connected", "disconnected", "connected"]


def test_what_was_too_much_to_keep_is_told_once_with_its_number(server: FakeServer, told: Told) -> None:
    driver = Driver(server.port, keep=10)
    driver.add(15)
    assert take(driver, greeted(driver, server), 10) == list(range(6, 16))
    assert told[1:] == [
        ("samples_lost", "5 samples are lost: they waited for too long, or their agent was killed; 5 in all")
    ]


def test_what_the_server_had_already_is_not_called_lost(server: FakeServer, told: Told) -> None:
    driver = Driver(server.port, keep=10)
    driver.add(15, sent=5)
    assert take(driver, greeted(driver, server, last=5), 10) == list(range(6, 16))
    assert events(told) == ["connected"]


def test_a_server_that_has_forgotten_goes_on_with_what_is_here(server: FakeServer, told: Told) -> None:
    driver = Driver(server.port)
    driver.add(5)
    driver.spool.acknowledge(3)
    assert take(driver, greeted(driver, server, last=0), 2) == [4, 5]
    assert events(told) == ["connected"]


def test_a_server_that_knows_numbers_never_used_gets_a_new_run(server: FakeServer, told: Told) -> None:
    driver = Driver(server.port)
    driver.add(2)
    run = driver.spool.run
    greeted(driver, server, last=9)
    driver.failed()
    assert "a new run begins" in told[0][1]
    driver.again()
    driver.step()
    peer = server.accept()
    driver.readable(peer)
    assert peer.hello()["run"] not in ("", run)
    assert take(driver, peer, 2) == [1, 2]


def test_another_interval_is_told_on_the_same_connection(server: FakeServer) -> None:
    driver = Driver(server.port)
    driver.add(2)
    peer = greeted(driver, server)
    take(driver, peer, 2)
    driver.uplink.reconfigure(AgentSettings(host="127.0.0.1", port=server.port, name="web-1", interval=9.0))
    driver.readable(peer)
    assert peer.hello(last=1)["interval"] == 9.0
    driver.until(lambda: len(driver.spool) == 1)
    driver.add()
    assert take(driver, peer, 1) == [3]  # and not those again that are on their way


@pytest.mark.parametrize("interval", [1.0, 100.0])
def test_no_answer_ends_a_connection_but_only_where_one_is_owed(
    server: FakeServer, told: Told, interval: float
) -> None:
    driver = Driver(server.port, interval=interval)
    driver.add()
    peer = greeted(driver, server)
    take(driver, peer, 1)
    assert driver.uplink.deadline == max(15.0, 3 * interval)
    peer.say(ack=1)
    driver.until(lambda: not len(driver.spool))
    assert driver.uplink.deadline == math.inf
    driver.now = 1000.0
    driver.add()
    driver.step()
    assert driver.uplink.deadline == 1000 + max(15.0, 3 * interval)
    driver.now = driver.uplink.deadline
    driver.failed()
    assert events(told) == ["connected", "disconnected"]


def test_a_hello_without_an_answer_is_not_waited_for_for_ever(server: FakeServer, told: Told) -> None:
    driver = Driver(server.port)
    driver.step()
    server.accept()
    driver.step()
    assert driver.uplink.deadline == 15.0
    driver.now = 15.0
    driver.failed()
    assert told == [("connect_failed", f"no connection to 127.0.0.1:{server.port}: the server does not answer")]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\xff\x1b[2J\n",
        b"x" * 5000,
        b"[" * 4000 + b"\n",
        b"[]\n",
        b'{"frota": 2, "last": 0}\n',
        b'{"frota": 1}\n',
        b'{"frota": 1, "last": -1}\n',
        b'{"frota": 1, "last": "1"}\n',
        b'{"frota": 1, "last": true}\n',
        b'{"frota": 1, "ack": 0}\n',  # before the answer to hello
        b'{"frota": 1, "last": 0}\n{"frota": 1, "ack": 7}\n',
    ],
)
def test_what_is_no_server_of_ours_is_told_and_left_alone(server: FakeServer, told: Told, answer: bytes) -> None:
    driver = Driver(server.port)
    driver.step()
    peer = server.accept()
    driver.readable(peer)
    peer.socket.sendall(answer)
    driver.failed()
    assert told[-1][0] == "wrong_server"
    assert told[-1][1].isprintable()
    assert driver.uplink.deadline > driver.now


def test_an_error_is_told_once_for_each_connection(server: FakeServer, told: Told) -> None:
    driver = Driver(server.port)
    for _ in range(2):
        driver.step()
        peer = server.accept()
        driver.readable(peer)
        peer.say(error="servidor cheio\x1b[2J")
        driver.failed()
        assert driver.uplink.deadline - driver.now >= 2.5  # half of the longest pause, from the first time on
        driver.again()
    text = f"127.0.0.1:{server.port} refuses: servidor cheio\\x1b[2J"
    assert told == [("connection_rejected", text)] * 2


def test_pauses_double_with_jitter_up_to_5_s_and_begin_anew_once_it_works(told: Told) -> None:
    with reserved_port() as port:
        driver = Driver(port)
        pauses = []
        for _ in range(8):
            driver.failed()
            pauses.append(driver.uplink.deadline - driver.now)
            driver.again()
        for pause, most in zip(pauses, (0.25, 0.5, 1, 2, 4, 5, 5, 5), strict=True):
            assert most / 2 <= pause <= most
        assert events(told) == ["connect_failed"]  # the same reason is told once
        with FakeServer(port) as server:
            driver.add()
            peer = greeted(driver, server)
            take(driver, peer, 1)
            peer.say(ack=1)
            driver.until(lambda: not len(driver.spool))
        driver.failed()
        assert driver.uplink.deadline - driver.now <= 0.25


def test_no_pause_is_longer_than_an_interval_of_more_than_a_second() -> None:
    with reserved_port() as port:
        driver = Driver(port, interval=2.0)
        for _ in range(8):
            driver.failed()
            pause = driver.uplink.deadline - driver.now
            driver.again()
        assert 1 <= pause <= 2


def test_a_server_that_only_takes_connections_is_not_stormed(server: FakeServer) -> None:
    driver = Driver(server.port)
    for _ in range(6):
        greeted(driver, server).close()
        driver.failed()
        pause = driver.uplink.deadline - driver.now
        driver.again()
    assert pause > 1


def test_every_address_of_a_host_is_tried(server: FakeServer, monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    with reserved_port() as closed:
        both = [(socket.AF_INET, ("127.0.0.1", closed)), (socket.AF_INET, ("127.0.0.1", server.port))]
        monkeypatch.setattr(Lookup, "addresses", lambda _: list(both))
        driver = Driver(server.port)
        driver.until(lambda: select.select([server.fileno()], [], [], 0)[0])
        greeted(driver, server)
        driver.until(lambda: told)
    assert events(told) == ["connected"]


def test_a_name_that_takes_long_to_look_up_holds_nobody_up(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    real = socket.getaddrinfo

    def slow(_host: bytes, *words: Any, flags: int, **options: Any) -> Any:
        if flags:
            raise socket.gaierror(socket.EAI_NONAME, "a name")
        assert go.wait(PATIENCE)
        return real("127.0.0.1", *words, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    driver = Driver(server.port, host="slow.example")
    driver.step()
    driver.step()
    assert (driver.uplink.link, driver.uplink.deadline) == (None, math.inf)
    go.set()
    assert driver.awake.wait(PATIENCE)
    driver.until(lambda: driver.uplink.link)
    greeted(driver, server)


@pytest.mark.parametrize("host", ["a..b", "ünmöglich..x"])
def test_a_name_that_is_none_is_told_and_tried_again(host: str, told: Told) -> None:
    driver = Driver(5001, host=host)
    driver.failed()
    assert told[0][0] == "connect_failed"
    assert driver.uplink.deadline > 0


def test_a_connection_with_itself_as_tcp_makes_them_is_none(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    driver = Driver(server.port)
    monkeypatch.setattr(socket.socket, "getsockname", socket.socket.getpeername)
    driver.failed()
    assert told == [("connect_failed", f"no connection to 127.0.0.1:{server.port}: Connection refused")]


def test_a_dead_server_is_noticed_by_the_kernel(server: FakeServer) -> None:
    driver = Driver(server.port)
    driver.step()
    server.accept()
    assert driver.uplink.link
    sock = driver.uplink.link._socket
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000


def test_the_original_protocol_sends_its_text_and_keeps_nothing(server: FakeServer, told: Told) -> None:
    driver = Driver(server.port, protocol="original")
    sample = Sample((37.3, 31.5, 25.8), 31.5)
    driver.until(lambda: told)
    peer = server.accept()
    driver.step(sample)
    text = "CPU -> Núcleos: [37.3, 31.5, 25.8] | Média: 31.5%".encode()
    assert peer.socket.recv(4096) == text
    peer.close()
    driver.failed()
    driver.step(sample)  # nobody there: this one is gone
    driver.again()
    driver.until(lambda: events(told).count("connected") == 2)
    peer = server.accept()
    driver.step(sample)
    assert peer.socket.recv(4096) == text
    assert not len(driver.spool)


def test_an_original_server_that_answers_is_not_obeyed(server: FakeServer, told: Told) -> None:
    driver = Driver(server.port, protocol="original")
    driver.until(lambda: told)
    peer = server.accept()
    peer.socket.sendall(b'{"frota": 1, "error": "?"}\n' * 1000)
    for _ in range(10):
        driver.step()
    assert events(told) == ["connected"]


def refused(driver: Driver, server: FakeServer, **answer: object) -> float:
    """Have the agent refused, and return the pause before its next attempt."""
    driver.again()
    driver.step()
    peer = server.accept()
    driver.readable(peer)
    peer.hello(last=None)
    peer.say(error="dois agentes", **answer)
    driver.failed()
    return driver.uplink.deadline - driver.now


def test_a_ping_is_answered_at_once_even_before_the_hello_is(server: FakeServer, told: Told) -> None:
    driver = Driver(server.port)
    driver.step()
    peer = server.accept()
    driver.readable(peer)
    peer.hello(last=None)
    for _ in range(2):
        peer.say(ping=1)
        driver.readable(peer)
        assert peer.line() == {"frota": 1, "pong": 1}
        peer.say(last=0)
        driver.until(lambda: told)
    assert events(told) == ["connected"]


def test_whose_name_is_taken_waits_longer_and_longer_keeps_what_it_may_and_says_so_once(
    server: FakeServer, told: Told
) -> None:
    driver = Driver(server.port, keep=3)
    driver.add(5)
    pauses = [refused(driver, server, code="name_taken", holder="10.0.0.1:5") for _ in range(6)]
    for pause, most in zip(pauses, (5, 10, 20, 40, 60, 60), strict=True):
        assert most / 2 <= pause <= most
    text = "another agent, at 10.0.0.1:5, is called web-1, too: give one of them another name (CPU_NAME, --name)"
    assert told == [
        ("name_conflict", f"{text}; until then 127.0.0.1:{server.port} takes nothing from here; 3 samples wait")
    ]
    driver.again()
    peer = greeted(driver, server)
    assert take(driver, peer, 3) == [3, 4, 5]


def test_another_holder_of_the_name_is_told_anew_and_never_obeyed(server: FakeServer, told: Told) -> None:
    driver = Driver(server.port)
    for holder in ("10.0.0.1:5", "10.0.0.1:5", "\x1b[2J", ["x"]):
        refused(driver, server, code="name_taken", holder=holder)
    assert events(told) == ["name_conflict"] * 3
    assert all(text.isprintable() for _, text in told)


def test_an_older_server_that_lets_agents_replace_each_other_is_tried_less_and_less_often(server: FakeServer) -> None:
    driver, pauses = Driver(server.port), list[float]()
    for _ in range(4):
        driver.add()
        peer = greeted(driver, server)
        take(driver, peer, 1)
        peer.say(ack=driver.spool.last)
        driver.until(lambda: not len(driver.spool))
        peer.say(error=REPLACED)
        driver.failed()
        pauses.append(driver.uplink.deadline - driver.now)
        driver.again()
    assert pauses[-1] >= 20


def test_a_name_that_was_this_agents_own_for_a_minute_is_tried_again_soon(server: FakeServer) -> None:
    driver = Driver(server.port)
    for _ in range(5):
        refused(driver, server, code="name_taken", holder="10.0.0.1:5")
    driver.again()
    greeted(driver, server)
    driver.until(lambda: driver.uplink._connected)
    driver.now += 61
    driver.step()
    driver.uplink.close()
    driver.now += 1
    assert refused(driver, server, code="name_taken", holder="10.0.0.1:5") <= 5


def test_a_copy_of_a_run_that_another_agent_went_on_with_becomes_a_new_one_and_loses_nothing_of_its_own(
    server: FakeServer,
) -> None:
    driver = Driver(server.port)
    driver.add(3, sent=3)
    run = driver.spool.run
    driver.add(5)  # never sent: the name was another agent's
    greeted(driver, server, last=7)
    driver.failed()
    driver.again()
    driver.step()
    peer = server.accept()
    driver.readable(peer)
    assert peer.hello()["run"] != run
    assert take(driver, peer, 5) == [1, 2, 3, 4, 5]


def test_a_sample_that_the_server_does_not_take_is_lost_and_not_all_behind_it(server: FakeServer, told: Told) -> None:
    driver = Driver(server.port)
    driver.add(4)
    peer = greeted(driver, server)
    take(driver, peer, 4)
    peer.say(error="amostra inválida", n=2)
    driver.failed()
    driver.again()
    peer = greeted(driver, server, last=1)
    assert take(driver, peer, 2) == [3, 4]
    assert [event for event in events(told) if event != "connected"] == ["connection_rejected", "samples_lost"]
