"""What producer and worker log of images, within rate limits."""

import time
from typing import Any, Protocol
from urllib.parse import unquote

from frota.images.messages import LONGEST_NAME, RECEIVED, Death, Ticket
from frota.logs.log import printable, record
from frota.logs.rate_limit import RateLimitedLog, RateLimiter


class Named(Protocol):
    """What a record is about: an image as a client, a message or a status has it."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def trace(self) -> str:
        """Its W3C trace id."""

    @property
    def filename(self) -> str:
        """Its name."""


def named(image: Named) -> dict[str, Any]:
    """Return the fields by which the records of an image are found, as far as they are known."""
    found = {"IMAGE_ID": image.id, "TRACE_ID": image.trace, "FILENAME": image.filename}
    return {name: printable(value[:LONGEST_NAME]) for name, value in found.items() if value}


def _fields(ticket: Ticket, began: float, **more: Any) -> dict[str, Any]:
    """Return the fields of a record; `began` is a time of time.perf_counter()."""
    milliseconds = f"{(time.perf_counter() - began) * 1e3:.3f}"
    return named(ticket) | {"BYTES": ticket.size, "DURATION_MS": milliseconds} | more


class ProducerEventLog(RateLimitedLog):
    """Writes the producer's records."""

    def __init__(self, per_second: int) -> None:
        self._refused = RateLimiter("rejections_suppressed", "images refused")
        self._images = RateLimiter("images_suppressed", "accepted images", per_second)
        super().__init__(self._images, self._refused)

    def queued(self, peer: str, ticket: Ticket, began: float) -> None:
        """Log an image that was accepted."""
        if self._images.allow():
            text = RECEIVED.format(printable(ticket.filename))
            record("INFO", "image_queued", text, **_fields(ticket, began, PEER=unquote(peer)))

    def refused(self, peer: str, reason: Exception, image: Named) -> None:
        """Log an image that was refused."""
        if self._refused.allow():
            text = f"Imagem recusada: {printable(str(reason))}"
            record("WARNING", "image_rejected", text, PEER=unquote(peer), **named(image))


class WorkerEventLog(RateLimitedLog):
    """Writes the worker's records."""

    def __init__(self, per_second: int) -> None:
        self._images = RateLimiter("images_suppressed", "converted images", per_second)
        super().__init__(self._images)

    def done(self, ticket: Ticket, began: float, bucket: str, key: str) -> None:
        """Log an image whose result is in S3."""
        if self._images.allow():
            text = f"Imagem {printable(ticket.filename)} processada: s3://{bucket}/{printable(key)}"
            record("INFO", "image_done", text, **_fields(ticket, began, KEY=printable(key)))

    @staticmethod
    def dead(ticket: Ticket, began: float, death: Death) -> None:
        """Log an image that cannot be worked on."""
        text = f"Imagem {printable(ticket.filename)} descartada: {printable(death.text)}"
        record("WARNING", "image_dead_lettered", text, **_fields(ticket, began, REASON=death.code))
