"""Whatever becomes of servers, connections and answers, an image is accepted once or an error says why not."""

import asyncio
import re
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from frota.core.errors import ServerUnavailable
from frota.images import messages
from frota.images.access import ClientSettings
from frota.images.client import client as module
from frota.images.client.calls import Image
from frota.images.client.client import Client, RequestRejected
from frota.images.client.files import CHANGED, BadFile
from frota.images.proto import images_pb2 as native
from support import PATIENCE, reserved_port
from support.fake_producer import Fake, Received, Reply, fake
from support.images import images, pictures, send

MIB = 2**20
AWAY = (grpc.StatusCode.UNAVAILABLE, messages.BROKER_UNAVAILABLE)


def sent(
    server: Fake | int, image: Image, patience: float = PATIENCE, tell: Callable[[str], None] = lambda _: None
) -> str:
    """Send an image with a client of its own."""
    port = server if isinstance(server, int) else server.port

    async def work() -> str:
        async with Client(ClientSettings(address=f"127.0.0.1:{port}", patience=patience), tell) as one:
            return await one.send(image)

    return asyncio.run(work())


def picture(folder: Path, size: int = 1000) -> Image:
    """Make an image to be sent."""
    (path,) = pictures(folder, "a.jpg", size=size)
    return Image(str(path), "a.jpg", size)


def in_turn(*replies: Reply) -> Callable[[Received], Reply]:
    """Answer so, one after the other."""
    left = iter(replies)
    return lambda _: next(left)


@pytest.mark.parametrize(
    "refusal",
    [AWAY, (grpc.StatusCode.RESOURCE_EXHAUSTED, messages.BROKER_FULL), (grpc.StatusCode.CANCELLED, "")],
    ids=["broker away", "queue full", "cancelled"],
)
def test_what_may_pass_is_tried_again_under_the_same_id_and_in_the_same_trace(
    tmp_path: Path, refusal: tuple[grpc.StatusCode, str]
) -> None:
    image = picture(tmp_path)
    with fake(in_turn(refusal, refusal, None)) as server:
        assert sent(server, image) == "Imagem a.jpg recebida, processamento iniciado."
    assert [one.id for one in server.received] == [image.id] * 3
    assert {one.traceparent[3:35] for one in server.received} == {image.trace}


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_a_refusal_for_good_is_not_tried_again(tmp_path: Path, code: grpc.StatusCode) -> None:
    with fake(lambda _: (code, "não")) as server, pytest.raises(RequestRejected, match="não") as refused:
        sent(server, picture(tmp_path))
    assert (refused.value.code, len(server.received)) == (code.name, 1)


def test_a_server_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    with reserved_port() as port, ExitStack() as later:
        begun: list[Fake] = []

        def begin(_: str) -> None:
            if not begun:
                begun.append(later.enter_context(fake(port=port)))

        sent(port, picture(tmp_path), tell=begin)
        assert len(begun[0].received) == 1


def test_a_server_that_stays_away_is_told_of_once_and_given_up_when_patience_ends(tmp_path: Path) -> None:
    told: list[str] = []
    with (
        reserved_port() as port,
        pytest.raises(ServerUnavailable, match=r"gave up after \d s: 127.*Connection ref"),
    ):
        sent(port, picture(tmp_path), 1.0, told.append)
    assert told == [f"127.0.0.1:{port} does not answer, trying again: Connection refused"]


def test_a_server_that_goes_in_the_middle_of_an_upload_gets_all_of_it_again(tmp_path: Path) -> None:
    image = picture(tmp_path, 16 * MIB)
    with fake() as server:
        server.cut_at = 5 * MIB
        sent(server, image)
    assert [(one.method, one.id, one.size) for one in server.received] == [("Upload", image.id, 16 * MIB)]
    assert server.cut_at == 0


def test_a_refusal_in_the_middle_of_an_upload_is_heard(tmp_path: Path) -> None:
    refusal = (grpc.StatusCode.RESOURCE_EXHAUSTED, "grande demais")
    with fake(lambda _: refusal) as server, pytest.raises(RequestRejected, match="grande demais"):
        sent(server, picture(tmp_path, 16 * MIB))


def test_no_storage_concerns_large_images_only_and_not_the_others_of_the_command(
    tmp_path: Path,
) -> None:
    away = (grpc.StatusCode.UNAVAILABLE, messages.STORAGE_UNAVAILABLE)
    paths = [*pictures(tmp_path, "large.jpg", size=16 * MIB), *pictures(tmp_path, "a.jpg")]
    with fake(lambda one: away if one.method == "Upload" else None) as server:
        ran = send(server, "--patience", 1, *paths)
    assert (ran.status, f"✘ Falha: {paths[0]}: {messages.STORAGE_UNAVAILABLE}" in ran.lines) == (1, True)
    assert "✔ Feita: a.jpg: https://results/a.jpg" in ran.lines


def test_an_answer_that_does_not_come_is_asked_for_over_another_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ATTEMPT_TIMEOUT_S", 0.5)
    answered = asyncio.Event()

    async def never(_context: Any) -> None:
        await answered.wait()

    with fake() as server:
        original = server._answer

        async def first_never(*arguments: Any) -> Any:
            monkeypatch.setattr(server, "_answer", original)
            server.received.append(Received("none", "", "", 0, "", arguments[-1].peer()))
            await never(arguments)

        monkeypatch.setattr(server, "_answer", first_never)
        sent(server, picture(tmp_path))
    first, second = server.received
    assert (first.method, second.method) == ("none", "Send")
    assert first.peer != second.peer


def test_a_server_that_says_nothing_at_all_is_given_up_when_patience_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ATTEMPT_TIMEOUT_S", 0.4)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ServerUnavailable, match=r"after [12] s: .*no answer"),
    ):
        sent(silent.getsockname()[1], picture(tmp_path), 1.0)


@pytest.mark.parametrize("size", [1000, 16 * MIB], ids=["message", "upload"])
def test_a_file_that_shrinks_after_it_was_looked_at_is_not_sent(tmp_path: Path, size: int) -> None:
    image = picture(tmp_path, size)
    Path(image.path).write_bytes(bytes(size - 1))
    with fake() as server, pytest.raises(BadFile, match=CHANGED):
        sent(server, image)
    assert server.names == {}


def test_an_upload_that_its_client_gives_up_is_ended_at_once(tmp_path: Path) -> None:
    image = picture(tmp_path, 16 * MIB)
    Path(image.path).write_bytes(bytes(5 * MIB))

    async def work(server: Fake) -> None:
        async with Client(ClientSettings(address=f"127.0.0.1:{server.port}")) as one:
            with pytest.raises(BadFile) as held:
                await one.send(image)
            assert await asyncio.to_thread(server.given_up.wait, PATIENCE)
            del held  # and with it the call, which ends when nobody knows it any more

    with fake() as server:
        asyncio.run(work(server))


def test_an_original_takes_images_and_nobody_waits_for_what_it_cannot_tell(tmp_path: Path) -> None:
    paths = pictures(tmp_path, "a.jpg", "b.jpg")
    with fake(services="original") as server:
        several = send(server, *paths)
        server.received.clear()
        ran = send(server, "--parallel", 1, *paths)
    assert several.err.count("speaks the legacy protocol") == 1
    assert ran.lines[:4] == [
        line
        for name in ("a.jpg", "b.jpg")
        for line in (
            f"Enviando imagem '{name}' para 127.0.0.1:{server.port}...",
            f"✔ Sucesso: Imagem {name} recebida, processamento iniciado.",
        )
    ]
    assert [one.method for one in server.received] == ["SendImage", "SendImage"]
    assert ran.err.count("speaks the legacy protocol") == 1
    assert ran.status == 0
    assert ran.lines[4].startswith("2 aceitas, 0 recusadas em")


def test_an_originals_refusal_is_one(tmp_path: Path) -> None:
    with fake(lambda _: (grpc.StatusCode.OK, "Erro ao enviar"), services="original") as server:
        ran = send(server, *pictures(tmp_path, "a.jpg"))
    assert (ran.status, ran.lines[1]) == (1, "✘ Falha: Erro ao enviar")


def test_what_grpc_says_of_a_message_that_is_too_large_is_said_in_words(tmp_path: Path) -> None:
    with fake(services="original", limit=4 * MIB) as server:
        ran = send(server, *pictures(tmp_path, "a.jpg", size=5 * MIB))
    assert ran.status == 1
    assert re.fullmatch(rf"✘ Falha: imagem grande demais: 52428\d\d bytes, o máximo é {4 * MIB}", ran.lines[1])


def test_an_original_gets_no_upload(tmp_path: Path) -> None:
    with fake(services="original") as server, pytest.raises(RequestRejected, match="o máximo é 15728640"):
        sent(server, picture(tmp_path, 16 * MIB))
    assert server.received == []


def test_an_original_cannot_be_asked_what_became_of_an_image() -> None:
    with fake(services="original") as server:
        ran = images("status", "a" * 32, "--address", f"127.0.0.1:{server.port}")
    assert (ran.status, ran.out) == (1, "")
    assert "speaks the legacy protocol" in ran.err


def test_statuses_come_in_the_order_of_their_ids_however_many_they_are() -> None:
    ids = [f"{number:032x}" for number in range(2500)]

    async def work(port: int) -> list[native.Status]:
        async with Client(ClientSettings(address=f"127.0.0.1:{port}")) as one:
            return await one.statuses(ids)

    with fake() as server:
        server.names = dict.fromkeys(ids, "a.jpg")
        assert [one.id for one in asyncio.run(work(server.port))] == ids
