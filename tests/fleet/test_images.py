"""Images that clients on other hosts send: conversion, results in S3, statuses, rejections, legacy clients."""

import io
import json
import secrets
import shlex
from typing import Any

from PIL import Image

from .aws import Results
from .fleet import Fleet
from .hosts import until

# The prefix of the objects of these tests, which delete them.
_PREFIX = "aceite"
_PRODUCER, _WORKER = "--unit=frota-image-producer", "--unit=frota-image-worker"
_UNHEX = "'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read()))'"
_PYTHON = "/opt/frota/current/bin/python"


def _jpeg() -> bytes:
    """Return a JPEG of two random colours, one above the other."""
    picture = Image.new("RGB", (64, 64), _colour())
    picture.paste(_colour(), (0, 32, 64, 64))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


def _colour() -> tuple[int, ...]:
    """Return a random colour that is not near the edge of the RGB cube.

    Where JPEG's ringing leaves the RGB cube, a decoder clips red, green and blue, and their brightness differs from the
    one in the file, which the worker keeps.
    """
    return tuple(48 + secrets.randbelow(160) for _ in range(3))


def _put(fleet: Fleet, name: str, data: bytes) -> str:
    """Write an image to a file on the client's host that its users can read; return the path."""
    path = f"/tmp/{_PREFIX}/{name}"
    fleet.image_client.run(f"install -d -m 755 /tmp/{_PREFIX}; echo {data.hex()} | python3 -c {_UNHEX} >{path}")
    return path


def _send(fleet: Fleet, *words: str, environ: str = "") -> list[dict[str, Any]]:
    """Send images as a user of the host does; return the final status of each."""
    output = fleet.image_client.run_as_admin(
        f"{environ} timeout 180 frota images send --json {shlex.join(words)} || true"
    )
    statuses = [json.loads(line) for line in output.splitlines()]
    return [status for status in statuses if status["state"] != "accepted"]


def test_image_from_another_host(fleet: Fleet) -> None:
    """An image from another host is in S3 in grayscale, and its trace id is in every journal on its way."""
    results, trace, data = Results(fleet), secrets.token_hex(16), _jpeg()
    name = f"{_PREFIX}-{trace[:8]}.jpg"
    (done,) = _send(fleet, _put(fleet, name, data), environ=f"TRACEPARENT=00-{trace}-{secrets.token_hex(8)}-01")
    key = f"{_PREFIX}-{trace[:8]}_gray.jpg"
    about, grey = results.metadata(key), Image.open(io.BytesIO(results.body(key)))
    expected = Image.open(io.BytesIO(data)).convert("L")
    results.drop(key)

    assert (done["state"], done["url"].rpartition("/")[2]) == ("done", key)
    assert (about["trace-id"], about["image-id"], about["source-filename"]) == (trace, done["id"], name)
    assert (grey.mode, grey.size) == ("L", expected.size)
    assert max(abs(actual - wanted) for actual, wanted in zip(grey.tobytes(), expected.tobytes(), strict=True)) <= 2
    (queued,) = fleet.image_producer.journal(f"TRACE_ID={trace}", _PRODUCER)
    (converted,) = [record for host in fleet.image_workers for record in host.journal(f"TRACE_ID={trace}", _WORKER)]
    assert [(record["FROTA_EVENT"], record["IMAGE_ID"]) for record in (queued, converted)] == [
        ("image_queued", done["id"]),
        ("image_done", done["id"]),
    ]
    assert fleet.image_client.address in queued["PEER"]


def test_legacy_client(fleet: Fleet) -> None:
    """A legacy client is served in clear text, on the port for that only."""
    script = (fleet.root / "molecule/images/files/legacy_client.py").read_text(encoding="utf-8")
    path, results = _put(fleet, "foto.jpg", _jpeg()), Results(fleet)
    name = f"{_PREFIX}-{secrets.token_hex(4)}.jpg"
    responses = [
        fleet.image_client.run(
            f"timeout 180 {_PYTHON} -c {shlex.quote(script)} {fleet.image_producer.address}:{port} {path} {name}"
        )
        for port in (fleet.images_clear_port, fleet.images_port)
    ]
    assert responses == [f"✔ Imagem {name} recebida, processamento iniciado.\n", "UNAVAILABLE\n"]
    until(lambda: results.keys(name.removesuffix(".jpg")), "the converted image is not in S3")
    results.drop(name.removesuffix(".jpg"))


def test_invalid_images(fleet: Fleet) -> None:
    """A file that is not an image is rejected, one that cannot be converted is dead-lettered, both with the reason."""
    before = fleet.invocations()
    words = _put(fleet, "palavras.jpg", b"so palavras\n")
    broken = _put(fleet, "quebrada.jpg", _without_middle(_jpeg()))
    good = _put(fleet, f"{_PREFIX}-depois.jpg", _jpeg())
    statuses = {status["filename"]: status for status in _send(fleet, words, broken, good)}
    assert {name: status["state"] for name, status in statuses.items()} == {
        "palavras.jpg": "refused",
        "quebrada.jpg": "dead",
        f"{_PREFIX}-depois.jpg": "done",
    }
    assert statuses["palavras.jpg"]["reason"].startswith("formato não suportado")
    dead = [
        json.loads(line) for line in fleet.image_producer.run_as_admin("frota images dead list --json").splitlines()
    ]
    assert [letter["reason"] for letter in dead if letter["id"] == statuses["quebrada.jpg"]["id"]] == [
        statuses["quebrada.jpg"]["reason"]
    ]
    fleet.image_producer.run_as_admin(f"frota images dead drop --yes {statuses['quebrada.jpg']['id']}")
    Results(fleet).drop(f"{_PREFIX}-depois")
    assert fleet.restarted_since(before) == set()


def _without_middle(jpeg: bytes) -> bytes:
    scan = jpeg.index(b"\xff\xda")
    return jpeg[: scan + 20] + jpeg[-2:]
