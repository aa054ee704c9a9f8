"""Authentication, health checks, and the end of a producer."""

import socket
import subprocess
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from grpc_health.v1 import health_pb2

from frota.images.messages import QUEUE, STATUSES_HEALTH
from frota.images.proto import images_pb2 as native
from support import TIMEOUT_S, until
from support.pipeline import Pipeline, free_port, picture


class Authority:
    """A certificate authority with a certificate for a server on loopback, and one for a client."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=test",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        )
        for name in ("server", "client"):
            subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
            self._openssl(
                "req",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                *subject,
                "-keyout",
                f"{name}.key",
                "-out",
                f"{name}.csr",
            )
            signer = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-copy_extensions", "copy"]
            self._openssl("x509", "-req", "-in", f"{name}.csr", *signer, "-out", f"{name}.crt")

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def flags(self) -> list[object]:
        """Return the options of a producer with TLS; the broker has no certificate here."""
        return [
            "--cert-file",
            self.folder / "server.crt",
            "--key-file",
            self.folder / "server.key",
            "--ca-file",
            self.folder / "ca.crt",
        ]


def test_client_needs_a_certificate_of_the_fleet(pipeline: Pipeline, tmp_path: Path) -> None:
    """Only a client with a certificate of the fleet's authority is accepted."""
    authority, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    producer = pipeline.serve(*authority.flags(), "--brokers", f"127.0.0.1:{pipeline.broker.port}", waits=False)
    address, outcomes = f"127.0.0.1:{producer.port}", list[object]()
    pair = {"private_key": authority.read("client.key"), "certificate_chain": authority.read("client.crt")}
    for credentials in (
        grpc.ssl_channel_credentials(authority.read("ca.crt"), **pair),
        grpc.ssl_channel_credentials(authority.read("ca.crt")),
        grpc.ssl_channel_credentials(authority.read("ca.crt"), others.read("client.key"), others.read("client.crt")),
        None,
    ):
        channel = grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
        with channel:
            call = channel.unary_unary(
                "/frota.images.Images/GetStatus", native.StatusRequest.SerializeToString, native.StatusReply.FromString
            )
            try:
                outcomes.append(call(native.StatusRequest(ids=[uuid4().hex]), timeout=TIMEOUT_S).statuses[0].state)
            except grpc.RpcError as error:
                outcomes.append(error.code())
    assert outcomes == [native.UNKNOWN, *[grpc.StatusCode.UNAVAILABLE] * 3]


def serving(pipeline: Pipeline, service: str = "") -> bool:
    """Return whether the health check of a service succeeds."""
    check = pipeline.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    answer = check(health_pb2.HealthCheckRequest(service=service))
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_health_follows_the_broker(pipeline: Pipeline) -> None:
    """The health check succeeds exactly while images are accepted."""
    pipeline.serve()
    until(lambda: serving(pipeline), "the producer is healthy")
    assert pipeline.send("before.jpg", picture(1))
    pipeline.broker.kill()
    until(lambda: not serving(pipeline), "the producer is unhealthy")
    with pytest.raises(grpc.RpcError, match="fila indisponível"):
        pipeline.send("during.jpg", picture(2))
    pipeline.broker.start()
    until(lambda: serving(pipeline), "the producer is healthy again")
    assert pipeline.send("after.jpg", picture(3))


def test_missing_events_queue_makes_statuses_stale(pipeline: Pipeline, tmp_path: Path) -> None:
    """Without its queue of events, a producer accepts images and reports stale statuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(TIMEOUT_S)
        pipeline.environ["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        channel = pipeline.broker.channel()
        channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        pipeline.serve("--declare", "no")
        until(lambda: serving(pipeline), "the producer is healthy")
        assert not serving(pipeline, STATUSES_HEALTH)
        assert pipeline.send("a.jpg", picture())
        channel.queue_declare("images.events", durable=True, arguments={"x-queue-type": "quorum"})
        until(lambda: serving(pipeline, STATUSES_HEALTH), "its statuses are current")
        messages = [manager.recv(1000).decode()]
        while "STATUS=" not in messages[-1] or "statuses are stale" in messages[-1]:
            messages.append(manager.recv(1000).decode())
        assert any("statuses are stale" in message for message in messages)


def test_stop_ends_status_streams(pipeline: Pipeline) -> None:
    """A stopping producer ends streams of statuses with an error, and does not wait for them."""
    producer = pipeline.serve()
    image = pipeline.send("a.jpg", picture())
    call = pipeline.channel.unary_stream(
        "/frota.images.Images/Watch", native.StatusRequest.SerializeToString, native.Status.FromString
    )
    watching = call(native.StatusRequest(ids=[image]), timeout=10 * TIMEOUT_S)
    assert next(watching).state == native.QUEUED
    assert producer.stop() == 0  # within TIMEOUT_S
    with pytest.raises(grpc.RpcError, match="servidor encerrando"):
        next(watching)


def test_clear_port_for_legacy_clients(pipeline: Pipeline, tmp_path: Path) -> None:
    """A clear-text port for legacy clients is served beside the port with TLS."""
    clear = free_port()
    pipeline.serve(*Authority(tmp_path / "ours").flags(), "--clear-port", clear, waits=False)
    with grpc.insecure_channel(f"127.0.0.1:{clear}") as channel:
        call = channel.unary_unary(
            "/frota.images.Images/GetStatus", native.StatusRequest.SerializeToString, native.StatusReply.FromString
        )
        assert call(native.StatusRequest(ids=[uuid4().hex]), timeout=TIMEOUT_S).statuses[0].state == native.UNKNOWN


def test_oversized_message_is_rejected(pipeline: Pipeline) -> None:
    """A message above the size limit is rejected, and the next is accepted."""
    pipeline.serve()
    with pytest.raises(grpc.RpcError) as error:
        pipeline.send("a.jpg", bytes(40 * 2**20))
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert pipeline.send("a.jpg", picture())
    assert pipeline.broker.count(QUEUE) == 1
