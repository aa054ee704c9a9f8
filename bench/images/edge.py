"""The upper limit for a producer with gRPC: `python -m bench.images.edge PORT BROKER_PORT`.

The server of gRPC, the SHA-256 of the image, which the messages contain, and the publisher of frota. It does not check
the image, and writes no status and no log.
"""

import asyncio
import hashlib
import signal
import sys

import grpc
import grpc.aio
import pika  # type: ignore[import-untyped]
import uvloop

from frota.images import messages, settings
from frota.images.broker import topology
from frota.images.broker.publisher import Publisher
from frota.images.proto import images_pb2 as native
from frota.images.settings import BrokerConfig
from frota.logs import log


async def main(port: int, broker_port: int) -> None:
    """Serve until SIGTERM."""
    publisher = Publisher(BrokerConfig(brokers=(("127.0.0.1", broker_port),)), topology.declare)
    connecting = asyncio.create_task(publisher.run())
    await publisher.session()

    async def send(request: native.SendRequest, _context: object) -> native.Accepted:
        headers = {"sha256": hashlib.sha256(request.image_data).hexdigest()}
        properties = pika.BasicProperties(message_id=request.id, delivery_mode=2, headers=headers)
        await publisher.publish("", messages.QUEUE, request.image_data, properties)
        return native.Accepted(id=request.id, trace_id=request.id)

    method = grpc.unary_unary_rpc_method_handler(send, native.SendRequest.FromString, native.Accepted.SerializeToString)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(messages.NATIVE_SERVICE, {"Send": method})])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    await server.stop(0)
    connecting.cancel()
    await asyncio.wait([connecting])


if __name__ == "__main__":
    log.configure(settings.SYSTEM, messages.QUEUE, "WARNING")
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
