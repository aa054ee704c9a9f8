"""The producer's metrics."""

import os
import signal
from pathlib import Path

import grpc
import pytest

from frota.images.messages import NATIVE_SERVICE
from frota.images.proto import images_pb2 as native
from support import TIMEOUT_S, reserved_port
from support.pipeline import Producer, picture
from support.prometheus import get, scrape

ENVIRON = {**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}


def test_metrics_of_a_producer_without_its_broker(tmp_path: Path) -> None:
    """Rejections are counted by their reason; the broker is shown as disconnected, and the process as alive."""
    with reserved_port() as port:
        producer = Producer(tmp_path, "--brokers", "127.0.0.1:1", "--metrics-port", port, env=ENVIRON)
        try:
            with grpc.insecure_channel(f"127.0.0.1:{producer.port}") as channel:
                send = channel.unary_unary(
                    f"/{NATIVE_SERVICE}/Send", native.SendRequest.SerializeToString, native.Accepted.FromString
                )
                for data, timeout in ((b"no image", TIMEOUT_S), (picture(), 2)):
                    with pytest.raises(grpc.RpcError):
                        send(native.SendRequest(id="a" * 32, filename="a.jpg", image_data=data), timeout=timeout)
            samples = scrape(port)
            assert get(port, "/healthz").content == "ok\n"
        finally:
            assert producer.stop() in (0, -signal.SIGTERM), producer.log()
    assert samples['frota_images_producer_images_rejected_total{reason="invalid"}'] == 1
    assert samples['frota_images_producer_images_rejected_total{reason="unavailable"}'] == 1
    assert samples["frota_images_producer_images_accepted_total"] == 0
    assert samples['frota_images_producer_broker_connected{purpose="images"}'] == 0
    assert samples["frota_images_producer_reserved_memory_bytes"] == 0
    assert samples["frota_images_producer_max_memory_bytes"] == 256 << 20
    assert samples["frota_images_producer_broker_blocked"] == 0
