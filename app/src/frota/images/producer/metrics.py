"""The producer's metrics."""

from frota.images.broker.consumer import Consumer
from frota.images.broker.publisher import Publisher
from frota.images.producer.grpc_api import Servicer
from frota.images.producer.status_store import StatusStore
from frota.net.exposition import Metric, counter, gauge


def metrics(rpc: Servicer, publisher: Publisher, events: Consumer, statuses: StatusStore) -> list[Metric]:
    """Return the metrics of a producer's parts."""
    return [*_images(rpc), *_broker(publisher, events), *_statuses(statuses)]


def _images(rpc: Servicer) -> list[Metric]:
    return [
        counter(
            "frota_images_producer_images_accepted_total",
            "Images that the broker has on disk.",
            lambda: rpc.accepted_total,
        ),
        counter(
            "frota_images_producer_accepted_bytes_total",
            "Size of the accepted images.",
            lambda: rpc.accepted_bytes_total,
        ),
        counter("frota_images_producer_images_rejected_total", "Rejected images.", lambda: rpc.rejections, "reason"),
        gauge(
            "frota_images_producer_reserved_memory_bytes", "Memory reserved for images.", lambda: rpc.memory.reserved
        ),
        gauge("frota_images_producer_max_memory_bytes", "Limit of that memory.", lambda: rpc.memory.size),
        gauge(
            "frota_images_producer_waiting_requests",
            "Requests that wait for memory.",
            lambda: rpc.memory.waiting,
        ),
    ]


def _broker(publisher: Publisher, events: Consumer) -> list[Metric]:
    return [
        gauge(
            "frota_images_producer_broker_connected",
            "Whether there is a connection to the broker, for images and for status events.",
            lambda: {"images": int(publisher.connected), "events": int(events.connected)},
            "purpose",
        ),
        gauge(
            "frota_images_producer_broker_blocked",
            "Whether the broker blocks publishers (memory or disk alarm).",
            lambda: int(publisher.blocked.is_set()),
        ),
        gauge(
            "frota_images_producer_unconfirmed_messages",
            "Images that wait for the broker's confirm.",
            lambda: publisher.unconfirmed,
        ),
    ]


def _statuses(statuses: StatusStore) -> list[Metric]:
    return [
        gauge("frota_images_producer_pending_statuses", "Statuses that wait for the disk.", lambda: statuses.pending),
        gauge("frota_images_producer_watched_images", "Images that clients watch.", lambda: statuses.watched),
    ]
