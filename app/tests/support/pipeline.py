"""Support of the tests of the image pipeline: broker, S3, producer and workers, each a process of its own."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import grpc
import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel
from PIL import Image

from frota.images.messages import DEAD, EVENTS, LEGACY_SERVICE, NATIVE_SERVICE, QUEUE
from frota.images.proto import cloudimg_pb2 as legacy
from frota.images.proto import images_pb2 as native
from support import TIMEOUT_S, Server, start_frota, until

ROOT = Path(__file__).parents[3]
RESULTS, UPLOADS = "results", "uploads"
_EMBEDDED_AWS = ROOT / "roles" / "embedded_aws" / "files" / "embedded_aws" / "src"
_EVENTS_QUEUE = "images.events"


def free_port() -> int:
    """Return a port on which nobody listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A process that is ready when its port accepts connections, with its output in a file."""

    port: int
    ending = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        self.log_path = folder / f"{type(self).__name__.lower()}.log"

    def command(self) -> list[str]:
        """Return what to run."""
        raise NotImplementedError

    def environ(self) -> dict[str, str]:
        """Return its environment."""
        return dict(os.environ)

    def start(self) -> None:
        """Start (again), and wait until it is ready."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=self.environ())
        deadline = time.monotonic() + 180
        while not self.ready():
            assert self.process.poll() is None, f"the process ended:\n{self.log_path.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"the process is not ready:\n{self.log_path.read_text()[-2000:]}"
            time.sleep(0.05)  # nobody notifies of a listening port

    def ready(self) -> bool:
        """Return whether its port accepts connections."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()
        self.process.wait(TIMEOUT_S)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.send_signal(self.ending)
        try:
            self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()


class Broker(Process):
    """RabbitMQ in a root directory below `folder`, which is created if there is none."""

    ending = signal.SIGKILL  # unshare(1), its parent process, ignores SIGTERM

    def __init__(self, folder: Path, state: Path) -> None:
        super().__init__(state)
        self._folder, self._tool = folder, ROOT / "tools" / "broker"
        # This port, and those that tools/broker uses 10000 and 20000 above it, are below Linux's ephemeral ports, which
        # begin at 32768: otherwise a client could be assigned one of them while the broker is down.
        self.port = 10_000 + free_port() % 2_700
        self._state = state / "broker"

    def __enter__(self) -> Self:
        subprocess.run([self._tool, "build", self._folder], check=True)
        self.start()
        return self

    def command(self) -> list[str]:
        """Run it in the foreground."""
        return [str(self._tool), "run", str(self._folder), str(self.port), str(self._state)]

    def ready(self) -> bool:
        """Return whether it accepts a client."""
        try:
            self.channel().connection.close()
        except (pika.exceptions.AMQPError, OSError):
            return False
        return True

    def kill(self) -> None:
        """Kill it with SIGKILL, once its queues' registrations are on disk.

        Ra, RabbitMQ's Raft library, writes the registration of a new queue half a second after the declaration is
        confirmed. Killed before that, the broker cannot serve the queue again.
        """
        folder = self._state / "mnesia" / "frota@localhost" / "quorum" / "frota@localhost"

        def is_registered() -> bool:
            names = (folder / "names.dets").read_bytes()
            return all(path.name.encode() in names for path in folder.iterdir() if path.is_dir())

        until(is_registered, "the broker's queues are registered on disk")
        super().kill()

    def channel(self) -> BlockingChannel:
        """Open a connection with a channel."""
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.port, heartbeat=0)).channel()

    def empty(self) -> None:
        """Start it if it is stopped, and delete all queues of the pipeline."""
        if self.process.poll() is not None:
            self.start()
        channel = self.channel()
        for queue in (QUEUE, DEAD, _EVENTS_QUEUE):
            channel.queue_delete(queue)
        for exchange in (DEAD, EVENTS):
            channel.exchange_delete(exchange)
        channel.connection.close()

    def count(self, queue: str) -> int:
        """Return how many messages are ready in a queue."""
        channel = self.channel()
        count = channel.queue_declare(queue, passive=True).method.message_count
        channel.connection.close()
        return int(count)

    def take(self, queue: str) -> list[tuple[pika.BasicProperties, bytes]]:
        """Take all messages out of a queue."""
        channel = self.channel()
        messages: list[tuple[pika.BasicProperties, bytes]] = []
        while True:
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            if method is None:
                channel.connection.close()
                return messages
            messages.append((properties, body))

    def run_ctl(self, *words: str) -> str:
        """Run rabbitmqctl and return its output."""
        done = subprocess.run(
            [self._tool, "ctl", self._folder, str(self.port), self._state, *words], check=True, capture_output=True
        )
        return done.stdout.decode()


class S3(Process):
    """The embedded AWS, with its state on disk, so that it survives a kill."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder, self.port = folder, free_port()

    def __enter__(self) -> Self:
        self.start()
        import boto3

        self.client: Any = boto3.session.Session("x", "x").client("s3", endpoint_url=self.url, region_name="us-east-1")
        for bucket in (RESULTS, UPLOADS):
            self.client.create_bucket(Bucket=bucket)
        return self

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Run its server."""
        words = ["--port", str(self.port), "--state-dir", str(self._folder / "aws")]
        return [sys.executable, "-c", "from embedded_aws.server import main; main()", *words]

    def environ(self) -> dict[str, str]:
        """Add its source to the module path."""
        return {**os.environ, "PYTHONPATH": str(_EMBEDDED_AWS)}

    def empty(self) -> None:
        """Start it if it is stopped, and delete all objects."""
        if self.process.poll() is not None:
            self.start()
        for bucket in (RESULTS, UPLOADS):
            if names := self.names(bucket):  # at most the thousand of one request
                self.client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": name} for name in names]})

    def names(self, bucket: str = RESULTS) -> list[str]:
        """Return the keys of a bucket."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def metadata(self, key: str) -> dict[str, str]:
        """Return the metadata of a result."""
        metadata: dict[str, str] = self.client.head_object(Bucket=RESULTS, Key=key)["Metadata"]
        return metadata

    def body(self, key: str) -> bytes:
        """Return the bytes of a result."""
        return bytes(self.client.get_object(Bucket=RESULTS, Key=key)["Body"].read())


class Producer(Server):
    """`frota images serve` in a process of its own, its log in a file."""

    system = "images"


class Worker:
    """`frota images work` in a process of its own, its log in a file."""

    def __init__(self, folder: Path, *flags: object, **options: Any) -> None:
        self.log_path, self.flags, self.options = folder / "worker.log", flags, options
        self.start()

    def start(self) -> None:
        """Start (again)."""
        with self.log_path.open("ab") as log:
            self.process = start_frota("images", "work", *self.flags, stderr=log, **self.options)

    def log(self) -> str:
        """Return what it has logged."""
        return self.log_path.read_text(encoding="utf-8")

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()
        self.process.wait(TIMEOUT_S)

    def stop(self) -> int:
        """Stop it as systemd does; return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(TIMEOUT_S)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the log matches a pattern, and return the match."""
        match: re.Match[str] = until(
            lambda: re.search(pattern, self.log()), lambda: f"no {pattern!r} in:\n{self.log()}"
        )
        return match


class Pipeline:
    """A producer, workers, and a client."""

    def __init__(self, broker: Broker, s3: S3, folder: Path) -> None:
        self.broker, self.s3, self.folder = broker, s3, folder
        self.environ = {**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
        self.common = ["--brokers", f"127.0.0.1:{broker.port}", "--s3-endpoint", s3.url, "--uploads-bucket", UPLOADS]
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for worker in self.workers:
            assert worker.stop() in (0, -signal.SIGKILL), worker.log()
        if hasattr(self, "producer"):
            self.channel.close()
            assert self.producer.stop() in (0, -signal.SIGKILL), self.producer.log()

    def serve(self, *flags: object, waits: bool = True, **options: Any) -> Producer:
        """Start the producer; with `waits`, wait until it is connected to its broker."""
        self.producer = Producer(self.folder, *self.common, *flags, env=self.environ, **options)
        if waits:
            self.producer.wait_for("for publishing")
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.producer.port}", options=[("grpc.max_send_message_length", -1)]
        )
        return self.producer

    def work(self, *flags: object) -> Worker:
        """Start a worker."""
        folder = self.folder / f"worker-{len(self.workers)}"
        folder.mkdir()
        places = ["--bucket", RESULTS, "--state-dir", folder / "state", "--metrics-port", 0]
        worker = Worker(folder, *self.common, *places, *flags, env=self.environ)
        self.workers.append(worker)
        return worker

    def send_legacy(self, name: str, data: bytes) -> legacy.ImageResponse:
        """Send an image as a legacy client."""
        call = self.channel.unary_unary(
            f"/{LEGACY_SERVICE}/SendImage",
            legacy.ImageRequest.SerializeToString,
            legacy.ImageResponse.FromString,
        )
        return call(legacy.ImageRequest(filename=name, image_data=data), timeout=TIMEOUT_S)

    def send(self, name: str, data: bytes, image: str = "", timeout: float = TIMEOUT_S, **metadata: str) -> str:
        """Send an image as a native client; return its id. Raises grpc.RpcError."""
        call = self.channel.unary_unary(
            f"/{NATIVE_SERVICE}/Send", native.SendRequest.SerializeToString, native.Accepted.FromString
        )
        request = native.SendRequest(id=image or uuid4().hex, filename=name, image_data=data)
        return str(call(request, timeout=timeout, metadata=tuple(metadata.items())).id)

    def upload(
        self, name: str, data: bytes, announced: int | None = None, image: str = "", timeout: float = TIMEOUT_S
    ) -> str:
        """Upload an image in parts; return its id. Raises grpc.RpcError."""
        call = self.channel.stream_unary(
            f"/{NATIVE_SERVICE}/Upload", native.UploadPart.SerializeToString, native.Accepted.FromString
        )
        size = len(data) if announced is None else announced
        header = native.UploadPart(header=native.UploadHeader(id=image or uuid4().hex, filename=name, size=size))
        parts = (native.UploadPart(data=data[at : at + 2**20]) for at in range(0, len(data), 2**20))
        return str(call(iter([header, *parts]), timeout=timeout).id)

    def status(self, image: str) -> native.Status:
        """Return the status of an image."""
        call = self.channel.unary_unary(
            f"/{NATIVE_SERVICE}/GetStatus", native.StatusRequest.SerializeToString, native.StatusReply.FromString
        )
        return call(native.StatusRequest(ids=[image]), timeout=TIMEOUT_S).statuses[0]

    def final_statuses(self, *images: str) -> dict[str, native.Status]:
        """Wait until each image is done or dead, and return the status of each by id."""
        call = self.channel.unary_stream(
            f"/{NATIVE_SERVICE}/Watch", native.StatusRequest.SerializeToString, native.Status.FromString
        )
        return {status.id: status for status in call(native.StatusRequest(ids=images), timeout=TIMEOUT_S)}


def digest(data: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return sha256(data).hexdigest()


def picture(colour: int = 0, size: tuple[int, int] = (64, 48), kind: str = "JPEG") -> bytes:
    """Return an image, with different bytes for each colour."""
    file = io.BytesIO()
    options = {"comment": str(colour)} if kind == "JPEG" else {}  # similar colours may have equal bytes as JPEG
    Image.new("RGB", size, (colour % 256, colour // 256 % 256, 99)).save(file, kind, **options)
    return file.getvalue()
