"""The producer: accepts images over gRPC, and stores their statuses."""

import asyncio
import os
import time
from collections.abc import Callable

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # clients could fill the log; read when grpc is imported

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from frota.core import commands, systemd
from frota.core.errors import MalformedMessage
from frota.core.settings import SettingsError
from frota.core.tasks import EssentialTasks
from frota.images import messages, settings
from frota.images.broker import topology
from frota.images.broker.consumer import Consumer, Delivery
from frota.images.broker.publisher import Publisher
from frota.images.broker.session import Session
from frota.images.event_log import ProducerEventLog, image_fields
from frota.images.messages import QueuedImage, StatusEvent, dead_letter_reason
from frota.images.producer.grpc_api import Servicer
from frota.images.producer.metrics import metrics
from frota.images.producer.status_store import State, Status, StatusStore
from frota.images.producer.submission import SubmissionHandler
from frota.images.s3.bucket import S3Client
from frota.images.settings import ProducerSettings
from frota.logs import log
from frota.net import tls
from frota.net.http import MonitoringServer
from frota.storage import state_folder

_GRACE_S = 3.0  # for requests in flight when the producer stops
_SAVE_RETRY_S = 5.0  # between two attempts to save a status
_EVENT_PREFETCH = 500  # status events written with one fsync
_NO_EVENTS = "; no connection yet for status events, so statuses are stale"
_STATES = {"working": State.WORKING, "done": State.DONE, "queued": State.QUEUED, "dead": State.DEAD}
_OPTIONS = [
    ("grpc.so_reuseport", 0),  # a second producer on the same port is an error
    (
        "grpc.max_receive_message_length",
        2 * settings.ProducerSettings.max_bytes,
    ),  # larger images get an answer that names the limit
    ("grpc.max_concurrent_streams", 100),  # of one connection
    ("grpc.experimental.tcp_min_read_chunk_size", 64 * 1024),  # reads of 8 KiB took a tenth of an image's CPU
    ("grpc.experimental.tcp_read_chunk_size", 64 * 1024),
    ("grpc.http2.bdp_probe", 0),  # flow control windows stay small: unread data stay with the client
    ("grpc.keepalive_time_ms", 60_000),  # detects half-open connections
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
]


class Producer:
    """The service behind `frota images serve`; `reread` returns the settings anew, `end` stops the process."""

    def __init__(
        self, config: ProducerSettings, reread: Callable[[], ProducerSettings], end: Callable[[int], None]
    ) -> None:
        self.settings, self._reread, self._end = config, reread, end
        self._event_log = ProducerEventLog(config.log_requests_per_second)
        self._listening, self._events_connected = "", False
        self._tasks = EssentialTasks(end)

    async def start(self) -> str:
        """Open the status store, then listen; the broker may come later."""
        config = self.settings
        self._lock = state_folder.lock(config.directory)
        self._statuses = StatusStore(config.directory, config.max_statuses)
        await self._statuses.open()
        objects = S3Client(config, threads=4)
        self._objects = objects
        self._publisher = Publisher(config, self._declare, config.memory_limit_bytes)
        self._events = Consumer(config, config.events_queue, _EVENT_PREFETCH, self._on_event, self._declare)
        self._submissions = SubmissionHandler(config, self._publisher, self._statuses, objects)
        self._rpc = Servicer(self._submissions, self._statuses, objects.url, self._event_log)
        self._saving: set[asyncio.Task[None]] = set()
        addresses = await self._listen(config)
        own = metrics(self._rpc, self._publisher, self._events, self._statuses)
        self._monitoring = MonitoringServer(own, self.healthy)
        await self._monitoring.start(config.metrics_host, config.metrics_port)
        self._tasks.start(self._publisher.run(), self._events.run(), self._sweep())
        self._listening = f"listening on {', '.join(addresses)}"
        for address in addresses:
            log.record("INFO", "starting", f"Servidor gRPC iniciado em {address}", ADDRESS=address)
        return self._listening + _NO_EVENTS

    async def stop(self) -> None:
        """Stop accepting, answer the requests in flight, close."""
        await self._health.enter_graceful_shutdown()
        await self._monitoring.stop()
        self._rpc.stop()
        await self._server.stop(_GRACE_S)
        for task in self._saving:
            task.cancel()  # an unsaved event is not acknowledged, so the broker redelivers it
        await asyncio.gather(self._tasks.cancel(), *self._saving, return_exceptions=True)
        await self._submissions.close()
        await self._objects.close()
        await self._statuses.close()
        self._event_log.report()
        log.record("INFO", "stopped", "stopped; every accepted image is on the broker's disk")

    def healthy(self) -> bool:
        """Tell whether the event loop and its essential tasks are alive."""
        return self._tasks.alive()

    def reload(self) -> None:
        """Read the settings again and take those that may change live."""
        self.settings = commands.take_live(self.settings, self._reread(), settings.PREFIX)
        self._submissions.settings = self.settings
        self._event_log.configure(self.settings.log_requests_per_second)
        log.configure(settings.SYSTEM, settings.PRODUCER_UNIT, self.settings.log_level)

    async def _listen(self, config: ProducerSettings) -> list[str]:
        """Start the gRPC server; return its addresses. Raises OSError, SettingsError."""
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers(self._rpc.handlers())
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        secure = _credentials(config)
        addresses = [_bind(self._server, config.host, config.port, secure)]
        if config.clear_port:
            addresses.append(_bind(self._server, config.host, config.clear_port, None))
        await self._set_health()
        await self._server.start()
        return addresses

    async def _declare(self, session: Session) -> None:
        if self.settings.declare:
            await topology.declare(session, self.settings.events_queue)

    async def _sweep(self) -> None:
        while True:
            self._event_log.sweep()
            await self._set_health()
            await asyncio.sleep(1)

    async def _set_health(self) -> None:
        """Set the health of accepting images, and of receiving their status events.

        Both are independent: a missing event queue makes statuses stale, but must not stop images. So statuses have a
        health service of their own, which systemd's status shows, too.
        """
        accepts, events_connected = (
            self._publisher.connected and not self._publisher.blocked.is_set(),
            self._events.connected,
        )
        health_of = dict.fromkeys(("", messages.NATIVE_SERVICE, messages.LEGACY_SERVICE), accepts)
        for service, serving in (health_of | {messages.STATUSES_HEALTH: events_connected}).items():
            await self._health.set(service, HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING)
        if events_connected is not self._events_connected:
            self._events_connected = events_connected
            systemd.notify(f"STATUS={self._listening}" + ("" if events_connected else _NO_EVENTS))

    def _on_event(self, delivery: Delivery) -> None:
        """Save a status in a task; the event is acknowledged when it is on disk."""
        task = asyncio.get_running_loop().create_task(self._save(delivery))
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)

    async def _save(self, delivery: Delivery) -> None:
        try:
            status = (
                _status_of_dead_letter(delivery) if delivery.exchange == messages.DEAD else _status_of_event(delivery)
            )
        except MalformedMessage as error:
            log.record("WARNING", "event_malformed", f"a malformed status event is dropped: {error}")
            delivery.ack()
            return
        while True:
            try:
                await self._statuses.save(status, retried=status.state is State.QUEUED)
                break
            except OSError as error:
                text = f"cannot save the status of image {status.id}, retrying: {error}"
                log.record("ERROR", "status_write_failed", text, **image_fields(status))
                await asyncio.sleep(_SAVE_RETRY_S)  # no event announces free disk space
        delivery.ack()


def _status_of_event(delivery: Delivery) -> Status:
    event = StatusEvent.read(delivery.body)
    return Status(
        event.id,
        _STATES[event.state],
        time.time(),
        event.filename,
        event.trace,
        event.sha256,
        event.worker,
        event.bucket,
        event.key,
        event.reason,
    )


def _status_of_dead_letter(delivery: Delivery) -> Status:
    headers = delivery.properties.headers
    image, death = QueuedImage.read(delivery.properties.message_id, headers), dead_letter_reason(headers)
    return Status(image.id, State.DEAD, time.time(), image.filename, image.trace, image.sha256, reason=death.text)


def _credentials(config: ProducerSettings) -> "grpc.ServerCredentials | None":
    """Return TLS credentials, None for clear text. Raises SettingsError, OSError."""
    security = tls.choose(config.security, config.cert_file, config.host, settings.PREFIX)
    if security == tls.CLEAR:
        log.record("WARNING", "clear_text_served", "no certificate: every client is served, in clear text")
        return None
    if not (config.cert_file and config.ca_file and config.secret_key_file):
        raise SettingsError(f"{settings.PREFIX}SECURITY={security!r}: needs a certificate, its key and a CA")
    pair = config.secret_key_file.read_bytes(), config.cert_file.read_bytes()
    return grpc.ssl_server_credentials([pair], config.ca_file.read_bytes(), require_client_auth=security == "mtls")


def _bind(server: grpc.aio.Server, host: str, port: int, secure: "grpc.ServerCredentials | None") -> str:
    name = f"[{host}]" if ":" in host else host
    try:
        bound = (
            server.add_secure_port(f"{name}:{port}", secure) if secure else server.add_insecure_port(f"{name}:{port}")
        )
    except RuntimeError:
        raise OSError(
            f"cannot listen on {name}:{port}: the port is in use, or the address is not this host's"
        ) from None
    return f"{name}:{bound}"
