"""What producer and worker log of images, as far as the budgets go."""

import time
from typing import Any, Protocol
from urllib.parse import unquote

from frota.core.log import printable, record
from frota.core.rate_limit import Budget, Budgets
from frota.images.messages import LONGEST_NAME, RECEIVED, Death, Ticket

_RECORDS_PER_SECOND = 20  # of each kind that strangers can provoke


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


class _Notes:
    """The budgets: one for what is logged of each image, and others."""

    def __init__(self, images: Budget, *others: Budget) -> None:
        self._images, self._budgets = images, Budgets(images, *others)

    def configure(self, per_second: int) -> None:
        """Take a new budget for images."""
        self._images.rate = per_second

    def sweep(self) -> None:
        """Let the budgets go on with the time."""
        self._budgets.sweep(time.monotonic())

    def report(self) -> None:
        """Tell how much was left out."""
        self._budgets.report()


class ProducerNotes(_Notes):
    """Writes the producer's records."""

    def __init__(self, per_second: int) -> None:
        self._refused = Budget("refused_omitted", "images refused", _RECORDS_PER_SECOND)
        super().__init__(Budget("images_omitted", "images taken in", per_second), self._refused)

    def queued(self, peer: str, ticket: Ticket, began: float) -> None:
        """Log an image that was accepted."""
        if self._images.allow():
            text = RECEIVED.format(printable(ticket.filename))
            record("INFO", "image_queued", text, **_fields(ticket, began, PEER=unquote(peer)))

    def refused(self, peer: str, reason: Exception, image: Named) -> None:
        """Log an image that was refused."""
        if self._refused.allow():
            text = f"Imagem recusada: {printable(str(reason))}"
            record("WARNING", "image_refused", text, PEER=unquote(peer), **named(image))


class WorkerNotes(_Notes):
    """Writes the worker's records."""

    def __init__(self, per_second: int) -> None:
        super().__init__(Budget("images_omitted", "images worked on", per_second))

    def done(self, ticket: Ticket, began: float, bucket: str, key: str) -> None:
        """Log an image whose result is in S3."""
        if self._images.allow():
            text = f"Imagem {printable(ticket.filename)} processada: s3://{bucket}/{printable(key)}"
            record("INFO", "image_done", text, **_fields(ticket, began, KEY=printable(key)))

    @staticmethod
    def dead(ticket: Ticket, began: float, death: Death) -> None:
        """Log an image that cannot be worked on."""
        text = f"Imagem {printable(ticket.filename)} descartada: {printable(death.text)}"
        record("WARNING", "image_dead", text, **_fields(ticket, began, REASON=death.code))
