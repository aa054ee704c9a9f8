"""The worker's metrics."""

from collections.abc import Callable, Sized

from frota.images.broker.consumer import Consumer
from frota.images.broker.publisher import Publisher
from frota.images.event_log import WorkerEventLog
from frota.images.worker.s3_retry import S3Retry
from frota.images.worker.status_publisher import StatusPublisher
from frota.net.exposition import Metric, counter, gauge


def metrics(
    event_log: WorkerEventLog,
    s3_retry: S3Retry,
    status_publisher: StatusPublisher,
    publisher: Publisher,
    consumer: Consumer,
) -> list[Metric]:
    """Return the metrics of a worker's parts."""
    return [*_images(event_log), *_s3(s3_retry), *_broker(publisher, consumer, status_publisher)]


def in_flight(images: Callable[[], int], requeued: Callable[[], int], converters: Callable[[], Sized]) -> list[Metric]:
    """Return the metrics of what a worker has at the moment, and of what it has returned."""
    return [
        gauge("frota_images_worker_images_in_flight", "Images that are not acknowledged yet.", images),
        counter("frota_images_worker_images_requeued_total", "Images returned to the queue.", requeued),
        gauge("frota_images_worker_converters", "Converter processes.", lambda: len(converters())),
    ]


def _images(event_log: WorkerEventLog) -> list[Metric]:
    return [
        counter(
            "frota_images_worker_images_converted_total",
            "Images whose result is in S3.",
            lambda: event_log.converted_total,
        ),
        counter(
            "frota_images_worker_image_seconds_total",
            "Time from the delivery of these images to their result in S3.",
            lambda: event_log.conversion_seconds_total,
        ),
        counter(
            "frota_images_worker_images_dead_lettered_total",
            "Images that cannot be converted.",
            lambda: event_log.dead_letters,
            "reason",
        ),
    ]


def _s3(s3_retry: S3Retry) -> list[Metric]:
    return [
        gauge(
            "frota_images_worker_storage_available",
            "Whether the last request to S3 succeeded.",
            lambda: int(s3_retry.available),
        ),
        counter(
            "frota_images_worker_storage_failures_total",
            "Requests to S3 that failed, and are retried.",
            lambda: s3_retry.failures_total,
        ),
    ]


def _broker(publisher: Publisher, consumer: Consumer, status_publisher: StatusPublisher) -> list[Metric]:
    return [
        gauge(
            "frota_images_worker_broker_connected",
            "Whether there is a connection to the broker, for images and for status events.",
            lambda: {"images": int(consumer.connected), "events": int(publisher.connected)},
            "purpose",
        ),
        gauge(
            "frota_images_worker_broker_blocked",
            "Whether the broker blocks publishers (memory or disk alarm).",
            lambda: int(publisher.blocked.is_set()),
        ),
        gauge(
            "frota_images_worker_pending_events",
            "Status events that wait for the broker, those of the outbox included.",
            lambda: status_publisher.pending,
        ),
    ]
