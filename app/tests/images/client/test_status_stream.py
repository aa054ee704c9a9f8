"""Images are followed to their final status, despite interrupted streams."""

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from frota.images.client.client import Client
from frota.images.client.status_stream import StatusStream, StreamTimes
from frota.images.client_settings import ClientSettings
from frota.images.proto import images_pb2 as native
from support import TIMEOUT_S, start_frota, until
from support.fake_producer import DONE, FakeProducer, fake_producer
from support.images import CLEAN_ENVIRONMENT, image_files, run_images, send


def follow(
    server: FakeProducer,
    ids: list[str],
    unknown_seconds: float = 0,
    timeout: float = TIMEOUT_S,
    times: StreamTimes = StreamTimes(),  # noqa: B008 -- immutable
) -> list[Any]:
    """Follow images to their end and return the changes."""
    changes: list[native.Status] = []

    async def work() -> None:
        access = ClientSettings(address=f"127.0.0.1:{server.port}", timeout=timeout)
        async with Client(access, lambda _: None) as client:
            stream = StatusStream(client, changes.append, unknown_seconds, times)
            stream.add(ids)
            stream.complete()
            await stream.run()

    asyncio.run(work())
    return [(change.id, change.state) for change in changes]


@contextmanager
def waiting(server: FakeProducer, path: Path, *words: object) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command that waits for an image, which the server has just told to be queued."""
    address = f"127.0.0.1:{server.port}"
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = start_frota("images", "send", *words, path, address, env=CLEAN_ENVIRONMENT, **pipes)
    until(lambda: server.watched, "nobody waits for the image")
    yield process


def test_changes_are_reported_once() -> None:
    """Each change is reported once although every new stream repeats it."""
    times = StreamTimes(shortest=0.0, longest=0.05)
    with fake_producer(states=lambda _: (native.WORKING,)) as server:
        server.names = {"a" * 32: "a.jpg"}
        thread = threading.Thread(target=lambda: states.extend(follow(server, ["a" * 32], times=times)))
        states: list[Any] = []
        thread.start()
        until(lambda: len(server.watched) >= 5, "there are no new streams")
        server.change(lambda _: (native.DONE,))
        thread.join(TIMEOUT_S)
    assert [state for _, state in states] == [native.WORKING, native.DONE]


def test_more_images_than_a_request_holds() -> None:
    """More images than one request holds are all followed to their end."""
    ids = [f"{number:032x}" for number in range(2500)]
    with fake_producer() as server:
        server.names = dict.fromkeys(ids, "a.jpg")
        states = follow(server, ids)
    assert sorted(image for image, state in states if state == native.DONE) == ids
    assert max(map(len, server.watched)) == 1000


def test_waiting_image_joins_the_stream() -> None:
    """An image beyond the limit of a request joins as soon as another is done."""
    ids = [f"{number:032x}" for number in range(1001)]
    names = dict.fromkeys(ids, "queued.jpg") | {ids[0]: "done.jpg", ids[-1]: "done.jpg"}
    states: list[Any] = []
    with fake_producer(states=lambda name: (native.DONE if name == "done.jpg" else native.QUEUED,)) as server:
        server.names = names
        thread = threading.Thread(target=lambda: states.extend(follow(server, ids)))
        thread.start()
        until(lambda: any(ids[-1] in requested for requested in server.watched), "the last image is not asked for")
        server.change(lambda _: (native.DONE,))
        thread.join(TIMEOUT_S)
    assert sorted(image for image, state in states if state == native.DONE) == ids


def test_stream_survives_a_server_restart(tmp_path: Path) -> None:
    """After a restart of the server, the stream continues."""
    (path,) = image_files(tmp_path, "a.jpg")
    with fake_producer(states=lambda _: (native.QUEUED,)) as server, waiting(server, path) as process:
        server.restart()
        server.change(lambda _: DONE)
        out, _ = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, out.decode().splitlines()[-1]) == (0, "✔ Feita: a.jpg: https://results/a.jpg")
    assert len(server.received) == 1


def test_lost_server_leaves_accepted_ids(tmp_path: Path) -> None:
    """If the server stays away, the command prints the ids of accepted images."""
    (path,) = image_files(tmp_path, "a.jpg")
    with fake_producer(states=lambda _: (native.QUEUED,)) as server, waiting(server, path, "--timeout", 1) as process:
        server.stop()
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert out.decode().splitlines()[-1] == f"{server.received[0].id}  a.jpg  aceita"
    assert "gave up after" in err.decode()


def test_unknown_image_is_queried_again() -> None:
    """An image that is still unknown is queried again."""
    times = StreamTimes(unknown_retry=0.01)
    with fake_producer() as server:
        thread = threading.Thread(target=lambda: states.extend(follow(server, ["a" * 32], TIMEOUT_S, times=times)))
        states: list[Any] = []
        thread.start()
        until(lambda: len(server.watched) >= 3, "it is not asked for again")
        server.names = {"a" * 32: "a.jpg"}
        thread.join(TIMEOUT_S)
    assert [state for _, state in states] == list(DONE)


def test_unknown_image_fails_in_the_end(tmp_path: Path) -> None:
    """An image that stays unknown fails the command after the time limit."""
    with fake_producer(states=lambda _: (native.UNKNOWN,)) as server:
        result = send(server, "--timeout", 1, *image_files(tmp_path, "a.jpg"))
    assert result.status == 1
    assert result.lines[-1].startswith("✘ Desconhecida: a.jpg: ")
    assert server.received[0].id in result.lines[-1]


def test_silent_stream_replaces_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream without a first status is reopened over a new connection."""
    times = StreamTimes(first_status=0.3)
    peers: list[str] = []
    with fake_producer() as server:
        server.names = {"a" * 32: "a.jpg"}
        talking = server._watch

        async def silent(request: native.StatusRequest, context: Any) -> Any:
            peers.append(context.peer())
            if len(peers) == 1:
                await asyncio.Event().wait()
            async for status in talking(request, context):
                yield status

        monkeypatch.setattr(server, "_watch", silent)
        server.restart()
        assert follow(server, ["a" * 32], times=times)[-1] == ("a" * 32, native.DONE)
    first, second = peers
    assert first != second


def test_status_prints_state_and_url() -> None:
    """The status command prints the state, and the URL of the result."""
    with fake_producer() as server:
        server.names = {"a" * 32: "férias.jpg"}
        address = ("--address", f"127.0.0.1:{server.port}")
        people, machines = (
            run_images("status", "A" * 32, *address, TZ="UTC"),
            run_images("status", "a" * 32, *address, "--json"),
        )
        unknown = run_images("status", "b" * 32, "a" * 32, *address)
    when = "2027-01-15 08:00:00+00:00"
    assert people.out == f"{'a' * 32}  férias.jpg  done  https://results/férias.jpg  {when}\n"
    assert people.status == machines.status == 0
    assert machines.objects[0]["url"] == "https://results/férias.jpg"
    assert (unknown.status, unknown.lines[0]) == (1, f"{'b' * 32}  -  unknown")


@pytest.mark.parametrize(("state", "status"), [(native.DEAD, 1), (native.QUEUED, 0), (native.WORKING, 0)])
def test_status_fails_for_dead_images_only(state: int, status: int) -> None:
    """The status command fails for a dead image, not for a queued or working one."""
    with fake_producer(states=lambda _: (state,)) as server:
        server.names = {"a" * 32: "a.jpg"}
        result = run_images("status", "a" * 32, "--address", f"127.0.0.1:{server.port}")
    assert result.status == status
    words: dict[int, str] = {
        native.DEAD: "dead  imagem truncada",
        native.WORKING: "working  worker-1",
        native.QUEUED: "queued",
    }
    assert f"{'a' * 32}  a.jpg  {words[state]}" in result.out


def test_watch_prints_changes_until_final() -> None:
    """`--watch` prints every change until all images have a final state."""
    with fake_producer() as server:
        server.names = {"a" * 32: "a.jpg"}
        result = run_images("status", "a" * 32, "b" * 32, "--watch", "--json", "--address", f"127.0.0.1:{server.port}")
    states = [(change["id"][0], change["state"]) for change in result.objects]
    assert sorted(states) == [("a", "done"), ("a", "queued"), ("a", "working"), ("b", "unknown")]
    assert result.status == 1
