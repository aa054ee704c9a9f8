"""`frota images send`: many at once, each to its end, and what is said of it."""

import os
import re
import signal
import subprocess
import threading
from pathlib import Path

import grpc
import pytest

from frota.images import messages
from frota.images.proto import images_pb2 as native
from support import TIMEOUT_S, reserved_port, start_frota, until
from support.fake_producer import FakeProducer, Received, fake_producer
from support.images import CLEAN_ENVIRONMENT, image_files, run_images, send

MIB = 2**20


def test_legacy_texts_precede_the_result(tmp_path: Path) -> None:
    """One image prints the legacy client's texts, then the URL of its result."""
    (picture,) = image_files(tmp_path, "férias.jpg")
    with fake_producer() as server:
        result = send(server, picture)
    assert result.out == (
        f"Enviando imagem 'férias.jpg' para 127.0.0.1:{server.port}...\n"
        "✔ Sucesso: Imagem férias.jpg recebida, processamento iniciado.\n"
        "✔ Feita: férias.jpg: https://results/férias.jpg\n"
    )
    assert (result.status, result.err) == (0, "")


def test_rejection_prints_the_legacy_text(tmp_path: Path) -> None:
    """A rejection prints the legacy client's text."""
    (picture,) = image_files(tmp_path, "a.jpg")
    with fake_producer(lambda _: (grpc.StatusCode.INVALID_ARGUMENT, "imagem truncada")) as server:
        result = send(server, picture)
    assert result.lines[1:] == ["✘ Falha: imagem truncada"]
    assert (result.status, len(server.received)) == (1, 1)


def test_every_result_counts(tmp_path: Path) -> None:
    """Each of several images prints its result, counts in the totals, and decides the exit status."""
    image_files(tmp_path, *(f"{name}.jpg" for name in "abcdef"))

    def states(name: str) -> tuple[int, ...]:
        return (native.QUEUED, native.DEAD) if name < "c" else (native.QUEUED, native.WORKING, native.DONE)

    def reply(received: Received) -> tuple[grpc.StatusCode, str] | None:
        return (grpc.StatusCode.RESOURCE_EXHAUSTED, "grande demais") if received.filename == "f.jpg" else None

    with fake_producer(reply, states) as server:
        result = send(server, tmp_path)
    assert sum("✔ Feita: " in line for line in result.lines) == 3
    assert re.search(r"✘ Morta: a\.jpg: imagem truncada \([0-9a-f]{32}\)", result.out)
    assert f"✘ Falha: {tmp_path}/f.jpg: grande demais" in result.lines
    assert re.fullmatch(r"3 feitas, 2 mortas, 1 recusada em \d+,\d s \(\d+,\d MB/s\)", result.lines[-1])
    assert (result.status, result.err) == (1, "")


def test_parallel_limits_images_in_flight(tmp_path: Path) -> None:
    """`--parallel` is the number of images in flight."""
    image_files(tmp_path, *(f"{number}.jpg" for number in range(12)))
    together = threading.Barrier(3)

    def reply(_: Received) -> None:
        together.wait(TIMEOUT_S)  # which takes three

    with fake_producer(reply) as server:
        result = send(server, "--parallel", 3, tmp_path)
    assert (result.status, server.max_calls, len(server.received)) == (0, 3, 12)


def test_large_images_are_limited_to_four(tmp_path: Path) -> None:
    """At most four large images are in flight."""
    image_files(tmp_path, *(f"{number}.jpg" for number in range(8)), size=5 * MIB)
    together = threading.Barrier(4)

    def reply(_: Received) -> None:
        together.wait(TIMEOUT_S)

    with fake_producer(reply) as server:
        result = send(server, "--parallel", 8, tmp_path)
    assert (result.status, server.max_calls) == (0, 4)


def test_unanswered_image_is_in_doubt(tmp_path: Path) -> None:
    """An image without a response is in doubt, not among the ids."""
    (picture,) = image_files(tmp_path, "a.jpg")
    with reserved_port() as port:
        result = run_images("send", picture, "--no-wait", "--timeout", 0.5, f"127.0.0.1:{port}")
    assert (result.status, result.out) == (1, "")
    assert re.search(r"^[0-9a-f]{32}  a\.jpg  em dúvida$", result.err, re.MULTILINE)


def test_no_wait_prints_ids_only(tmp_path: Path) -> None:
    """`--no-wait` prints ids, and requests no status."""
    paths = image_files(tmp_path, "a.jpg", "b.jpg")
    with fake_producer(states=lambda _: (native.QUEUED,)) as server:
        result = send(server, "--no-wait", *paths)
    assert sorted(result.lines) == sorted(f"{request.id}  {request.filename}" for request in server.received)
    assert (result.status, server.watched) == (0, [])
    assert "2 aceitas, 0 recusadas" in result.err


def test_no_wait_reports_rejections(tmp_path: Path) -> None:
    """`--no-wait` reports a rejection on standard error, and fails."""
    with fake_producer() as server:
        result = send(server, "--no-wait", *image_files(tmp_path, "a.jpg"), tmp_path / "b.jpg")
    assert (result.status, len(result.lines)) == (1, 1)
    assert f"✘ Falha: {tmp_path}/b.jpg: arquivo não existe" in result.err


def test_json_has_acceptance_and_result(tmp_path: Path) -> None:
    """`--json` prints an object at acceptance and another for the result."""
    (picture,) = image_files(tmp_path, "férias.jpg")
    with fake_producer() as server:
        result = send(server, "--json", picture, TRACEPARENT=f"00-{'ab' * 16}-{'cd' * 8}-01")
    accepted, done = result.objects
    assert result.out.isascii()
    received = server.received[0]
    both = {"id": received.id, "filename": "férias.jpg", "file": str(picture), "size": 1000, "trace_id": "ab" * 16}
    assert accepted == both | {"state": "accepted"}
    assert done == both | {"state": "done", "url": "https://results/férias.jpg", "changed": 1_800_000_000.25}
    assert re.fullmatch(f"00-{'ab' * 16}-(?!{'cd' * 8})[0-9a-f]{{16}}-01", received.traceparent)


def test_images_have_their_own_traces(tmp_path: Path) -> None:
    """Each image has its own trace id unless TRACEPARENT is set."""
    with fake_producer() as server:
        result = send(server, "--json", *image_files(tmp_path, "a.jpg", "b.jpg"))
    assert len({entry["trace_id"] for entry in result.objects}) == 2
    assert {entry.traceparent[3:35] for entry in server.received} == {entry["trace_id"] for entry in result.objects}


def test_unusable_file_fails_alone(tmp_path: Path) -> None:
    """A file that cannot be sent is reported, and the others are sent."""
    (good,) = image_files(tmp_path, "good.jpg")
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder").mkdir()
    bad = os.fsencode(tmp_path / "no") + b"\xff.jpg"
    Path(os.fsdecode(bad)).write_bytes(b"x")
    with fake_producer() as server:
        words = [tmp_path / name for name in ("empty.jpg", "pipe.jpg", "folder", "none.jpg")]
        result = send(server, *words, os.fsdecode(bad), good)
    assert "1 feita, 0 mortas, 5 recusadas" in result.lines[-1]
    for name, text in {
        "empty.jpg": "arquivo vazio",
        "pipe.jpg": "não é um arquivo comum",
        "folder": "nenhuma imagem nesta pasta",
        "none.jpg": "arquivo não existe",
        "no\\udcff.jpg": messages.NOT_UTF8_NAME,
    }.items():
        assert f"✘ Falha: {tmp_path}/{name}: {text}" in result.lines
    assert result.status == 1


def test_skipped_files_are_counted(tmp_path: Path) -> None:
    """The skipped files of folders are counted by reason."""
    image_files(tmp_path, "a.jpg")
    for name in ("notes.txt", "more.txt"):
        (tmp_path / name).write_text("only text\n")
    (tmp_path / "b.jpg.part").write_bytes(b"\xff\xd8\xff")
    with fake_producer() as server:
        result = send(server, tmp_path)
        assert result.status == 0
        assert "Não enviados das pastas: 3: 2 formato não suportado (texto) (more.txt, …); 1 down" in result.err
        objects = send(server, tmp_path, "--json").objects
    assert objects[:3] == [
        {"file": str(tmp_path / name), "state": "skipped", "code": "FILE", "reason": reason}
        for name, reason in (
            ("b.jpg.part", "download incompleto"),
            ("more.txt", "formato não suportado (texto)"),
            ("notes.txt", "formato não suportado (texto)"),
        )
    ]


def test_collisions_are_warned_of(tmp_path: Path) -> None:
    """Images with equal names are warned of before they are sent."""
    image_files(tmp_path, "a/photo.jpg", "b/photo.jpg", "b/other.jpg")
    with fake_producer() as server:
        result = send(server, tmp_path)
    assert result.status == 0
    assert "2 images are named photo.jpg: all are stored, all but one under a name with a hash" in result.err
    assert "other" not in result.err


def test_large_image_is_uploaded_in_parts(tmp_path: Path) -> None:
    """An image larger than a message is uploaded in parts."""
    (large,) = image_files(tmp_path, "large.tif", size=15 * MIB + 1)
    (largest,) = image_files(tmp_path, "message.tif", size=15 * MIB)
    with fake_producer() as server:
        result = send(server, large, largest)
    assert {(request.method, request.filename, request.size) for request in server.received} == {
        ("Upload", "large.tif", 15 * MIB + 1),
        ("Send", "message.tif", 15 * MIB),
    }
    assert result.status == 0


def test_late_results_are_reported(tmp_path: Path) -> None:
    """Results that arrive late, and while others are sent, are reported."""
    image_files(tmp_path, *(f"{number}.jpg" for number in range(30)))
    last = threading.Event()
    server: FakeProducer

    def reply(_: Received) -> None:
        if len(server.received) == 30:
            last.set()

    with fake_producer(reply, states=lambda _: (native.QUEUED,)) as server:
        process = start_frota(
            "images",
            "send",
            tmp_path,
            f"127.0.0.1:{server.port}",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=CLEAN_ENVIRONMENT,
        )
        assert last.wait(TIMEOUT_S)
        assert process.poll() is None
        server.change(lambda _: (native.DONE,))
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (0, b"")
    assert out.decode().count("✔ Feita: ") == 30
    assert all(len(ids) <= 1000 for ids in server.watched)


def test_interrupt_lists_accepted_and_in_doubt(tmp_path: Path) -> None:
    """Ctrl-C lists the accepted images and those in doubt."""
    accepted, doubtful = image_files(tmp_path, "accepted.jpg", "doubtful.jpg")
    gate = threading.Event()

    def reply(received: Received) -> None:
        if received.filename == "doubtful.jpg":
            gate.wait(TIMEOUT_S)

    with fake_producer(reply, states=lambda _: (native.QUEUED,)) as server:
        words = ("images", "send", accepted, doubtful, f"127.0.0.1:{server.port}")
        process = start_frota(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=CLEAN_ENVIRONMENT)
        assert process.stdout
        printed = b"".join(process.stdout.readline() for _ in range(3))
        until(lambda: any(server.watched), "nobody waits for the image")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT_S)
        gate.set()
    ids = {request.filename: request.id for request in server.received}
    assert "Sucesso" in printed.decode()
    assert (
        f"{ids['accepted.jpg']}  accepted.jpg  aceita\n{ids['doubtful.jpg']}  doubtful.jpg  em dúvida\n" in out.decode()
    )
    assert (process.returncode, err.decode()) == (130, "frota: to see their status: frota images status ID…\n")


@pytest.mark.parametrize("words", [["127.0.0.1:50051"], ["--address", "nonsense:", "a.jpg"], ["--parallel", "0", "a"]])
def test_wrong_usage_sends_nothing(words: list[str]) -> None:
    """Wrong usage is reported before anything is sent."""
    result = run_images("send", *words)
    assert result.status in (2, 78)
    assert "Traceback" not in result.err
    assert result.err


def test_existing_file_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An existing file with the name of an address is sent."""
    monkeypatch.chdir(tmp_path)
    image_files(tmp_path, "photo:1")
    with fake_producer() as server:
        result = run_images("send", "photo:1", "--address", f"127.0.0.1:{server.port}")
    assert (result.status, server.received[0].filename) == (0, "photo:1")


def test_options_mix_with_arguments(tmp_path: Path) -> None:
    """Options may stand between the arguments."""
    first, second = image_files(tmp_path, "a.jpg", "b.jpg")
    with fake_producer() as server:
        result = run_images("send", first, "--no-wait", second, "--parallel", 1, f"127.0.0.1:{server.port}", "--json")
    assert (result.status, [entry["filename"] for entry in result.objects]) == (0, ["a.jpg", "b.jpg"])
    assert run_images("send", "--no-wait").status == 2
    assert run_images("status", "a" * 32, "--jsom").status == 2


def test_closed_standard_output_is_no_error(tmp_path: Path) -> None:
    """A closed standard output ends the command without a traceback."""
    image_files(tmp_path, *(f"{number}.jpg" for number in range(30)))
    with fake_producer() as server:
        words = ("images", "send", tmp_path, f"127.0.0.1:{server.port}")
        process = start_frota(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=CLEAN_ENVIRONMENT)
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        err = process.stderr.read()
        assert (process.wait(TIMEOUT_S), err) == (1, b"")
