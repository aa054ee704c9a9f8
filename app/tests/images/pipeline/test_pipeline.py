"""The data path of an image: from a client over producer, broker and worker into S3, or to the dead letters."""

import io
from collections.abc import Callable
from uuid import uuid4

import grpc
import pytest
from PIL import Image

from frota.images.messages import DEAD, QUEUE
from frota.images.proto import images_pb2 as native
from support.pipeline import S3, UPLOADS, Pipeline, digest, picture


def rejection(pipeline: Pipeline, name: str, data: bytes) -> tuple[grpc.StatusCode, str | None]:
    """Return status and message of the rejection by the native API."""
    try:
        image = pipeline.send(name, data)
    except grpc.RpcError as error:
        return error.code(), error.details()
    pytest.fail(f"image {image} was accepted; the producer says:\n{pipeline.producer.log()}")


def test_legacy_client_gets_the_legacy_key(pipeline: Pipeline) -> None:
    """A legacy client gets success, and the grey image has the legacy key."""
    pipeline.serve()
    pipeline.work().wait_for("for images")
    response = pipeline.send_legacy("foto.jpg", picture())
    assert (response.success, response.message) == (True, "Imagem foto.jpg recebida, processamento iniciado.")
    pipeline.workers[0].wait_for("foto_gray.jpg")
    grey = Image.open(io.BytesIO(pipeline.s3.body("foto_gray.jpg")))
    assert (grey.format, grey.mode, grey.size) == ("JPEG", "L", (64, 48))


def test_metadata_has_the_trace_id(pipeline: Pipeline) -> None:
    """The client's trace id is in the status and in the metadata of the result."""
    pipeline.serve()
    pipeline.work()
    trace = uuid4().hex
    image = pipeline.send("férias.png", picture(kind="PNG"), traceparent=f"00-{trace}-{'1' * 16}-01")
    final = pipeline.final_statuses(image)[image]
    metadata = pipeline.s3.metadata("férias_gray.png")
    assert (final.state, final.trace_id, final.filename) == (native.DONE, trace, "férias.png")
    assert final.url.endswith("/results/f%C3%A9rias_gray.png")
    assert metadata == {
        "media-type": "image/png",
        "image-id": image,
        "trace-id": trace,
        "source-filename": "f%C3%A9rias.png",
        "source-sha256": digest(picture(kind="PNG")),
        "source-size": str(len(picture(kind="PNG"))),
        "width": "64",
        "height": "48",
    }


def test_images_of_one_name_have_separate_results(pipeline: Pipeline) -> None:
    """Different images of one name have separate results, equal images have one."""
    pipeline.serve()
    pipeline.work()
    for colour in (1, 2, 1, 2):
        image = pipeline.send("photo.jpg", picture(colour))
        assert pipeline.final_statuses(image)[image].state == native.DONE
    second = f"photo_gray-{digest(picture(2))[:16]}.jpg"
    assert sorted(pipeline.s3.names()) == sorted(["photo_gray.jpg", second])
    assert pipeline.s3.metadata("photo_gray.jpg")["source-sha256"] == digest(picture(1))
    assert pipeline.s3.metadata(second)["source-sha256"] == digest(picture(2))


# Invalid image: file name, bytes, status, part of the message.
_INVALID = {
    "empty": ("a.jpg", b"", grpc.StatusCode.INVALID_ARGUMENT, "vazia"),
    "text": ("a.jpg", b"not an image, but text", grpc.StatusCode.INVALID_ARGUMENT, "não suportado"),
    "truncated": ("a.jpg", picture()[:-20], grpc.StatusCode.INVALID_ARGUMENT, "truncada"),
    "path": ("../../x.jpg", picture(), grpc.StatusCode.INVALID_ARGUMENT, "pasta"),
    "control": ("a\nb.jpg", picture(), grpc.StatusCode.INVALID_ARGUMENT, "controle"),
    "no name": ("", picture(), grpc.StatusCode.INVALID_ARGUMENT, "vazio"),
    "too large": ("a.jpg", picture() + bytes(15 * 2**20), grpc.StatusCode.RESOURCE_EXHAUSTED, "o máximo é 15728640"),
    "pixels": ("a.png", picture(size=(11_000, 11_000), kind="PNG"), grpc.StatusCode.INVALID_ARGUMENT, "pixels"),
}


def test_invalid_images_are_rejected(pipeline: Pipeline) -> None:
    """Invalid images are rejected with the reason, and nothing is queued."""
    pipeline.serve()
    unexpected = {}
    for case, (name, data, code, text) in _INVALID.items():
        native_response, legacy_response = rejection(pipeline, name, data), pipeline.send_legacy(name, data)
        outcome = [
            native_response[0],
            text in (native_response[1] or ""),
            legacy_response.success,
            text in legacy_response.message,
        ]
        if outcome != [code, True, False, True]:
            unexpected[case] = (native_response, legacy_response)
    assert unexpected == {}
    assert pipeline.broker.count(QUEUE) == 0


def test_undecodable_image_is_dead_lettered(pipeline: Pipeline) -> None:
    """An image that cannot be decoded is dead-lettered with the reason, and the next is processed."""
    pipeline.serve()
    pipeline.work()
    whole = picture(kind="PNG", size=(500, 500))
    bad = whole[:60] + b"\xff" * 40 + whole[100:]
    image = pipeline.send("bad.png", bad)
    final = pipeline.final_statuses(image)[image]
    assert (final.state, final.reason != "") == (native.DEAD, True)
    [(properties, body)] = pipeline.broker.take(DEAD)
    assert (properties.message_id, body) == (image, bad)
    assert properties.headers["reason"] == final.reason
    good = pipeline.send("good.png", whole)
    assert pipeline.final_statuses(good)[good].state == native.DONE


def test_large_image_is_uploaded(pipeline: Pipeline) -> None:
    """An image too large for the queue is uploaded, and its upload deleted when it is done."""
    pipeline.serve()
    large = picture(kind="PNG") + b"trailing bytes are harmless" * 700_000
    image = pipeline.upload("large.png", large)
    assert pipeline.s3.names(UPLOADS) == [f"uploads/{image}-{digest(large)}"]
    pipeline.work()
    assert pipeline.final_statuses(image)[image].state == native.DONE
    pipeline.workers[0].wait_for("large_gray.png")
    assert pipeline.s3.metadata("large_gray.png")["source-sha256"] == digest(large)
    assert pipeline.workers[0].stop() == 0
    assert pipeline.s3.names(UPLOADS) == []


def test_repeated_upload_with_other_bytes_is_rejected(pipeline: Pipeline) -> None:
    """An upload repeated with other bytes is rejected, and the accepted one is processed."""
    pipeline.serve()
    image = pipeline.upload("a.jpg", picture(1))
    assert pipeline.upload("a.jpg", picture(1), image=image) == image
    with pytest.raises(grpc.RpcError, match="id já usado"):
        pipeline.upload("a.jpg", picture(2), image=image)
    pipeline.work()
    assert pipeline.final_statuses(image)[image].state == native.DONE
    assert pipeline.s3.metadata("a_gray.jpg")["source-sha256"] == digest(picture(1))
    grey = Image.open(io.BytesIO(pipeline.s3.body("a_gray.jpg"))).getpixel((0, 0))
    assert grey == Image.open(io.BytesIO(picture(1))).convert("L").getpixel((0, 0))


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        (lambda s3, key: s3.client.put_object(Bucket=UPLOADS, Key=key, Body=picture(2)), "altered", "não é o que foi"),
        (lambda s3, key: s3.client.delete_object(Bucket=UPLOADS, Key=key), "gone", "não está mais"),
    ],
    ids=["other bytes", "expired"],
)
def test_changed_upload_is_dead_lettered(
    pipeline: Pipeline, change: Callable[[S3, str], None], code: str, reason: str
) -> None:
    """An upload that changed or disappeared after its acceptance is dead-lettered with the reason."""
    pipeline.serve()
    image = pipeline.upload("a.jpg", picture(1))
    change(pipeline.s3, f"uploads/{image}-{digest(picture(1))}")
    pipeline.work()
    final = pipeline.final_statuses(image)[image]
    assert (final.state, reason in final.reason) == (native.DEAD, True)
    [(properties, _)] = pipeline.broker.take(DEAD)
    assert (properties.headers or {})["reason-code"] == code
    assert pipeline.s3.names() == []


def test_upload_of_another_size_is_rejected(pipeline: Pipeline) -> None:
    """An upload whose size differs from the announced one, or exceeds the limit, is rejected."""
    pipeline.serve()
    for announced, code in ((10, grpc.StatusCode.INVALID_ARGUMENT), (2**40, grpc.StatusCode.RESOURCE_EXHAUSTED)):
        with pytest.raises(grpc.RpcError) as error:
            pipeline.upload("large.png", picture(), announced)
        assert error.value.code() == code
    assert pipeline.s3.names(UPLOADS) == []


def test_id_of_another_image_is_rejected(pipeline: Pipeline) -> None:
    """An id that was used for another image is rejected; for the same image it is accepted."""
    pipeline.serve()
    image = pipeline.send("a.jpg", picture(1))
    assert pipeline.send("a.jpg", picture(1), image) == image
    with pytest.raises(grpc.RpcError, match="id já usado"):
        pipeline.send("a.jpg", picture(2), image)


def test_unknown_and_invalid_ids(pipeline: Pipeline) -> None:
    """An unknown id has the status unknown, and an invalid one is rejected."""
    pipeline.serve()
    assert pipeline.status(uuid4().hex).state == native.UNKNOWN
    with pytest.raises(grpc.RpcError, match="32 dígitos"):
        pipeline.status("photo.jpg")
