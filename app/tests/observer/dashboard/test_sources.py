"""The parts of the fleet on the page, from real servers of each system, and the actions of operators."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from frota.images.proto import images_pb2 as native
from support import Server, until
from support.dashboard import DashboardServer, dashboard
from support.fake_producer import FakeProducer
from support.list_clients import client
from support.metrics import metrics_server
from support.peers import peers_server
from support.zmq_server import list_server


def test_readings_arrive_live(running: Server, tmp_path: Path) -> None:
    """A viewer gets stored readings with their range, then new ones."""
    running.request("Sensor1 - Temperatura: 25.5°C\n".encode())
    flags = ("--sensors", f"127.0.0.1:{running.port}")
    with _own(tmp_path, *flags) as page, page.browser().events("sensors") as events:
        (stored,) = events.until("sensors", bool)
        assert (stored["sensor"], stored["kind"], stored["unit"]) == ("Sensor1", "Temperatura", "°C")
        assert stored["range"] == [-40, 85]
        assert [point[1:] for point in stored["points"]] == [[25.5, True]]
        running.request("Sensor1 - Temperatura: 99.5°C\n".encode())
        (fresh,) = events.until("sensors", bool)
        assert [point[1:] for point in fresh["points"]] == [[99.5, False]]
        with page.browser().events("sensors") as later:
            assert [point[1] for point in later.next("sensors")[0]["points"]] == [25.5, 99.5]


def test_lost_server_is_said_and_found_again(running: Server, tmp_path: Path) -> None:
    """A server that is away makes its part unavailable with the reason; when it is back, so are the readings."""
    flags = ("--sensors", f"127.0.0.1:{running.port}")
    with _own(tmp_path, *flags) as page, page.browser().events("sensors") as events:
        events.until("state", lambda state: state["parts"]["sensors"]["state"] == "ok")
        running.stop()
        events.until("state", lambda state: state["parts"]["sensors"]["state"] == "unavailable")
        running.start()
        events.until("state", lambda state: state["parts"]["sensors"]["state"] == "ok")
        running.request("Sensor1 - Temperatura: 20°C\n".encode())
        assert events.until("sensors", bool)[0]["points"][-1][1] == 20
    assert "sensors: available again" in page.log()


@pytest.fixture
def page_with_list(tmp_path: Path) -> Iterator[tuple[DashboardServer, int]]:
    with (
        list_server(tmp_path) as lists,
        dashboard(_folder(tmp_path), "--list", f"127.0.0.1:{lists.port}") as page,
    ):
        yield page, lists.port


def test_two_browsers_see_each_others_changes(page_with_list: tuple[DashboardServer, int]) -> None:
    """A change of one operator reaches the other browsers, and so does one of a client of the list."""
    page, port = page_with_list
    operator, viewer = page.operator(), page.browser().login("vera")
    with viewer.events("list") as events:
        assert events.next("list")["elements"] == []
        assert operator.post("/api/list", {"op": "append", "value": "pão"}).json["version"] == 1
        assert events.next("list")["elements"] == ["pão"]
        answer = operator.post("/api/list", {"op": "insert", "value": "café <b>", "position": 0})
        assert answer.status == 200
        assert events.next("list")["elements"] == ["café <b>", "pão"]
        with client(port) as other:
            other.ask("append", value="of another client")
        seen = events.next("list")
        assert seen["elements"][-1] == "of another client"
        assert len(seen["changes"]) == 3
        assert operator.post("/api/list", {"op": "remove", "value": "pão"}).status == 200
        assert events.next("list")["length"] == 2
    page.wait_for("olga: append pão")


@pytest.mark.parametrize(
    "change",
    [
        {"op": "clear", "value": "x"},
        {"op": "append"},
        {"op": "append", "value": ""},
        {"op": "append", "value": 7},
        {"op": "append", "value": "x" * 1001},
        {"op": "insert", "value": "x", "position": "0"},
        {"op": "insert", "value": "x", "position": True},
        {"op": "insert", "value": "x", "position": 2**60},
    ],
)
def test_malformed_change_is_rejected(page_with_list: tuple[DashboardServer, int], change: dict[str, Any]) -> None:
    """A malformed change is rejected with what is valid, and changes nothing."""
    page, _ = page_with_list
    operator = page.operator()
    assert operator.post("/api/list", change).status == 400
    with operator.events("list") as events:
        assert events.next("list")["version"] == 0


def test_rejection_of_the_list_is_passed_on(page_with_list: tuple[DashboardServer, int]) -> None:
    """What the list rejects is rejected with the list's own reason."""
    page, _ = page_with_list
    answer = page.operator().post("/api/list", {"op": "remove", "value": "nothing"})
    assert answer.status == 422
    assert answer.json["error"]


def test_heat_map_of_hosts(tmp_path: Path) -> None:
    """A viewer gets a row of the last hour for each host, then new samples."""
    with (
        metrics_server(tmp_path) as metrics,
        metrics.agent() as agent,
        _own(tmp_path, "--cpu", f"127.0.0.1:{metrics.port}") as page,
    ):
        agent.send(1)
        agent.wait(1)
        with page.browser().events("cpu") as events:
            first = events.until("cpu", lambda content: content["hosts"])
            assert [(host["host"], host["mean"], host["cores"]) for host in first["hosts"]] == [("web-1", 22.9, 3)]
        with page.browser().events("cpu") as events:
            snapshot = events.next("cpu")
            assert len(snapshot["rows"]["web-1"]) == 120
            assert [value for value in snapshot["rows"]["web-1"] if value is not None] == [22.9]


def test_peers_and_one_that_is_away(tmp_path: Path) -> None:
    """A viewer gets the status of each server, and the reason for one that is away."""
    with (
        peers_server(tmp_path) as peers,
        _own(tmp_path, "--peers", f"127.0.0.1:{peers.port},127.0.0.1:1") as page,
        page.browser().events("peers") as events,
    ):
        present, away = events.next("peers")
    assert present["durable"] is False
    assert present["workers"]["own"] == 0
    assert "no peers' server at 127.0.0.1:1" in away["error"]


@pytest.fixture
def producer() -> Iterator[FakeProducer]:
    running = FakeProducer()
    running.start()
    yield running
    running.end()


def test_image_is_sent_and_followed(producer: FakeProducer, tmp_path: Path) -> None:
    """An operator's image reaches the producer with a trace, and its states reach all browsers."""
    with dashboard(tmp_path, "--images", f"127.0.0.1:{producer.port}") as page:
        operator, viewer = page.operator(), page.browser().login("vera")
        with viewer.events("images") as events:
            answer = operator.send_image("férias <b>.png", b"\x89PNG data")
            assert answer.status == 202, answer
            sent = answer.json
            states = set()
            while "done" not in states:
                (image,) = events.until("images", bool)
                assert (image["id"], image["name"], image["user"]) == (sent["id"], "férias <b>.png", "olga")
                states.add(image["state"])
        (received,) = producer.received
        assert received.filename == "férias <b>.png"
        assert received.size == len(b"\x89PNG data")
        assert sent["trace"] in received.traceparent
        assert list((page.state / "uploads").iterdir()) == []
        page.wait_for("olga has sent the image férias <b>.png")


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a/b.png", "a\nb.png", "x" * 300, "a\u202eb.png"])
def test_malformed_file_name_is_rejected(producer: FakeProducer, tmp_path: Path, name: str) -> None:
    """A file name with a folder, control characters or too many bytes is rejected with the reason."""
    with dashboard(tmp_path, "--images", f"127.0.0.1:{producer.port}") as page:
        answer = page.operator().send_image(name, b"x")
        assert answer.status == 400
        assert "nome do arquivo" in answer.json["error"]
        assert list((page.state / "uploads").iterdir()) == []
    assert producer.received == []


def test_rejected_image_is_said(producer: FakeProducer, tmp_path: Path) -> None:
    """An image that the producer rejects is rejected with the producer's reason."""
    import grpc

    producer.reply = lambda _: (grpc.StatusCode.INVALID_ARGUMENT, "não é uma imagem")
    with dashboard(tmp_path, "--images", f"127.0.0.1:{producer.port}") as page:
        answer = page.operator().send_image("a.txt", b"text")
    assert answer.status == 422
    assert answer.json["error"] == "não é uma imagem"


def test_dead_image_has_its_reason(producer: FakeProducer, tmp_path: Path) -> None:
    """An image that cannot be converted is shown as dead."""
    producer.states = lambda _: (native.QUEUED, native.DEAD)
    with dashboard(tmp_path, "--images", f"127.0.0.1:{producer.port}") as page:
        operator = page.operator()
        with operator.events("images") as events:
            operator.send_image("a.png", b"x")
            events.until("images", lambda images: images and images[0]["state"] == "dead")
        image = operator.get("/api/session")
        assert image.status == 200


def test_result_of_an_unknown_image(producer: FakeProducer, tmp_path: Path) -> None:
    """Only results of images that were sent from the page are fetched."""
    with dashboard(tmp_path, "--images", f"127.0.0.1:{producer.port}") as page:
        answer = page.operator().get(f"/api/images/{'a' * 32}/result")
    assert answer.status == 404
    assert answer.json["error"] == "no result of this image is known here"


def test_oversized_image_is_rejected(producer: FakeProducer, tmp_path: Path) -> None:
    """An image of more than 32 MiB is rejected before it is sent, and its file is deleted."""
    with dashboard(tmp_path, "--images", f"127.0.0.1:{producer.port}") as page:
        operator = page.operator()
        with page.connect() as connection:
            head = "".join(f"{name}: {value}\r\n" for name, value in operator.headers.items())
            head += f"X-Csrf-Token: {operator.csrf}\r\nX-File-Name: a.png\r\nContent-Length: {34 << 20}\r\n"
            connection.sendall(f"POST /api/images HTTP/1.1\r\n{head}\r\n".encode())
            with suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(34):
                    connection.sendall(b"x" * (1 << 20))
                assert b" 413 " in connection.recv(1000)
        until(lambda: list((page.state / "uploads").iterdir()) == [], "the upload is still there")
    assert producer.received == []


def _folder(tmp_path: Path) -> Path:
    """Return a folder of the dashboard's own, beside that of another server."""
    folder = tmp_path / "dashboard"
    folder.mkdir(exist_ok=True)
    return folder


def _own(tmp_path: Path, *flags: object) -> Any:
    return dashboard(_folder(tmp_path), *flags, login=False)
