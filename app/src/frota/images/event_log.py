"""The rate-limited event logs of producer and worker."""

import time
from typing import Any, Protocol
from urllib.parse import unquote

from frota.images.messages import MAX_NAME_BYTES, RECEIVED, DeadLetterReason, QueuedImage
from frota.logs.log import printable, record
from frota.logs.rate_limit import RateLimitedLog, RateLimiter
from frota.net.exposition import CounterBy


class ImageIdentity(Protocol):
    """What identifies an image in log records: a submitted image, a queued one and a status have it."""

    @property
    def id(self) -> str:
        """The image id."""

    @property
    def trace(self) -> str:
        """The W3C trace id."""

    @property
    def filename(self) -> str:
        """The file name."""


def image_fields(image: ImageIdentity) -> dict[str, Any]:
    """Return the journal fields that identify an image, without empty ones."""
    fields = {"IMAGE_ID": image.id, "TRACE_ID": image.trace, "FILENAME": image.filename}
    return {name: printable(value[:MAX_NAME_BYTES]) for name, value in fields.items() if value}


def _fields(image: QueuedImage, began: float, **more: Any) -> dict[str, Any]:
    """Return the fields of a record; `began` is a time of time.perf_counter()."""
    milliseconds = f"{(time.perf_counter() - began) * 1e3:.3f}"
    return image_fields(image) | {"BYTES": image.size, "DURATION_MS": milliseconds} | more


class ProducerEventLog(RateLimitedLog):
    """Writes the producer's records."""

    def __init__(self, per_second: int) -> None:
        self._rejections = RateLimiter("rejections_suppressed", "images rejected")
        self._images = RateLimiter("images_suppressed", "accepted images", per_second)
        super().__init__(self._images, self._rejections)

    def queued(self, peer: str, image: QueuedImage, began: float) -> None:
        """Log an image that was accepted."""
        if self._images.allow():
            text = RECEIVED.format(printable(image.filename))
            record("INFO", "image_queued", text, **_fields(image, began, PEER=unquote(peer)))

    def rejected(self, peer: str, reason: Exception, image: ImageIdentity) -> None:
        """Log an image that was rejected."""
        if self._rejections.allow():
            text = f"Imagem recusada: {printable(str(reason))}"
            record("WARNING", "image_rejected", text, PEER=unquote(peer), **image_fields(image))


class WorkerEventLog(RateLimitedLog):
    """Writes the worker's records, and counts."""

    def __init__(self, per_second: int) -> None:
        self.converted_total, self.conversion_seconds_total = 0, 0.0
        self.dead_letters = CounterBy()  # by the code of their reason
        self._images = RateLimiter("images_suppressed", "converted images", per_second)
        super().__init__(self._images)

    def done(self, image: QueuedImage, began: float, bucket: str, key: str) -> None:
        """Count and log an image whose result is in S3."""
        self.converted_total += 1
        self.conversion_seconds_total += time.perf_counter() - began
        if self._images.allow():
            text = f"Imagem {printable(image.filename)} processada: s3://{bucket}/{printable(key)}"
            record("INFO", "image_done", text, **_fields(image, began, KEY=printable(key)))

    def dead(self, image: QueuedImage, began: float, death: DeadLetterReason) -> None:
        """Count and log an image that was dead-lettered."""
        self.dead_letters.count(death.code)
        text = f"Imagem {printable(image.filename)} descartada: {printable(death.text)}"
        record("WARNING", "image_dead_lettered", text, **_fields(image, began, REASON=death.code))
