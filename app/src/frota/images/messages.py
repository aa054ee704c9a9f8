"""What travels between client, producer, broker, workers and S3. No I/O.

From, to, what, and how:

    client → producer      ImageRequest                      gRPC (cloudimg.proto, images.proto)
    producer → broker      the image, with `QueuedImage.headers`  default exchange, routing key `images`
    worker → broker        `StatusEvent` as JSON                   exchange `images.events`
    operator → broker      the same, of a retried image      exchange `images.events`
    worker → broker        the image, with header `reason`   exchange `images.dead`
    worker → S3            the grey image, with `metadata`   key `result_keys`
"""

import dataclasses
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

# QUEUE is a queue, DEAD a queue and an exchange, EVENTS and REQUEUE are exchanges.
from frota.core.trace import trace_of, traceparent

QUEUE, DEAD, EVENTS, REQUEUE = "images", "images.dead", "images.events", "images.requeue"
MAX_NAME_BYTES = 255  # bytes of a file name in UTF-8, as in common file systems
EVENT_STATES = ("working", "done", "queued", "dead")  # the last two are an operator's: tried again, and not taken
UPLOAD_PREFIX = "uploads/"  # what keys of uploaded images begin with
NATIVE_SERVICE, LEGACY_SERVICE = "frota.images.Images", "cloudimg.ImageService"
STATUSES_HEALTH = "frota.images.statuses"  # under which health is told of what the producer hears, not of what it takes

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
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # Python's for a byte that is no UTF-8
_MAX_EXTENSION_BYTES = 32  # bytes of an extension that is kept where a name has to be shortened


class InvalidMessage(ValueError):
    """What came does not keep to the contract: says in Portuguese what is wrong."""


def check_name(name: str) -> str:
    """Return the file name as it is. Raises InvalidMessage for one that is no plain name."""
    if not name:
        raise InvalidMessage(EMPTY_NAME)
    if _SURROGATE.search(name):
        raise InvalidMessage(NOT_UTF8_NAME)
    if found := _CONTROL.search(name):
        raise InvalidMessage(CONTROL_CHARACTER.format(f"U+{ord(found[0]):04X}"))
    if found := _BIDI_CONTROL.search(name):
        raise InvalidMessage(BIDI_NAME.format(f"U+{ord(found[0]):04X}"))
    if "/" in name or "\\" in name or name in (".", ".."):
        raise InvalidMessage(PATH_NAME)
    if len(name.encode()) > MAX_NAME_BYTES:
        raise InvalidMessage(LONG_NAME)
    return name


def check_id(text: str) -> str:
    """Return the id as it is. Raises InvalidMessage for one that is none."""
    if not _ID.fullmatch(text):
        raise InvalidMessage(BAD_ID)
    return text


def extension(filename: str) -> str:
    """Return the extension as the original's os.path.splitext finds it: from the last dot on, but not a leading one."""
    stem, dot, rest = filename.rpartition(".")
    return dot + rest if stem.strip(".") else ""


def result_keys(filename: str, sha256: str) -> tuple[str, str]:
    """Return the key of the result as the original has it, and the one where that is another image's already.

    Neither is longer than a file's name may be: where it would be, the stem is shortened. Names that become one by it
    are kept apart by the second key.
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
    """Return as much of a text as so many bytes of UTF-8 hold, cut between two characters as people see them."""
    if len(text.encode()) <= size:
        return text
    kept = text.encode()[:size].decode(errors="ignore")
    while kept and _joined(kept, text[len(kept)]):
        kept = kept[:-1]
    return kept


def _joined(before: str, after: str) -> bool:
    """Tell whether a character is part of the one before: an accent, an emoji's further parts, half a flag."""
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
    """Return where an uploaded image is: under one key are always the same bytes, whatever else comes with its id."""
    return f"{UPLOAD_PREFIX}{image}-{sha256}"


@dataclass(frozen=True)
class QueuedImage:
    """What is known of an image besides its bytes; travels with it from the producer on."""

    id: str  # 32 hexadecimal digits
    filename: str
    trace: str  # W3C trace id
    sha256: str  # of the bytes, hexadecimal
    size: int  # bytes
    upload: str = ""  # key in the uploads bucket, where the bytes are not in the message

    def headers(self) -> dict[str, Any]:
        """Return the AMQP headers."""
        found = {
            "filename": self.filename,
            "traceparent": traceparent(self.trace),
            "sha256": self.sha256,
            "size": self.size,
        }
        return found | ({"upload": self.upload} if self.upload else {})

    @classmethod
    def read(cls, message_id: str | None, headers: Mapping[str, Any] | None) -> "QueuedImage":
        """Read what `headers` wrote. Raises InvalidMessage."""
        found = headers or {}
        try:
            image = cls(
                check_id(message_id or ""),
                check_name(str(found["filename"])),
                trace_of(str(found["traceparent"])),
                str(found["sha256"]),
                int(found["size"]),
                str(found.get("upload", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidMessage(f"not one of our messages: {error}") from None
        if not (image.trace and re.fullmatch("[0-9a-f]{64}", image.sha256)):
            raise InvalidMessage("not one of our messages: traceparent or sha256 is none")
        return image


def metadata(image: QueuedImage, width: int, height: int, media_type: str) -> dict[str, str]:
    """Return the metadata of a result in S3: ASCII only, so the name is percent-encoded.

    What it is, JPEG or PNG, is not always what its name says: the grey of `photo.webp` is `photo_gray.webp`, a JPEG.
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
    """What a worker tells of an image, or an operator who has it tried again."""

    id: str
    state: str  # one of EVENT_STATES
    filename: str
    trace: str
    sha256: str
    worker: str
    key: str = ""  # of the result
    bucket: str = ""
    reason: str = ""  # of a death

    def encode(self) -> bytes:
        """Return the event as JSON."""
        return orjson.dumps(self)

    @classmethod
    def read(cls, body: bytes) -> "StatusEvent":
        """Read what `encode` wrote. Raises InvalidMessage."""
        try:
            fields = orjson.loads(body)
            event = cls(**{field.name: fields.get(field.name, "") for field in dataclasses.fields(cls)})
            if event.state not in EVENT_STATES or not all(isinstance(one, str) for one in vars(event).values()):
                raise InvalidMessage("not one of our events")
            check_id(event.id)
        except (ValueError, AttributeError, TypeError) as error:
            raise InvalidMessage(f"not one of our events: {error}") from None
        return event


class DeadLetterReason(NamedTuple):
    """Why an image is in `images.dead`: a name for machines, a sentence for people."""

    code: str
    text: str


def dead_letter_reason(headers: Mapping[str, Any] | None) -> DeadLetterReason:
    """Return why a message is dead, as its worker said or, where a worker could not, the broker."""
    found = headers or {}
    if reason := found.get("reason"):
        return DeadLetterReason(str(found.get("reason-code", "refused")), str(reason))
    for death in _deaths(found.get("x-death")):
        if death.get("reason") == "delivery_limit":  # of those who fell
            return DeadLetterReason(
                "delivery_limit", "entregue vezes demais: nenhum trabalhador que a recebeu chegou ao fim"
            )
        return DeadLetterReason(str(death.get("reason")), f"o broker a descartou: {death.get('reason')}")
    return DeadLetterReason("unknown", "motivo desconhecido")


def _deaths(header: Any) -> Iterator[Mapping[str, Any]]:
    yield from (one for one in header or () if isinstance(one, dict))
