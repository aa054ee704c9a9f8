"""Retries: despite failing servers and connections an image is accepted once, or an error says why not."""

import asyncio
import re
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from frota.core.errors import RequestRejected, ServerUnavailable
from frota.images import messages
from frota.images.client.client import Client
from frota.images.client.files import CHANGED, BadFile
from frota.images.client.rpc import Image
from frota.images.client_settings import ClientSettings
from frota.images.proto import images_pb2 as native
from support import TIMEOUT_S, reserved_port
from support.fake_producer import FakeProducer, Received, Reply, fake_producer
from support.images import image_files, run_images, send

MIB = 2**20
AWAY = (grpc.StatusCode.UNAVAILABLE, messages.BROKER_UNAVAILABLE)


def sent(
    server: FakeProducer | int,
    image: Image,
    timeout: float = TIMEOUT_S,
    warn: Callable[[str], None] = lambda _: None,
    attempt_timeout_s: float = 20.0,
) -> str:
    """Send an image with a client of its own."""
    port = server if isinstance(server, int) else server.port

    async def work() -> str:
        async with Client(
            ClientSettings(address=f"127.0.0.1:{port}", timeout=timeout), warn, attempt_timeout_s
        ) as client:
            return await client.send(image)

    return asyncio.run(work())


def picture(folder: Path, size: int = 1000) -> Image:
    """Make an image to be sent."""
    (path,) = image_files(folder, "a.jpg", size=size)
    return Image(str(path), "a.jpg", size)


def in_turn(*replies: Reply) -> Callable[[Received], Reply]:
    """Answer so, one after the other."""
    remaining = iter(replies)
    return lambda _: next(remaining)


@pytest.mark.parametrize(
    "refusal",
    [AWAY, (grpc.StatusCode.RESOURCE_EXHAUSTED, messages.BROKER_FULL), (grpc.StatusCode.CANCELLED, "")],
    ids=["broker away", "queue full", "cancelled"],
)
def test_retry_keeps_id_and_trace(tmp_path: Path, refusal: tuple[grpc.StatusCode, str]) -> None:
    """A retry after a temporary failure has the same image id and trace id."""
    image = picture(tmp_path)
    with fake_producer(in_turn(refusal, refusal, None)) as server:
        assert sent(server, image) == "Imagem a.jpg recebida, processamento iniciado."
    assert [request.id for request in server.received] == [image.id] * 3
    assert {request.traceparent[3:35] for request in server.received} == {image.trace}


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_permanent_rejection_is_not_retried(tmp_path: Path, code: grpc.StatusCode) -> None:
    """A permanent rejection ends the request after one attempt."""
    with fake_producer(lambda _: (code, "não")) as server, pytest.raises(RequestRejected, match="não") as refused:
        sent(server, picture(tmp_path))
    assert (refused.value.code, len(server.received)) == (code.name, 1)


def test_client_waits_for_a_late_server(tmp_path: Path) -> None:
    """A client connects to a server that starts after it."""
    with reserved_port() as port, ExitStack() as later:
        begun: list[FakeProducer] = []

        def begin(_: str) -> None:
            if not begun:
                begun.append(later.enter_context(fake_producer(port=port)))

        sent(port, picture(tmp_path), warn=begin)
        assert len(begun[0].received) == 1


def test_unreachable_server_is_warned_of_once(tmp_path: Path) -> None:
    """An unreachable server is warned of once, and ends the request after the time limit."""
    warnings: list[str] = []
    with (
        reserved_port() as port,
        pytest.raises(ServerUnavailable, match=r"gave up after \d s: 127.*Connection ref"),
    ):
        sent(port, picture(tmp_path), 1.0, warnings.append)
    assert warnings == [f"127.0.0.1:{port} does not answer, trying again: Connection refused"]


def test_interrupted_upload_is_repeated(tmp_path: Path) -> None:
    """An upload that the server interrupts is repeated from its start."""
    image = picture(tmp_path, 16 * MIB)
    with fake_producer() as server:
        server.disconnect_at_bytes = 5 * MIB
        sent(server, image)
    assert [(request.method, request.id, request.size) for request in server.received] == [
        ("Upload", image.id, 16 * MIB)
    ]
    assert server.disconnect_at_bytes == 0


def test_rejection_ends_an_upload_early(tmp_path: Path) -> None:
    """A rejection during an upload reaches the caller."""
    refusal = (grpc.StatusCode.RESOURCE_EXHAUSTED, "grande demais")
    with fake_producer(lambda _: refusal) as server, pytest.raises(RequestRejected, match="grande demais"):
        sent(server, picture(tmp_path, 16 * MIB))


def test_unavailable_storage_fails_uploads_only(
    tmp_path: Path,
) -> None:
    """Unavailable storage fails an upload, but not the small images of the command."""
    away = (grpc.StatusCode.UNAVAILABLE, messages.STORAGE_UNAVAILABLE)
    paths = [*image_files(tmp_path, "large.jpg", size=16 * MIB), *image_files(tmp_path, "a.jpg")]
    with fake_producer(lambda request: away if request.method == "Upload" else None) as server:
        result = send(server, "--timeout", 1, *paths)
    assert (result.status, f"✘ Falha: {paths[0]}: {messages.STORAGE_UNAVAILABLE}" in result.lines) == (1, True)
    assert "✔ Feita: a.jpg: https://results/a.jpg" in result.lines


def test_missing_response_replaces_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request without a response is repeated over a new connection."""
    answered = asyncio.Event()

    async def never(_context: Any) -> None:
        await answered.wait()

    with fake_producer() as server:
        original = server._answer

        async def first_never(*arguments: Any) -> Any:
            monkeypatch.setattr(server, "_answer", original)
            server.received.append(Received("none", "", "", 0, "", arguments[-1].peer()))
            await never(arguments)

        monkeypatch.setattr(server, "_answer", first_never)
        sent(server, picture(tmp_path), attempt_timeout_s=0.5)
    first, second = server.received
    assert (first.method, second.method) == ("none", "Send")
    assert first.peer != second.peer


def test_silent_server_ends_after_the_time_limit(tmp_path: Path) -> None:
    """A server that accepts connections and never responds ends the request after the time limit."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ServerUnavailable, match=r"after [12] s: .*no answer"),
    ):
        sent(silent.getsockname()[1], picture(tmp_path), 1.0, attempt_timeout_s=0.4)


@pytest.mark.parametrize("size", [1000, 16 * MIB], ids=["message", "upload"])
def test_shrunken_file_is_not_sent(tmp_path: Path, size: int) -> None:
    """A file that shrank after its listing is not sent."""
    image = picture(tmp_path, size)
    Path(image.path).write_bytes(bytes(size - 1))
    with fake_producer() as server, pytest.raises(BadFile, match=CHANGED):
        sent(server, image)
    assert server.names == {}


def test_failed_upload_cancels_its_call(tmp_path: Path) -> None:
    """An upload that fails in the client cancels the call on the server."""
    image = picture(tmp_path, 16 * MIB)
    Path(image.path).write_bytes(bytes(5 * MIB))

    async def work(server: FakeProducer) -> None:
        async with Client(ClientSettings(address=f"127.0.0.1:{server.port}")) as client:
            with pytest.raises(BadFile) as held:
                await client.send(image)
            assert await asyncio.to_thread(server.cancelled.wait, TIMEOUT_S)
            del held  # and with it the call, which ends when nobody knows it any more

    with fake_producer() as server:
        asyncio.run(work(server))


def test_legacy_server_accepts_without_status(tmp_path: Path) -> None:
    """A legacy server accepts images, and the command does not wait for results."""
    paths = image_files(tmp_path, "a.jpg", "b.jpg")
    with fake_producer(services="legacy") as server:
        several = send(server, *paths)
        server.received.clear()
        result = send(server, "--parallel", 1, *paths)
    assert several.err.count("speaks the legacy protocol") == 1
    assert result.lines[:4] == [
        line
        for name in ("a.jpg", "b.jpg")
        for line in (
            f"Enviando imagem '{name}' para 127.0.0.1:{server.port}...",
            f"✔ Sucesso: Imagem {name} recebida, processamento iniciado.",
        )
    ]
    assert [request.method for request in server.received] == ["SendImage", "SendImage"]
    assert result.err.count("speaks the legacy protocol") == 1
    assert result.status == 0
    assert result.lines[4].startswith("2 aceitas, 0 recusadas em")


def test_legacy_rejection_fails_the_command(tmp_path: Path) -> None:
    """A response of the legacy protocol with success = false is a rejection."""
    with fake_producer(lambda _: (grpc.StatusCode.OK, "Erro ao enviar"), services="legacy") as server:
        result = send(server, *image_files(tmp_path, "a.jpg"))
    assert (result.status, result.lines[1]) == (1, "✘ Falha: Erro ao enviar")


def test_grpc_size_error_is_translated(tmp_path: Path) -> None:
    """gRPC's error of an oversized message is reported in Portuguese."""
    with fake_producer(services="legacy", limit=4 * MIB) as server:
        result = send(server, *image_files(tmp_path, "a.jpg", size=5 * MIB))
    assert result.status == 1
    assert re.fullmatch(rf"✘ Falha: imagem grande demais: 52428\d\d bytes, o máximo é {4 * MIB}", result.lines[1])


def test_legacy_server_gets_no_upload(tmp_path: Path) -> None:
    """An image that needs an upload is rejected for a legacy server, before it is sent."""
    with fake_producer(services="legacy") as server, pytest.raises(RequestRejected, match="o máximo é 15728640"):
        sent(server, picture(tmp_path, 16 * MIB))
    assert server.received == []


def test_legacy_server_has_no_status() -> None:
    """The status command fails against a legacy server, with the reason."""
    with fake_producer(services="legacy") as server:
        result = run_images("status", "a" * 32, "--address", f"127.0.0.1:{server.port}")
    assert (result.status, result.out) == (1, "")
    assert "speaks the legacy protocol" in result.err


def test_statuses_keep_the_order_of_ids() -> None:
    """Statuses are in the order of the ids, also across several requests."""
    ids = [f"{number:032x}" for number in range(2500)]

    async def work(port: int) -> list[native.Status]:
        async with Client(ClientSettings(address=f"127.0.0.1:{port}")) as status:
            return await status.statuses(ids)

    with fake_producer() as server:
        server.names = dict.fromkeys(ids, "a.jpg")
        assert [status.id for status in asyncio.run(work(server.port))] == ids
