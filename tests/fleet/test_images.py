"""Images from other hosts: grey, in S3, told of on the way, for people with a certificate and for the original's."""

import io
import json
import secrets
import shlex
from typing import Any

from PIL import Image

from .aws import Results
from .fleet import Fleet
from .hosts import until

# What the tests here put into S3 begins so, and is gone when they end.
_OWN = "aceite"
_PRODUCER, _WORKER = "--unit=frota-image-producer", "--unit=frota-image-worker"
_UNHEX = "'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read()))'"
_PYTHON = "/opt/frota/current/bin/python"


def _jpeg() -> bytes:
    """Return an image that there never was before: an upper half of one colour, a lower of another."""
    picture = Image.new("RGB", (64, 64), _colour())
    picture.paste(_colour(), (0, 32, 64, 64))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


def _colour() -> tuple[int, ...]:
    """Return a colour whose compressed neighbours are colours too.

    Where JPEG's ringing leaves the RGB cube, a reader clips red, green and blue, and the brightness of what is left
    is not the brightness in the file, which the worker keeps.
    """
    return tuple(48 + secrets.randbelow(160) for _ in range(3))


def _put(fleet: Fleet, name: str, data: bytes) -> str:
    """Write an image on the host of clients, for whoever logs in there; return its path."""
    path = f"/tmp/{_OWN}/{name}"
    fleet.image_client.run(f"install -d -m 755 /tmp/{_OWN}; echo {data.hex()} | python3 -c {_UNHEX} >{path}")
    return path


def _send(fleet: Fleet, *words: str, environ: str = "") -> list[dict[str, Any]]:
    """Send as the people of the host do, and return what was said of every image at last."""
    said = fleet.image_client.run_as_admin(
        f"{environ} timeout 180 frota images send --json {shlex.join(words)} || true"
    )
    told = [json.loads(line) for line in said.splitlines()]
    return [one for one in told if one["state"] != "accepted"]


def test_image_from_another_host(fleet: Fleet) -> None:
    """An image from another host is in S3 in grayscale, and its trace id is in every journal on its way."""
    results, trace, data = Results(fleet), secrets.token_hex(16), _jpeg()
    name = f"{_OWN}-{trace[:8]}.jpg"
    (done,) = _send(fleet, _put(fleet, name, data), environ=f"TRACEPARENT=00-{trace}-{secrets.token_hex(8)}-01")
    key = f"{_OWN}-{trace[:8]}_gray.jpg"
    about, grey = results.metadata(key), Image.open(io.BytesIO(results.body(key)))
    expected = Image.open(io.BytesIO(data)).convert("L")
    results.drop(key)

    assert (done["state"], done["url"].rpartition("/")[2]) == ("done", key)
    assert (about["trace-id"], about["image-id"], about["source-filename"]) == (trace, done["id"], name)
    assert (grey.mode, grey.size) == ("L", expected.size)
    assert max(abs(one - other) for one, other in zip(grey.tobytes(), expected.tobytes(), strict=True)) <= 2
    (queued,) = fleet.image_producer.journal(f"TRACE_ID={trace}", _PRODUCER)
    (worked,) = [record for host in fleet.image_workers for record in host.journal(f"TRACE_ID={trace}", _WORKER)]
    assert [(one["FROTA_EVENT"], one["IMAGE_ID"]) for one in (queued, worked)] == [
        ("image_queued", done["id"]),
        ("image_done", done["id"]),
    ]
    assert fleet.image_client.address in queued["PEER"]


def test_legacy_client(fleet: Fleet) -> None:
    """A legacy client is served in clear text, on the port for that only."""
    script = (fleet.root / "molecule/images/files/original.py").read_text(encoding="utf-8")
    path, results = _put(fleet, "foto.jpg", _jpeg()), Results(fleet)
    name = f"{_OWN}-{secrets.token_hex(4)}.jpg"
    said = [
        fleet.image_client.run(
            f"timeout 180 {_PYTHON} -c {shlex.quote(script)} {fleet.image_producer.address}:{port} {path} {name}"
        )
        for port in (fleet.images_clear_port, fleet.images_port)
    ]
    assert said == [f"✔ Imagem {name} recebida, processamento iniciado.\n", "UNAVAILABLE\n"]
    until(lambda: results.keys(name.removesuffix(".jpg")), "the grey image in S3")
    results.drop(name.removesuffix(".jpg"))


def test_invalid_images(fleet: Fleet) -> None:
    """A file that is not an image is rejected, one that cannot be converted is dead-lettered, both with the reason."""
    before = fleet.invocations()
    words = _put(fleet, "palavras.jpg", b"so palavras\n")
    broken = _put(fleet, "quebrada.jpg", _without_its_middle(_jpeg()))
    good = _put(fleet, f"{_OWN}-depois.jpg", _jpeg())
    told = {one["filename"]: one for one in _send(fleet, words, broken, good)}
    assert {name: one["state"] for name, one in told.items()} == {
        "palavras.jpg": "refused",
        "quebrada.jpg": "dead",
        f"{_OWN}-depois.jpg": "done",
    }
    assert told["palavras.jpg"]["reason"].startswith("formato não suportado")
    dead = [
        json.loads(line) for line in fleet.image_producer.run_as_admin("frota images dead list --json").splitlines()
    ]
    assert [one["reason"] for one in dead if one["id"] == told["quebrada.jpg"]["id"]] == [
        told["quebrada.jpg"]["reason"]
    ]
    fleet.image_producer.run_as_admin(f"frota images dead drop --yes {told['quebrada.jpg']['id']}")
    Results(fleet).drop(f"{_OWN}-depois")
    assert fleet.restarted_since(before) == set()


def _without_its_middle(jpeg: bytes) -> bytes:
    scan = jpeg.index(b"\xff\xda")
    return jpeg[: scan + 20] + jpeg[-2:]
