"""The server over real sockets: every message gets a response, and no client affects another."""

import json
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from support import FULL, STARTED, TIMEOUT_S, reserved_port, start_frota
from support.processes import activated
from support.zmq_server import CONTEXT, ListServer, list_server, raw_client

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)  # rfc.zeromq.org/spec/23
READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ListServer]:
    with list_server(tmp_path) as started:
        yield started


def test_recorded_legacy_session(server: ListServer) -> None:
    """The recorded session of the legacy server is reproduced."""
    with server.raw_client() as requester:

        def ask(text: str) -> str:
            return requester.request(text.encode()).decode()

        assert ask("mostrar") == "[]"
        for value in "3357935":
            assert ask(f"append {value}") == f"Elemento '{value}' adicionado."
        assert ask("mostrar") == "['3', '3', '5', '7', '9', '3', '5']"
        assert ask("insert 4 5") == "Elemento '5' inserido na posição 4."
        assert ask("remover 5") == "Elemento '5' removido."
        assert ask("pesquisar 6") == "Não encontrado"
        assert ask("ordenar_cresc") == "Lista ordenada crescentemente."
        assert ask("mostrar") == "['3', '3', '3', '5', '5', '7', '9']"
        assert ask("ordenar_desc") == "Lista ordenada decrescentemente."
        assert ask("mostrar") == "['9', '7', '5', '5', '3', '3', '3']"
        assert ask("limpar") == "Lista limpa."
        assert ask("mostrar") == "[]"


@pytest.mark.parametrize(
    "frames",
    [
        [b"append"],
        [b"insert x y"],
        [b"insert 99 y"],
        [b""],
        [b"\xff\x00\xfe"],
        [b"append " + b"x" * 5_000_000],
        [b'{"op": "append", "value": "' + b"x" * 5_000_000 + b'"}'],
        [b"mostrar", b"mostrar"],
        [b"append 1", b""],
        [b""] * 50,
        [b"{" + b"[" * 100_000],
        [b'{"op": "append", "value": ' + b"[]," * 100_000 + b"[]}"],
        [b"append " + b"a " * 300_000],
        [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"],
    ],
    ids=lambda frames: repr(b"|".join(frames)[:20]),
)
def test_malformed_message_gets_an_error(server: ListServer, frames: list[bytes]) -> None:
    """A malformed message gets an error, and the next one is served."""
    with server.raw_client() as requester:
        answer = requester.request(*frames).decode()
        text = json.loads(answer)["text"] if answer.startswith("{") else answer
        assert text.startswith(("Comando inválido", "Posição inválida", "Elemento longo demais"))
        assert len(text) < 300
        assert requester.request(b"mostrar") == b"[]"
    assert server.request("append 1") == "Elemento '1' adicionado."


@pytest.mark.parametrize("delimiter", [[], [b""]])
def test_dealer_gets_one_response_for_each_message(server: ListServer, delimiter: list[bytes]) -> None:
    """A DEALER socket gets one response for each message, in its own envelope."""
    messages = [[b"append 1"], [b"nonsense"], [b"a", b"b", b"c"], [b"\xff"], [b"mostrar"]]
    with server.raw_client(zmq.DEALER) as requester:
        for message in messages:
            requester.socket.send_multipart([*delimiter, *message])
        responses = [requester.socket.recv_multipart() for _ in messages]
        assert [answer[:-1] for answer in responses] == [delimiter] * 5
        assert [answer[-1].decode().partition(":")[0] for answer in responses] == [
            "Elemento '1' adicionado.",
            "Comando inválido.",
            "Comando inválido",
            "Comando inválido",
            "['1']",
        ]
        assert not requester.socket.poll(50)


def test_correlated_requests(server: ListServer) -> None:
    """A REQ socket with correlation gets the response to its last request."""
    with server.raw_client() as requester:
        requester.socket.req_correlate = requester.socket.req_relaxed = 1
        for number in range(3):  # abandoned before their responses
            requester.socket.send(f"append {number}".encode())
        assert requester.request(b"mostrar") == b"['0', '1', '2']"


def test_pipelined_requests_are_answered_in_order(server: ListServer) -> None:
    """Pipelined requests are answered in order."""
    with server.raw_client(zmq.DEALER) as requester:
        requester.socket.sndhwm = 0
        for number in range(5000):
            requester.socket.send_multipart([b"", f"append {number}".encode()])
        for number in range(5000):
            assert requester.socket.recv_multipart()[-1].decode() == f"Elemento '{number}' adicionado."


def test_oversized_frame_ends_its_connection(server: ListServer) -> None:
    """An oversized frame ends its connection, and no other."""
    with server.raw_client(zmq.DEALER) as flooder, server.raw_client() as other:
        flooder.socket.send_multipart([b"", b"append " + b"x" * (9 * 2**20)])
        assert other.request(b"append 1") == b"Elemento '1' adicionado."
        assert not flooder.socket.poll(100)
        assert flooder.request(b"", b"mostrar") == b"['1']"  # ZeroMQ has reconnected


def test_client_that_never_reads_has_bounded_cost(tmp_path: Path) -> None:
    """A client that never reads uses bounded memory, and blocks no other client."""
    with (
        list_server(tmp_path, fresh=True) as server,
        server.raw_client(zmq.DEALER) as lazy,
        server.raw_client() as other,
    ):
        lazy.socket.rcvhwm = 1
        value = "x" * 60_000
        for number in range(100):
            other.native("append", value=f"{value}{number}")
        before = server.rss_kib()
        lazy.socket.sndtimeo = 200
        for _ in range(300):  # six megabytes for each response
            try:
                lazy.socket.send_multipart([b"", b"mostrar"])
            except zmq.Again:
                break
            assert other.request(b"pesquisar x") == "Não encontrado".encode()
        assert server.rss_kib() - before < 400 * 1024


READY_AS = b"\x04%c\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ\x07User-Id\x00\x00\x00%c%b"


@pytest.mark.parametrize("name", [b"\xff", b"ana"])
def test_client_metadata_is_untrusted(server: ListServer, name: bytes) -> None:
    """A client's User-Id metadata neither stops the server nor names the client."""
    with server.connect() as client:
        client.sendall(GREETING + READY_AS % (37 + len(name), len(name), name))
        read_until(client, b"Identity\x00\x00\x00\x00")
        client.sendall(request(b"append 1"))
        read_until(client, b"Elemento '1' adicionado.")
    assert server.request("mostrar") == "['1']"


def test_long_envelope_is_not_sent_back(server: ListServer) -> None:
    """A long envelope is not sent back."""
    with server.raw_client(zmq.DEALER) as requester:
        requester.socket.send_multipart([b"x" * 5000, b"", b"mostrar"])
        assert requester.socket.recv_multipart() == [
            "Comando inválido: a mensagem tem 3 partes; deve ter uma só.".encode()
        ]


def test_slow_requests_share_the_loop(tmp_path: Path) -> None:
    """Many slow requests of one client take turns with those of others."""
    flags = ("--log-requests-per-second", 0, "--durable", "no")
    with list_server(tmp_path, *flags) as server, server.raw_client(zmq.DEALER) as dealer, server.raw_client() as other:
        dealer.socket.sndhwm = dealer.socket.rcvhwm = 0
        for number in range(60_000):
            dealer.socket.send_multipart([b"", f"append {number}".encode()])
        for _ in range(60_000):
            dealer.socket.recv_multipart()
        for _ in range(2000):
            dealer.socket.send_multipart([b"", b'{"op": "search", "value": "x"}'])
        assert other.request(b"limpar") == b"Lista limpa."
        versions = [json.loads(dealer.socket.recv_multipart()[-1])["version"] for _ in range(2000)]
        assert versions[-1] == 60_001, "the other client waited for all of them"


def test_flooded_publication_port_has_bounded_cost(tmp_path: Path) -> None:
    """A client that floods the publication port uses bounded memory."""
    with list_server(tmp_path, fresh=True) as server, server.raw_client() as other, CONTEXT.socket(zmq.XSUB) as flooder:
        flooder.linger = 0
        flooder.connect(f"tcp://127.0.0.1:{other.native('info')['watch_port']}")
        before = server.rss_kib()
        for _ in range(200_000):
            flooder.send(b"x")
        assert other.request(b"append 1") == b"Elemento '1' adicionado."
        assert server.rss_kib() - before < 50 * 1024


def test_failed_fsync_ends_the_server(tmp_path: Path) -> None:
    """After a failed fsync no response is sent, and the server ends with status 1."""
    code = """
import errno, os, sys
real, left = os.fdatasync, [2]
def fdatasync(fd):
    left[0] -= 1
    if left[0] == 0:
        raise OSError(errno.EIO, "Input/output error")
    real(fd)
os.fdatasync = fdatasync
from frota.cli import main
sys.exit(main(sys.argv[1:]))
"""
    log = tmp_path / "log"
    with reserved_port() as port, log.open("wb") as output_:
        words = ["list", "serve", "--port", port, "--state-dir", tmp_path / "state"]
        process = subprocess.Popen([sys.executable, "-c", code, *map(str, words)], stderr=output_)
        STARTED.append(process)
        with raw_client(port) as requester, raw_client(port) as other:
            assert requester.request(b"append kept") == b"Elemento 'kept' adicionado."
            for client in (requester, other):
                client.socket.send(b"append lost")
            assert process.wait(TIMEOUT_S) == 1
            assert not requester.socket.poll(100)
            assert not other.socket.poll(100)
    assert "cannot write the change log, no client gets a response: [Errno 5]" in log.read_text()
    assert "everything answered is on disk" not in log.read_text()


def test_thousands_of_connections(server: ListServer) -> None:
    """With thousands of idle connections the next client is served."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 10_000 if FULL else 2000
    if hard < count + 500:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 500), hard))
    connections: list[socket.socket] = []
    try:
        for number in range(count):
            connection = socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S)
            if number % 2:
                connection.sendall(GREETING + READY)
            connections.append(connection)
        assert server.request("append 1", "mostrar") == "['1']"
    finally:
        for connection in connections:
            connection.close()
    assert server.request("mostrar") == "['1']"
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", bytes(4096), GREETING + b"\xff" * 4096, GREETING + READY + b"\x02" + b"\x7f" * 8],
    ids=["http", "zeros", "no handshake", "a frame of eight exabytes"],
)
def test_non_zeromq_client_affects_no_other(server: ListServer, garbage: bytes) -> None:
    """A client that does not speak ZeroMQ affects no other."""
    with server.connect() as client:
        client.sendall(garbage)
        assert server.request("append 1") == "Elemento '1' adicionado."


def test_elements_with_special_characters(server: ListServer) -> None:
    """Elements with spaces and control characters are stored unchanged."""
    values = ["a b", " ", "", "\x1b[31m\n", "ção", "'\"\\", "\U0001f600"]
    with server.raw_client() as requester:
        for value in values:
            assert requester.native("append", value=value)["ok"]
        assert requester.request(b"mostrar").decode() == repr(values)
    assert server.elements() == values


def test_long_list_is_sorted_in_the_thread(tmp_path: Path) -> None:
    """A long list is sorted and shown while other requests are served."""
    with list_server(tmp_path, "--log-requests-per-second", 0) as server, server.raw_client(zmq.DEALER) as filler:
        filler.socket.sndhwm = filler.socket.rcvhwm = 0
        count = 60_000
        for number in range(count):
            filler.socket.send_multipart([b"", f"append {number * 7919 % count}".encode()])
        for _ in range(count):
            filler.socket.recv_multipart()
        # The responses to the slow requests come after those to the fast ones sent after them.
        messages = [b"ordenar_cresc", b"mostrar", b'{"op": "append", "list": "other", "value": "x"}', b"pesquisar 5"]
        for message in messages:
            filler.socket.send_multipart([b"", message])
        responses = [filler.socket.recv_multipart()[-1] for _ in messages]
        assert [answer[:9] for answer in responses[:2]] == [b'{"ok":tru', b"Encontrad"]
        assert b"Lista ordenada crescentemente." in responses[2:]
        assert server.elements() == sorted(str(number) for number in range(count))
        # A sort in progress when the server is stopped is finished, written and answered.
        filler.socket.send_multipart([b"", b"ordenar_desc"])
        assert server.stop() == 0
        assert filler.socket.recv_multipart()[-1] == b"Lista ordenada decrescentemente."
        server.start()
        assert server.elements() == sorted((str(number) for number in range(count)), reverse=True)


def test_subscriber_gets_every_change_of_its_list(server: ListServer) -> None:
    """A subscriber gets every change of its list, in order."""
    with server.raw_client() as requester, CONTEXT.socket(zmq.SUB) as subscriber:
        subscriber.linger, subscriber.rcvtimeo = 0, int(TIMEOUT_S * 1000)
        subscriber.connect(f"tcp://127.0.0.1:{requester.native('info')['watch_port']}")
        subscriber.subscribe(b"one\0")
        deadline = time.monotonic() + TIMEOUT_S
        while not subscriber.poll(20):  # until the subscription has arrived
            assert time.monotonic() < deadline
            requester.native("append", list="one", value="first")
        latest = json.loads(subscriber.recv_multipart()[1])
        version = (
            requester.native("append", list="onetwo", value="x") and requester.native("info", list="one")["version"]
        )
        requester.native("insert", list="one", position=0, value="second")
        while latest["version"] <= version:
            topic, content = subscriber.recv_multipart()
            assert topic == b"one\0"
            assert json.loads(content)["version"] == latest["version"] + 1
            latest = json.loads(content)
        assert (latest["op"], latest["value"], latest["position"]) == ("insert", "second", 0)
        assert requester.native("changes", list="one", since=version)["changes"] == [latest]


def test_log_has_legacy_texts_and_no_forged_lines(server: ListServer) -> None:
    """The log has the legacy texts, and no client can forge a line."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    server.request("append a")
    server.request("append \x1b[2Ja\u2028b")
    server.native("append", value="x", traceparent=f"00-{trace}-b7ad6b7169203331-01")
    log = server.log()
    assert f"Servidor ZeroMQ iniciado em 127.0.0.1:{server.port}" in log
    assert "Mensagem recebida: append a\n" in log
    assert "Enviando resposta ao cliente: Elemento 'a' adicionado.\n" in log
    assert "\x1b" not in log
    assert "\u2028" not in log


def test_request_log_is_rate_limited(tmp_path: Path) -> None:
    """The log of requests is rate limited, and suppressed records are counted."""
    with list_server(tmp_path, "--log-requests-per-second", 5) as server, server.raw_client() as requester:
        for _ in range(500):
            requester.request(b"mostrar")
        assert server.stop() == 0
        assert server.log().count("Mensagem recebida") < 100
        assert "requests suppressed by the log" in server.log()


def test_memory_mode_writes_nothing(tmp_path: Path) -> None:
    """With --durable no, nothing is written."""
    with list_server(tmp_path, "--durable", "no") as server:
        assert server.request("append a", "mostrar") == "['a']"
        server.kill()
        server.start()
        assert server.request("mostrar") == "[]"
    assert not server.state.exists()


def test_state_folder_in_use_is_rejected(server: ListServer) -> None:
    """A state folder in use is rejected, with the process that uses it."""
    other = start_frota("list", "serve", "--port", 0, "--state-dir", server.state, stderr=subprocess.PIPE)
    _, errors = other.communicate(timeout=TIMEOUT_S)
    assert other.returncode == 1
    assert f"is in use by process {server.process.pid}".encode() in errors


def test_port_in_use_is_named(server: ListServer, tmp_path: Path) -> None:
    """A port in use is named."""
    other = start_frota(
        "list", "serve", "--port", server.port, "--state-dir", tmp_path / "other", stderr=subprocess.PIPE
    )
    _, errors = other.communicate(timeout=TIMEOUT_S)
    assert other.returncode == 1
    assert f"127.0.0.1:{server.port}: Address already in use".encode() in errors


def test_without_key_only_loopback_is_served(tmp_path: Path) -> None:
    """Without a key the server only listens on loopback."""
    other = start_frota("list", "serve", "--host", "0.0.0.0", "--state-dir", tmp_path, stderr=subprocess.PIPE)
    _, errors = other.communicate(timeout=TIMEOUT_S)
    assert other.returncode == 78
    assert b"without a key only loopback is served. `frota list keygen` makes one" in errors


def test_stop_answers_all_requests(tmp_path: Path) -> None:
    """A stop answers all requests that were sent, and their changes are on disk."""
    with list_server(tmp_path) as server, server.raw_client(zmq.DEALER) as requester:
        for number in range(500):  # more than ZeroMQ takes for one client at a time
            requester.socket.send_multipart([b"", f"append {number}".encode()])
        assert requester.socket.poll(int(TIMEOUT_S * 1000))
        assert server.stop() == 0
        answered = 0
        while requester.socket.poll(200):
            requester.socket.recv_multipart()
            answered += 1
        server.start()
        assert server.elements()[:answered] == [str(number) for number in range(answered)]
        assert answered == 500


@contextmanager
def socket_activated(listener: socket.socket, state: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server on a listening socket as systemd passes it; it must end with status 0."""
    words = ["list", "serve", "--port", listener.getsockname()[1], "--state-dir", state]
    process = activated(listener, *words, stderr=subprocess.DEVNULL)
    yield process
    process.terminate()
    assert process.wait(TIMEOUT_S) == 0


def test_last_response_ends_the_connection(tmp_path: Path) -> None:
    """The last response arrives together with the end of the connection; a legacy client would block otherwise."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket_activated(listener, tmp_path / "state") as server:
        waiting = select.poll()
        clients = {}
        for _ in range(50):
            client = socket.create_connection(listener.getsockname(), TIMEOUT_S)
            shake_hands(client)
            client.sendall(request(b"append x"))
            waiting.register(client, select.POLLIN)
            clients[client.fileno()] = client
        server.terminate()
        while clients:
            for descriptor, _ in waiting.poll(TIMEOUT_S * 1000):
                client = clients[descriptor]
                assert client.recv(1000).endswith(b"Elemento 'x' adicionado."), "a request was lost"
                client.setblocking(False)
                try:
                    assert client.recv(1000) == b""
                except BlockingIOError:  # there was time to ask again
                    client.sendall(request(b"append x"))
                else:
                    waiting.unregister(clients.pop(descriptor))
        assert server.wait(TIMEOUT_S) == 0


def test_legacy_client_sees_restarts_as_pauses(tmp_path: Path) -> None:
    """A legacy client sees restarts of a socket-activated server as pauses."""
    with socket.create_server(("127.0.0.1", 0)) as listener, raw_client(listener.getsockname()[1]) as requester:
        for number in range(3):
            with socket_activated(listener, tmp_path):
                assert requester.request(b"append x") == b"Elemento 'x' adicionado."
                assert requester.native("info")["length"] == number + 1


def request(text: bytes) -> bytes:
    """Return a message as a REQ socket sends it."""
    return b"\x01\x00\x00" + bytes([len(text)]) + text


def shake_hands(connection: socket.socket) -> None:
    connection.sendall(GREETING + READY)
    read_until(connection, b"Identity\x00\x00\x00\x00")


def read_until(connection: socket.socket, end: bytes) -> None:
    received = b""
    while not received.endswith(end):
        received += (piece := connection.recv(1000))
        assert piece, f"the connection has ended after {received!r}"
