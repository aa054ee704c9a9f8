"""A legacy client in clear text: legacy_client.py HOST:PORT FILE NAME prints the response."""

import sys
from pathlib import Path

import grpc

from frota.images.proto import cloudimg_pb2


def main(address: str, file: str, name: str) -> None:
    """Send a file under any name."""
    with grpc.insecure_channel(address) as channel:
        send = channel.unary_unary(
            "/cloudimg.ImageService/SendImage",
            request_serializer=cloudimg_pb2.ImageRequest.SerializeToString,
            response_deserializer=cloudimg_pb2.ImageResponse.FromString,
        )
        try:
            reply = send(cloudimg_pb2.ImageRequest(filename=name, image_data=Path(file).read_bytes()), timeout=10)
        except grpc.RpcError as error:
            print(error.code().name)
        else:
            print("✔" if reply.success else "✘", reply.message)


if __name__ == "__main__":
    main(*sys.argv[1:])
