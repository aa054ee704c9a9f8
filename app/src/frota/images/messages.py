"""The messages between client, producer, broker, workers and S3. No I/O.

From, to, message, and transport:

    client → producer      ImageRequest                      gRPC (cloudimg.proto, images.proto)
    producer → broker      the image, with `QueuedImage.headers`  default exchange, routing key `images`
    worker → broker        `StatusEvent` as JSON                   exchange `images.events`
    operator → broker      the same, of a retried image      exchange `images.events`
    worker → broker        the image, with header `reason`   exchange `images.dead`
    worker → S3            the grey image, with `result_metadata`   key `result_keys`
"""

import dataclasses
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from frota.core.errors import MalformedMessage
from frota.core.trace import trace_of, traceparent

# QUEUE is a queue, DEAD a queue and an exchange, EVENTS and REQUEUE are exchanges.
QUEUE, DEAD, EVENTS, REQUEUE = "images", "images.dead", "images.events", "images.requeue"
MAX_NAME_BYTES = 255  # of a file name in UTF-8, as in common file systems
EVENT_STATES = ("working", "done", "queued", "dead")  # the last two of an operator: requeued, or the requeue failed
UPLOAD_PREFIX = "uploads/"  # of the keys of uploaded images
NATIVE_SERVICE, LEGACY_SERVICE = "frota.images.Images", "cloudimg.ImageService"
STATUSES_HEALTH = "frota.images.statuses"  # health of the statuses, not of accepting images

RECEIVED = "Imagem {} recebida, processamento iniciado."
EMPTY_NAME = "nome do arquivo vazio"
LONG_NAME = f"nome do arquivo longo demais, o máximo é {MAX_NAME_BYTES} bytes"
PATH_NAME = "nome do arquivo não pode conter pasta nem barra (/ ou \\), envie só o nome, por exemplo foto.jpg"
CONTROL_CHARACTER = "nome do arquivo contém o caractere de controle {}: mude o nome do arquivo"
BIDI_NAME = "nome do arquivo contém {}, que muda a direção do texto e esconde o nome real: mude o nome do arquivo"
NOT_UTF8_NAME = "nome do arquivo não está em UTF-8: mude o nome do arquivo (convmv converte os de uma pasta)"
BAD_ID = "id inválido, esperava 32 dígitos hexadecimais"
TOO_LARGE = "imagem grande demais: {} bytes, o máximo é {}"
BROKER_UNAVAILABLE = "fila indisponível, tente mais tarde"
BROKER_FULL = "fila cheia, tente mais tarde"
NO_UPLOADS = "este servidor não aceita imagens tão grandes"
UPLOAD_SIZE = "foram anunciados {} bytes, chegaram {}"
NO_HEADER = "a primeira mensagem deve trazer o cabeçalho"
STORAGE_UNAVAILABLE = "armazenamento indisponível, tente mais tarde"
IMAGE_TIMEOUT = "a imagem não chegou inteira a tempo"
ID_IN_USE = "id já usado para outra imagem"
INTERNAL = "erro interno, tente mais tarde"
BUSY = "servidor ocupado, tente mais tarde"
STOPPING = "servidor encerrando, tente de novo"
TOO_MANY_IDS = "ids demais, o máximo é 1000"

_ID = re.compile(r"[0-9a-f]{32}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BIDI_CONTROL = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # Python's replacement of a byte that is not UTF-8
_MAX_EXTENSION_BYTES = 32  # of an extension that survives shortening


def check_name(name: str) -> str:
    """Return a valid file name unchanged. Raises MalformedMessage."""
    if not name:
        raise MalformedMessage(EMPTY_NAME)
    if _SURROGATE.search(name):
        raise MalformedMessage(NOT_UTF8_NAME)
    if match := _CONTROL.search(name):
        raise MalformedMessage(CONTROL_CHARACTER.format(f"U+{ord(match[0]):04X}"))
    if match := _BIDI_CONTROL.search(name):
        raise MalformedMessage(BIDI_NAME.format(f"U+{ord(match[0]):04X}"))
    if "/" in name or "\\" in name or name in (".", ".."):
        raise MalformedMessage(PATH_NAME)
    if len(name.encode()) > MAX_NAME_BYTES:
        raise MalformedMessage(LONG_NAME)
    return name


def check_id(text: str) -> str:
    """Return a valid image id unchanged. Raises MalformedMessage."""
    if not _ID.fullmatch(text):
        raise MalformedMessage(BAD_ID)
    return text


def extension(filename: str) -> str:
    """Return the extension as the legacy worker's os.path.splitext does: from the last dot on, unless it leads."""
    stem, dot, rest = filename.rpartition(".")
    return dot + rest if stem.strip(".") else ""


def result_keys(filename: str, sha256: str) -> tuple[str, str]:
    """Return the key of the result as in the legacy system, and the alternative if another image has that key.

    Neither is longer than a file name may be: the stem is shortened. Names that become equal by it differ in their
    second key.
    """
    end = extension(filename)
    if len(end.encode()) > _MAX_EXTENSION_BYTES and len(filename.encode()) > MAX_NAME_BYTES - _MAX_EXTENSION_BYTES:
        end = ""
    base = filename.removesuffix(end) if end else filename
    first, second = f"_gray{end}", f"_gray-{sha256[:16]}{end}"
    return shortened(base, MAX_NAME_BYTES - len(first.encode())) + first, shortened(
        base, MAX_NAME_BYTES - len(second.encode())
    ) + second


def shortened(text: str, size: int) -> str:
    """Return at most `size` bytes (UTF-8) of a text, cut between two grapheme clusters."""
    if len(text.encode()) <= size:
        return text
    prefix = text.encode()[:size].decode(errors="ignore")
    while prefix and _joined(prefix, text[len(prefix)]):
        prefix = prefix[:-1]
    return prefix


def _joined(before: str, after: str) -> bool:
    """Tell whether a character continues a grapheme cluster: an accent, part of an emoji, half a flag."""
    if "\U0001f1e6" <= after <= "\U0001f1ff":
        flags = len(before) - len(before.rstrip("".join(map(chr, range(0x1F1E6, 0x1F200)))))
        return flags % 2 == 1
    return (
        unicodedata.category(after).startswith("M")
        or after == "\u200d"
        or before[-1] == "\u200d"
        or "\U0001f3fb" <= after <= "\U0001f3ff"
        or "\u1160" <= after <= "\u11ff"
    )


def upload_key(image: str, sha256: str) -> str:
    """Return the key of an uploaded image; it contains the hash, so another upload of this id cannot replace it."""
    return f"{UPLOAD_PREFIX}{image}-{sha256}"


@dataclass(frozen=True)
class QueuedImage:
    """An image in the queue without its bytes: its message's id and headers."""

    id: str  # 32 hexadecimal digits
    filename: str
    trace: str  # W3C trace id
    sha256: str  # of the bytes, hexadecimal
    size: int  # bytes
    upload: str = ""  # key in the uploads bucket, if the bytes are not in the message

    def headers(self) -> dict[str, Any]:
        """Return the AMQP headers."""
        headers = {
            "filename": self.filename,
            "traceparent": traceparent(self.trace),
            "sha256": self.sha256,
            "size": self.size,
        }
        return headers | ({"upload": self.upload} if self.upload else {})

    @classmethod
    def read(cls, message_id: str | None, headers: Mapping[str, Any] | None) -> "QueuedImage":
        """Parse a message's id and headers. Raises MalformedMessage."""
        fields = headers or {}
        try:
            image = cls(
                check_id(message_id or ""),
                check_name(str(fields["filename"])),
                trace_of(str(fields["traceparent"])),
                str(fields["sha256"]),
                int(fields["size"]),
                str(fields.get("upload", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedMessage(f"not an image of this pipeline: {error}") from None
        if not (image.trace and re.fullmatch("[0-9a-f]{64}", image.sha256)):
            raise MalformedMessage("not an image of this pipeline: traceparent or sha256 is invalid")
        return image


def result_metadata(image: QueuedImage, width: int, height: int, media_type: str) -> dict[str, str]:
    """Return the S3 metadata of a result: ASCII only, so the name is percent-encoded.

    `media-type` may differ from the extension: the result of `photo.webp` is `photo_gray.webp`, a JPEG.
    """
    return {
        "media-type": media_type,
        "image-id": image.id,
        "trace-id": image.trace,
        "source-filename": quote(image.filename, safe=" "),
        "source-sha256": image.sha256,
        "source-size": str(image.size),
        "width": str(width),
        "height": str(height),
    }


@dataclass(frozen=True)
class StatusEvent:
    """A change of an image's status, published by a worker, or by an operator who requeues it."""

    id: str
    state: str  # one of EVENT_STATES
    filename: str
    trace: str
    sha256: str
    worker: str
    key: str = ""  # of the result
    bucket: str = ""
    reason: str = ""  # of a dead image

    def encode(self) -> bytes:
        """Return the event as JSON."""
        return orjson.dumps(self)

    @classmethod
    def read(cls, body: bytes) -> "StatusEvent":
        """Parse JSON. Raises MalformedMessage."""
        try:
            fields = orjson.loads(body)
            event = cls(**{field.name: fields.get(field.name, "") for field in dataclasses.fields(cls)})
            if event.state not in EVENT_STATES or not all(isinstance(value, str) for value in vars(event).values()):
                raise MalformedMessage("not a status event")
            check_id(event.id)
        except (ValueError, AttributeError, TypeError) as error:
            raise MalformedMessage(f"not a status event: {error}") from None
        return event


class DeadLetterReason(NamedTuple):
    """Why an image is dead-lettered: `code` for programs, `text` for users."""

    code: str
    text: str


def dead_letter_reason(headers: Mapping[str, Any] | None) -> DeadLetterReason:
    """Return why a message is dead-lettered: the worker's reason, else the broker's."""
    fields = headers or {}
    if reason := fields.get("reason"):
        return DeadLetterReason(str(fields.get("reason-code", "refused")), str(reason))
    for death in _deaths(fields.get("x-death")):
        if death.get("reason") == "delivery_limit":  # workers crashed on it
            return DeadLetterReason(
                "delivery_limit", "entregue vezes demais: nenhum trabalhador que a recebeu chegou ao fim"
            )
        return DeadLetterReason(str(death.get("reason")), f"o broker a descartou: {death.get('reason')}")
    return DeadLetterReason("unknown", "motivo desconhecido")


def _deaths(header: Any) -> Iterator[Mapping[str, Any]]:
    yield from (death for death in header or () if isinstance(death, dict))
