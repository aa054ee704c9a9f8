"""Untrusted input never becomes a field of the journal, whichever way it comes in."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc.aio
import pytest
import zmq
from loguru import logger

from frota.images import messages
from frota.images.event_log import ProducerEventLog, WorkerEventLog
from frota.images.messages import QueuedImage
from frota.images.proto import images_pb2 as native
from frota.logs import log
from support import TIMEOUT_S, read_all
from support.agent import FakeServer
from support.journal import REAL, Fields, Journal, journal, logged
from support.peers import exchange
from support.zmq_server import raw_client

TRACE, FORGED_TRACE = "a" * 32, "f" * 32
# Fields in the forms of the native protocol: NAME=value, and NAME, the length, the value.
FORGERY = (
    f"marker\nFORGED=yes\nPRIORITY=0\nTRACE_ID={FORGED_TRACE}\nFORGED\n{chr(3)}{chr(0) * 7}yes\n\n_FORGED=yes"
    "\nMESSAGE=forged"
)
ONE_LINE = f"marker=1 FORGED=yes TRACE_ID={FORGED_TRACE}"  # what names without control characters can hold
BINARY = b"\xff\x00marker\nFORGED=yes\n" + FORGERY.encode()


def sensor_text(folder: Path, records: Journal) -> None:
    """Send readings, native and legacy, with text that is none."""
    with logged("sensors", "serve", "--host", "127.0.0.1", "--port", 0, "--state-dir", folder / "state"):
        port = records.port()
        greeting = b"frota hello 6ba7b810-9dad-11d1-80b4-00c04fd430c8\n"
        for data in (
            FORGERY.encode(),
            FORGERY.replace("\n", "\r").encode() + b"\n",
            f"{ONE_LINE} - K: 5%".encode(),
            greeting + FORGERY.encode(),
            BINARY,
            f"frota hello {ONE_LINE}\n".encode(),
            f"frota history {json.dumps({'sensor': FORGERY})}\n".encode(),
        ):
            with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                read_all(connection)


def answer_to_a_sensor(folder: Path, records: Journal) -> None:
    """Answer a sensor's client with text that is no answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT_S)
        flags = ("--port", listener.getsockname()[1], "--state-dir", folder / "state", "--max-backoff", 0.01)
        with logged("sensors", "simulate", "temperature", "--protocol", "original", *flags):
            for answer in (FORGERY.encode(), BINARY):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1024)
                    connection.sendall(answer)
                    read_all(connection)
            records.wait_for(lambda fields: "marker" in fields["MESSAGE"][0], "answer")


def list_element(folder: Path, records: Journal) -> None:
    """Send elements and names of lists, native and legacy."""
    flags = ("--host", "127.0.0.1", "--port", 0, "--watch-port", 0, "--state-dir", folder / "state")
    with logged("list", "serve", *flags), raw_client(records.port(), zmq.REQ) as client:
        client.request(b"append " + FORGERY.encode())
        client.request(b"append " + BINARY)
        for fields in ({"element": FORGERY}, {"list": FORGERY, "element": "x"}, {"id": FORGERY, "element": FORGERY}):
            client.native("append", **fields)
        client.native("append", element="x", traceparent=f"00-{FORGERY}-{'1' * 16}-01")


def peers_json(folder: Path, records: Journal) -> None:
    """Send names, reasons and ids in JSON."""
    flags = ("--host", "127.0.0.1", "--port", 0, "--durable", "no", "--state-dir", folder / "state")
    with logged("peers", "serve", *flags):
        port = records.port()
        for message in (
            {"WORKER": "ALIVE", "WORKER_UUID": FORGERY},
            {"WORKER": "ALIVE", "WORKER_UUID": "w", "SERVER_UUID": FORGERY},
            {"REQUEST": FORGERY, "ID": 1},
            {"REQUEST": "SUBMIT", "ID": 1, "TRACEPARENT": FORGERY, "TASKS": [{"TASK": "QUERY", "CPF": FORGERY}]},
            {"REQUEST": "SUBMIT", "ID": 1, "TASKS": [{"TASK": "QUERY", "CPF": "1" * 11, "TRACEPARENT": FORGERY}]},
            {FORGERY: FORGERY},
        ):
            with suppress(OSError):
                exchange(port, message)
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
            connection.sendall(BINARY)
            connection.shutdown(socket.SHUT_WR)
            read_all(connection)


def name_of_an_agent(folder: Path, records: Journal) -> None:
    """Greet as an agent with a name that is none, and send samples that are none."""
    with logged("cpu", "serve", "--host", "127.0.0.1", "--port", 0, "--state-dir", folder / "state"):
        port = records.port()
        hello = {"run": "ab" * 16, "interval": 1.0}
        lines = (
            json.dumps({"frota": 1, "hello": {"host": FORGERY} | hello}),
            json.dumps({"frota": 1, "hello": {"host": "web-1", "run": FORGERY, "interval": FORGERY}}),
            json.dumps({"frota": 1, "hello": {"host": "web-1"} | hello})
            + "\n"
            + json.dumps({"frota": 1, "n": FORGERY, "cpu": [FORGERY], "mean": FORGERY}),
            json.dumps({"frota": 1, "ask": "history", "host": FORGERY, "seconds": 1}),
            f"CPU -> Núcleos: [{FORGERY}] | Média: {FORGERY}%",
        )
        for data in (*(f"{line}\n".encode() for line in lines), BINARY):
            with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                read_all(connection)


def answer_to_an_agent(folder: Path, records: Journal) -> None:
    """Reject an agent with a reason that is none."""
    with FakeServer() as server:
        flags = ("--port", server.port, "--state-dir", folder / "state", "--interval", 0.1, "--metrics-port", 0)
        with logged("cpu", "agent", "--host", "127.0.0.1", *flags):
            for answer in ({"error": FORGERY}, {"error": FORGERY, "code": "name_taken", "holder": FORGERY}):
                peer = server.accept()
                peer.hello(None)
                peer.send(**answer)
            records.wait_for(lambda fields: fields["FROTA_EVENT"] == ["name_conflict"], "conflict")


def name_of_an_image(folder: Path, records: Journal) -> None:
    """Send images whose names are fields, to the producer and from there to a worker."""
    log.configure("images", "frota-image-producer")
    try:
        asyncio.run(_send_images(folder))
        image = QueuedImage("a" * 32, ONE_LINE, TRACE, "b" * 64, 1)
        ProducerEventLog(100).queued(f"ipv4:{FORGERY}", image, 0.0)
        worker = WorkerEventLog(100)
        worker.done(image, 0.0, "bucket", FORGERY)
        worker.done(QueuedImage("a" * 32, FORGERY, TRACE, "b" * 64, 1), 0.0, "bucket", "key")
    finally:
        logger.remove()
    records.wait_for(lambda fields: fields["FROTA_EVENT"] == ["image_done"], "image")


async def _send_images(folder: Path) -> None:
    from images.producer.test_grpc_api import served
    from support.submission import Bucket

    async with served(folder, Bucket()) as channel:
        path = f"/{messages.NATIVE_SERVICE}/Send"
        send = channel.unary_unary(path, native.SendRequest.SerializeToString, native.Accepted.FromString)
        for name, image in ((FORGERY, ""), (ONE_LINE, FORGERY), (ONE_LINE, "")):
            with pytest.raises(grpc.aio.AioRpcError):
                await send(native.SendRequest(id=image, filename=name, image_data=b"no image"), timeout=TIMEOUT_S)


WAYS_IN: list[Callable[[Path, Journal], None]] = [
    sensor_text,
    answer_to_a_sensor,
    list_element,
    peers_json,
    name_of_an_agent,
    answer_to_an_agent,
    name_of_an_image,
]


@pytest.fixture(name="records")
def _records(tmp_path: Path) -> Iterator[Journal]:
    with journal(tmp_path) as running:
        yield running


@pytest.mark.parametrize("way_in", WAYS_IN, ids=lambda way: way.__name__)
def test_no_field_is_forged(way_in: Callable[[Path, Journal], None], tmp_path: Path, records: Journal) -> None:
    """The input is in values of records, but no field, priority, trace id or message comes from it."""
    way_in(tmp_path, records)
    check(records.records)
    assert any("marker" in value for fields in records.records for values in fields.values() for value in values)
    if REAL.is_socket():
        check(records.read_back())


def check(records: list[Fields]) -> None:
    for fields in records:
        assert [name for name in fields if "FORGED" in name] == []
        assert fields["PRIORITY"] != ["0"]
        assert fields["MESSAGE"] != ["forged"]
        assert FORGED_TRACE not in fields.get("TRACE_ID", [])
        assert {name: values for name, values in fields.items() if len(values) > 1} == {}
