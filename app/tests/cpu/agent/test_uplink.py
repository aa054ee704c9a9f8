"""The uplink, step by step in this process: real sockets, and a clock that the test sets."""

import math
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from frota.core.clock import boottime
from frota.cpu.agent import spool as spool_module
from frota.cpu.agent.delivery import MAX_IN_FLIGHT
from frota.cpu.agent.spool import Spool
from frota.cpu.agent.tcp_link import Lookup
from frota.cpu.agent.uplink import Uplink
from frota.cpu.messages import REPLACED, Sample, is_run
from frota.cpu.settings import AgentSettings
from support import TIMEOUT_S, reserved_port
from support.agent import FakeServer, Peer

Records = list[tuple[str, str]]  # event and text of what is logged


class Driver:
    """Drives an uplink as the agent's loop does, with a clock that stands still unless the test sets it."""

    def __init__(self, port: int, *, keep: int = 1000, protocol: str = "native", **settings: Any) -> None:
        settings = {"host": "127.0.0.1", "name": "web-1", **settings}
        self.config = AgentSettings(port=port, protocol=protocol, **settings)
        self.spool = Spool(keep)
        self.awake = threading.Event()
        self.uplink = Uplink(self.config, self.spool if protocol == "native" else None, self.awake.set)
        self.now = 0.0

    def add(self, count: int = 1, cores: int = 1, *, sent: int = 0) -> None:
        """Add samples to the spool, as if those up to the number `sent` had been sent before."""
        for _ in range(count):
            self.spool.add(Sample((1.0,) * cores, 1.0))
        self.spool.sent = max(self.spool.sent, sent)

    def step(self, sample: Sample | None = None) -> None:
        """Poll the connection for at most 10 ms, if there is one, and make a step."""
        if self.uplink.link:
            poll = select.poll()
            poll.register(self.uplink.link, self.uplink.link.poll_events)
            poll.poll(10)
        self.uplink.step(self.now, sample)

    def until(self, done: Callable[[], object]) -> None:
        """Make steps until a condition is true."""
        deadline = time.monotonic() + TIMEOUT_S
        while not done():
            assert time.monotonic() < deadline
            self.step()

    def readable(self, peer: Peer) -> None:
        """Make steps until the server's end can receive something."""
        self.until(lambda: select.select([peer.socket], [], [], 0)[0])

    def fail(self) -> None:
        """Make steps until the connection has failed."""
        self.until(lambda: self.uplink.link is None and self.now < self.uplink.deadline < math.inf)

    def pause(self) -> float:
        """Let the pause before the next attempt pass; return its length."""
        seconds = self.uplink.deadline - self.now
        self.now = self.uplink.deadline
        return seconds


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Records:
    records: Records = []
    monkeypatch.setattr("frota.logs.log.record", lambda _, event, text, **__: records.append((event, text)))
    return records


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def accept(driver: Driver, server: FakeServer) -> Peer:
    """Accept the agent, and wait for its first message."""
    driver.step()
    peer = server.accept()
    driver.readable(peer)
    return peer


def connect(driver: Driver, server: FakeServer, last: int | None = 0) -> Peer:
    """Accept the agent and receive its hello; answer it with `last`, unless that is None."""
    peer = accept(driver, server)
    peer.hello(last)
    return peer


def receive(driver: Driver, peer: Peer, count: int) -> list[int]:
    """Receive so many samples; return their numbers."""
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


def events(records: Records) -> list[str]:
    return [event for event, _ in records]


def test_delivery_in_order(server: FakeServer, records: Records) -> None:
    """Samples that the server has are deleted; the others are sent in order."""
    driver = Driver(server.port)
    driver.add(5, sent=2)
    peer = connect(driver, server, last=2)
    assert receive(driver, peer, 3) == [3, 4, 5]
    assert len(driver.spool) == 3
    peer.send(ack=4)
    driver.until(lambda: len(driver.spool) == 1)
    driver.add()
    assert receive(driver, peer, 1) == [6]
    assert records == [("connected", f"[CLIENTE] Conectado ao servidor 127.0.0.1:{server.port}")]


def test_hello_names_host_and_run(server: FakeServer) -> None:
    """The hello names the host, the run, the interval and the agent's process."""
    driver = Driver(server.port, interval=2.5)
    peer = accept(driver, server)
    message = peer.receive()
    assert is_run(message["hello"].pop("instance"))
    hello = {"host": "web-1", "run": driver.spool.run, "interval": 2.5, "acked": 0}
    assert message == {"frota": 1, "hello": hello}


def test_samples_wait_for_the_hellos_answer(server: FakeServer) -> None:
    """No sample is sent before the server has answered the hello."""
    driver = Driver(server.port)
    driver.add(3)
    peer = connect(driver, server, last=None)
    for _ in range(5):
        driver.step()
    assert not select.select([peer.socket], [], [], 0)[0]
    peer.send(last=0)
    assert receive(driver, peer, 3) == [1, 2, 3]


def test_age_at_the_time_of_sending(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample's age is that at the time of sending."""
    driver = Driver(server.port)
    driver.add()
    later = boottime() + 60
    monkeypatch.setattr(spool_module, "boottime", lambda: later)
    peer = connect(driver, server)
    driver.readable(peer)
    assert peer.sample()["age"] == pytest.approx(60, abs=5)


def test_samples_in_flight_are_bounded(server: FakeServer) -> None:
    """At most MAX_IN_FLIGHT samples are sent and not acknowledged."""
    driver = Driver(server.port)
    driver.add(MAX_IN_FLIGHT + 200)
    peer = connect(driver, server)
    assert receive(driver, peer, MAX_IN_FLIGHT) == list(range(1, MAX_IN_FLIGHT + 1))
    for _ in range(5):
        driver.step()
    assert not select.select([peer.socket], [], [], 0)[0]
    peer.send(ack=30)
    assert receive(driver, peer, 30) == list(range(MAX_IN_FLIGHT + 1, MAX_IN_FLIGHT + 31))


def test_server_that_does_not_read(server: FakeServer) -> None:
    """While the server does not read, at most one batch waits for the socket, and nothing is lost."""
    driver = Driver(server.port)
    driver.add(MAX_IN_FLIGHT, cores=4096)
    peer = connect(driver, server)
    driver.until(lambda: driver.uplink.link and driver.uplink.link.pending_bytes)
    assert driver.uplink.link
    assert driver.uplink.link.pending_bytes < 1_100_000  # of 10 MB
    assert receive(driver, peer, MAX_IN_FLIGHT) == list(range(1, MAX_IN_FLIGHT + 1))


def test_unacknowledged_samples_are_sent_again(server: FakeServer, records: Records) -> None:
    """After a lost connection all samples that were not acknowledged are sent again."""
    driver = Driver(server.port)
    driver.add(3)
    peer = connect(driver, server)
    receive(driver, peer, 3)
    peer.send(ack=1)
    driver.until(lambda: len(driver.spool) == 2)
    peer.close()
    driver.fail()
    driver.add(2)
    driver.pause()
    assert receive(driver, connect(driver, server, last=1), 4) == [2, 3, 4, 5]
    assert events(records) == ["connected", "disconnected", "connected"]


def test_dropped_samples_are_logged_once(server: FakeServer, records: Records) -> None:
    """Samples that the full spool dropped are logged once, with their count."""
    driver = Driver(server.port, keep=10)
    driver.add(15)
    assert receive(driver, connect(driver, server), 10) == list(range(6, 16))
    text = "5 samples are lost (spool full, rejected by the server, or agent killed); 5 since the start"
    assert records[1:] == [("samples_lost", text)]


def test_stored_samples_are_not_lost(server: FakeServer, records: Records) -> None:
    """Dropped samples that the server has are not logged as lost."""
    driver = Driver(server.port, keep=10)
    driver.add(15, sent=5)
    assert receive(driver, connect(driver, server, last=5), 10) == list(range(6, 16))
    assert events(records) == ["connected"]


def test_server_without_its_history(server: FakeServer, records: Records) -> None:
    """A server that lost its history gets the samples that are left, and none counts as lost."""
    driver = Driver(server.port)
    driver.add(5)
    driver.spool.acknowledge(3)
    assert receive(driver, connect(driver, server, last=0), 2) == [4, 5]
    assert events(records) == ["connected"]


def test_server_with_unused_numbers(server: FakeServer, records: Records) -> None:
    """If the server has numbers that the agent never used, the agent starts a new run."""
    driver = Driver(server.port)
    driver.add(2)
    run = driver.spool.run
    connect(driver, server, last=9)
    driver.fail()
    assert "starting a new run" in records[0][1]
    driver.pause()
    peer = accept(driver, server)
    assert peer.hello()["run"] not in ("", run)
    assert receive(driver, peer, 2) == [1, 2]


def test_new_interval_on_the_same_connection(server: FakeServer) -> None:
    """A new interval is announced on the same connection, and no sample is sent again."""
    driver = Driver(server.port)
    driver.add(2)
    peer = connect(driver, server)
    receive(driver, peer, 2)
    driver.uplink.reconfigure(AgentSettings(host="127.0.0.1", port=server.port, name="web-1", interval=9.0))
    driver.readable(peer)
    assert peer.hello(last=1)["interval"] == 9.0
    driver.until(lambda: len(driver.spool) == 1)
    driver.add()
    assert receive(driver, peer, 1) == [3]  # and not 2, which is in flight


@pytest.mark.parametrize("interval", [1.0, 100.0])
def test_acknowledgement_timeout(server: FakeServer, records: Records, interval: float) -> None:
    """A connection ends without an acknowledgement in time, but not while no sample is in flight."""
    driver = Driver(server.port, interval=interval)
    driver.add()
    peer = connect(driver, server)
    receive(driver, peer, 1)
    assert driver.uplink.deadline == max(15.0, 3 * interval)
    peer.send(ack=1)
    driver.until(lambda: not len(driver.spool))
    assert driver.uplink.deadline == math.inf
    driver.now = 1000.0
    driver.add()
    driver.step()
    assert driver.uplink.deadline == 1000 + max(15.0, 3 * interval)
    driver.now = driver.uplink.deadline
    driver.fail()
    assert events(records) == ["connected", "disconnected"]


def test_hello_timeout(server: FakeServer, records: Records) -> None:
    """A connection ends if the hello is not answered in time."""
    driver = Driver(server.port)
    driver.step()
    server.accept()
    driver.step()
    assert driver.uplink.deadline == 15.0
    driver.now = 15.0
    driver.fail()
    assert records == [("connect_failed", f"no connection to 127.0.0.1:{server.port}: no answer from the server")]


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
def test_wrong_server(server: FakeServer, records: Records, answer: bytes) -> None:
    """Whatever another kind of server sends is logged, printable, and the agent pauses."""
    driver = Driver(server.port)
    peer = accept(driver, server)
    peer.socket.sendall(answer)
    driver.fail()
    assert records[-1][0] == "wrong_server"
    assert records[-1][1].isprintable()
    assert driver.uplink.deadline > driver.now


def test_rejection_is_logged_per_connection(server: FakeServer, records: Records) -> None:
    """A server's error is logged once for each connection, and the next attempt waits for the longest pause."""
    driver = Driver(server.port)
    for _ in range(2):
        peer = accept(driver, server)
        peer.send(error="servidor cheio\x1b[2J")
        driver.fail()
        assert driver.pause() >= 2.5  # half of the longest pause
    text = f"127.0.0.1:{server.port} rejected the connection: servidor cheio\\x1b[2J"
    assert records == [("connection_rejected", text)] * 2


def test_backoff(records: Records) -> None:
    """Pauses double, with jitter, up to 5 s, and restart after a delivery; a reason is logged once."""
    with reserved_port() as port:
        driver = Driver(port)
        pauses = []
        for _ in range(8):
            driver.fail()
            pauses.append(driver.pause())
        for pause, longest in zip(pauses, (0.25, 0.5, 1, 2, 4, 5, 5, 5), strict=True):
            assert longest / 2 <= pause <= longest
        assert events(records) == ["connect_failed"]  # the same reason is logged once
        with FakeServer(port) as server:
            driver.add()
            peer = connect(driver, server)
            receive(driver, peer, 1)
            peer.send(ack=1)
            driver.until(lambda: not len(driver.spool))
        driver.fail()
        assert driver.pause() <= 0.25


def test_backoff_is_bounded_by_the_interval() -> None:
    """No pause is longer than the interval, if that is more than a second."""
    with reserved_port() as port:
        driver = Driver(port, interval=2.0)
        for _ in range(8):
            driver.fail()
            pause = driver.pause()
        assert 1 <= pause <= 2


def test_backoff_without_acknowledgements(server: FakeServer) -> None:
    """Pauses grow while a server accepts connections and acknowledges nothing."""
    driver = Driver(server.port)
    for _ in range(6):
        connect(driver, server).close()
        driver.fail()
        pause = driver.pause()
    assert pause > 1


def test_all_addresses_are_tried(server: FakeServer, monkeypatch: pytest.MonkeyPatch, records: Records) -> None:
    """All addresses of a host are tried before the agent pauses."""
    with reserved_port() as closed:
        addresses = [(socket.AF_INET, ("127.0.0.1", closed)), (socket.AF_INET, ("127.0.0.1", server.port))]
        monkeypatch.setattr(Lookup, "addresses", lambda _: list(addresses))
        driver = Driver(server.port)
        driver.until(lambda: select.select([server.fileno()], [], [], 0)[0])
        connect(driver, server)
        driver.until(lambda: records)
    assert events(records) == ["connected"]


def test_slow_lookup_does_not_block(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lookup of a name does not block the agent, and wakes it at the end."""
    go = threading.Event()
    real = socket.getaddrinfo

    def slow(_host: bytes, *words: Any, flags: int, **options: Any) -> Any:
        if flags:
            raise socket.gaierror(socket.EAI_NONAME, "a name")
        assert go.wait(TIMEOUT_S)
        return real("127.0.0.1", *words, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    driver = Driver(server.port, host="slow.example")
    driver.step()
    driver.step()
    assert (driver.uplink.link, driver.uplink.deadline) == (None, math.inf)
    go.set()
    assert driver.awake.wait(TIMEOUT_S)
    driver.until(lambda: driver.uplink.link)
    connect(driver, server)


@pytest.mark.parametrize("host", ["a..b", "ünmöglich..x"])
def test_invalid_host_name(host: str, records: Records) -> None:
    """An invalid host name is logged and looked up again."""
    driver = Driver(5001, host=host)
    driver.fail()
    assert records[0][0] == "connect_failed"
    assert driver.uplink.deadline > 0


def test_self_connection(server: FakeServer, monkeypatch: pytest.MonkeyPatch, records: Records) -> None:
    """A socket that TCP connected to itself counts as refused."""
    driver = Driver(server.port)
    monkeypatch.setattr(socket.socket, "getsockname", socket.socket.getpeername)
    driver.fail()
    assert records == [("connect_failed", f"no connection to 127.0.0.1:{server.port}: Connection refused")]


def test_keepalive(server: FakeServer) -> None:
    """The kernel notices a dead server: keepalive and the timeout of unacknowledged data are set."""
    driver = Driver(server.port)
    driver.step()
    server.accept()
    assert driver.uplink.link
    with socket.socket(fileno=os.dup(driver.uplink.link.fileno())) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000


def test_legacy_protocol(server: FakeServer, records: Records) -> None:
    """The legacy protocol sends each sample once as its text, and keeps none."""
    driver = Driver(server.port, protocol="original")
    sample = Sample((37.3, 31.5, 25.8), 31.5)
    driver.until(lambda: records)
    peer = server.accept()
    driver.step(sample)
    text = "CPU -> Núcleos: [37.3, 31.5, 25.8] | Média: 31.5%".encode()
    assert peer.socket.recv(4096) == text
    peer.close()
    driver.fail()
    driver.step(sample)  # no connection: this sample is dropped
    driver.pause()
    driver.until(lambda: events(records).count("connected") == 2)
    peer = server.accept()
    driver.step(sample)
    assert peer.socket.recv(4096) == text
    assert not len(driver.spool)


def test_legacy_server_that_answers(server: FakeServer, records: Records) -> None:
    """Whatever a legacy server sends is ignored."""
    driver = Driver(server.port, protocol="original")
    driver.until(lambda: records)
    peer = server.accept()
    peer.socket.sendall(b'{"frota": 1, "error": "?"}\n' * 1000)
    for _ in range(10):
        driver.step()
    assert events(records) == ["connected"]


def reject(driver: Driver, server: FakeServer, **fields: object) -> float:
    """Reject the agent's next connection; return the pause before the one after it, which then passes."""
    connect(driver, server, last=None).send(error="dois agentes", **fields)
    driver.fail()
    return driver.pause()


def test_ping(server: FakeServer, records: Records) -> None:
    """A ping is answered at once, also before the hello is answered."""
    driver = Driver(server.port)
    peer = accept(driver, server)
    peer.hello(last=None)
    for _ in range(2):
        peer.send(ping=1)
        driver.readable(peer)
        assert peer.receive() == {"frota": 1, "pong": 1}
        peer.send(last=0)
        driver.until(lambda: records)
    assert events(records) == ["connected"]


def test_name_conflict(server: FakeServer, records: Records) -> None:
    """While another agent has the name, pauses grow to a minute, samples wait, and it is logged once."""
    driver = Driver(server.port, keep=3)
    driver.add(5)
    pauses = [reject(driver, server, code="name_taken", holder="10.0.0.1:5") for _ in range(6)]
    for pause, longest in zip(pauses, (5, 10, 20, 40, 60, 60), strict=True):
        assert longest / 2 <= pause <= longest
    text = "another agent, at 10.0.0.1:5, has the name web-1, too: rename one of them (CPU_NAME, --name); until then"
    text += f" 127.0.0.1:{server.port} accepts no samples from this one; 3 samples wait in the spool"
    assert records == [("name_conflict", text)]
    peer = connect(driver, server)
    assert receive(driver, peer, 3) == [3, 4, 5]


def test_name_conflict_with_another_holder(server: FakeServer, records: Records) -> None:
    """Another holder of the name is logged again, and always printable."""
    driver = Driver(server.port)
    for holder in ("10.0.0.1:5", "10.0.0.1:5", "\x1b[2J", ["x"]):
        reject(driver, server, code="name_taken", holder=holder)
    assert events(records) == ["name_conflict"] * 3
    assert all(text.isprintable() for _, text in records)


def test_replaced_by_another_agent(server: FakeServer) -> None:
    """If an older server lets agents replace each other, pauses grow."""
    driver, pauses = Driver(server.port), list[float]()
    for _ in range(4):
        driver.add()
        peer = connect(driver, server)
        receive(driver, peer, 1)
        peer.send(ack=driver.spool.last)
        driver.until(lambda: not len(driver.spool))
        peer.send(error=REPLACED)
        driver.fail()
        pauses.append(driver.pause())
    assert pauses[-1] >= 20


def test_settled_name(server: FakeServer, records: Records) -> None:
    """After a connection of a minute the pauses of a name conflict restart."""
    driver = Driver(server.port)
    for _ in range(5):
        reject(driver, server, code="name_taken", holder="10.0.0.1:5")
    connect(driver, server)
    driver.until(lambda: records[-1][0] == "connected")
    driver.now += 61
    driver.step()
    driver.uplink.close()
    driver.now += 1
    assert reject(driver, server, code="name_taken", holder="10.0.0.1:5") <= 5


def test_copied_run(server: FakeServer) -> None:
    """An agent whose run another one continued starts a new run, and loses no sample that it did not send."""
    driver = Driver(server.port)
    driver.add(3, sent=3)
    run = driver.spool.run
    driver.add(5)  # never sent: the other agent had the name
    connect(driver, server, last=7)
    driver.fail()
    driver.pause()
    peer = accept(driver, server)
    assert peer.hello()["run"] != run
    assert receive(driver, peer, 5) == [1, 2, 3, 4, 5]


def test_rejected_sample(server: FakeServer, records: Records) -> None:
    """A sample that the server rejects is lost, those after it are delivered."""
    driver = Driver(server.port)
    driver.add(4)
    peer = connect(driver, server)
    receive(driver, peer, 4)
    peer.send(error="amostra inválida", n=2)
    driver.fail()
    driver.pause()
    peer = connect(driver, server, last=1)
    assert receive(driver, peer, 2) == [3, 4]
    assert [event for event in events(records) if event != "connected"] == ["connection_rejected", "samples_lost"]
