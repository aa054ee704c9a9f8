"""PUT requests on the event loop, to a scripted S3."""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.credentials import ReadOnlyCredentials

from frota.core.threads import Threads
from frota.images.s3.bucket import S3Client, StorageError
from frota.images.s3.put import Puts
from frota.images.settings import WorkerSettings

OK, EXISTS = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 412 Precondition Failed\r\n"
EMPTY = b"Content-Length: 0\r\n\r\n"
DENIED = b"<Error><Code>InvalidAccessKeyId</Code></Error>"
REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % len(DENIED) + DENIED


@dataclass
class Request:
    """What came."""

    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """Gives one answer after another, the last one for ever; nothing for None, then closes where it says so."""

    responses: list[bytes | None]
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take requests on one connection."""
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:-2])
                body = await reader.readexactly(int(headers["content-length"]))
                self.requests.append(Request(head[0].split()[1], headers, body))
                answer = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
                if answer is None:
                    await reader.read()
                    break
                writer.write(answer)
                if b"close" in answer:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def running(*responses: bytes | None, read_timeout_s: float = 30) -> AsyncIterator[tuple[Server, S3Client]]:
    """Run a server, and what asks it."""
    server = Server(list(responses))
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
        server.port = listener.sockets[0].getsockname()[1]
        objects = S3Client(WorkerSettings(s3_endpoint=f"http://127.0.0.1:{server.port}"), 2, read_timeout_s)
        yield server, objects
        await objects.close()


@pytest.fixture(autouse=True)
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have credentials, and no others than these."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "first")


def put(objects: S3Client, key: str = "a.jpg", data: bytes = b"grey") -> Awaitable[bool]:
    """Put an object."""
    return objects.put_new("results", key, data, "image/jpeg", {"trace-id": "t"})


def test_put_is_signed_and_conditional() -> None:
    """A PUT is signed, carries its metadata, and fails if the object exists."""

    async def run() -> None:
        async with running(OK + EMPTY, EXISTS + EMPTY) as (server, objects):
            assert await put(objects, "férias 1+2.jpg")
            assert not await put(objects)
            first = server.requests[0]
            assert first.target == "/results/f%C3%A9rias%201%2B2.jpg"
            assert first.body == b"grey"
            assert first.headers["x-amz-content-sha256"] == hashlib.sha256(b"grey").hexdigest()
            assert first.headers["authorization"].startswith("aws4-hmac-sha256 credential=first/")
            assert "if-none-match;x-amz-content-sha256;x-amz-date;x-amz-meta-trace-id" in first.headers["authorization"]
            assert first.headers["if-none-match"] == "*"
            assert first.headers["content-type"] == "image/jpeg"
            assert first.headers["x-amz-meta-trace-id"] == "t"

    asyncio.run(run())


def test_large_object_does_not_block_small_ones() -> None:
    """A large object arrives complete, and small ones overtake it."""
    data = os.urandom(3 << 20)

    async def run() -> None:
        async with running(OK + EMPTY) as (server, objects):
            large = asyncio.ensure_future(put(objects, "large.png", data))
            assert await put(objects)
            assert await large
            assert {request.target: request.body for request in server.requests} == {
                "/results/large.png": data,
                "/results/a.jpg": b"grey",
            }
            assert all(
                request.headers["x-amz-content-sha256"] == hashlib.sha256(request.body).hexdigest()
                for request in server.requests
            )

    asyncio.run(run())


def test_connections_are_reused() -> None:
    """Connections are reused, and one that S3 closed is replaced."""

    async def run() -> None:
        async with running(OK + EMPTY, OK + EMPTY, OK + b"Connection: close\r\n" + EMPTY, OK + EMPTY) as (
            server,
            objects,
        ):
            for number in range(5):
                assert await put(objects, f"{number}.jpg")
            assert server.connections == 2
            assert len(server.requests) == 5

    asyncio.run(run())


def test_silent_s3_is_a_temporary_failure() -> None:
    """An S3 that never responds is a temporary failure."""

    async def run() -> None:
        async with running(None, read_timeout_s=0.2) as (_, objects):
            with pytest.raises(StorageError, match="TimeoutError") as error:
                await put(objects)
            assert not error.value.permanent

    asyncio.run(run())


def test_server_error_is_temporary() -> None:
    """A 5xx response is a temporary failure with S3's code."""
    slow = b"<Error><Code>SlowDown</Code></Error>"

    async def run() -> None:
        answer = b"HTTP/1.1 503 Slow Down\r\nContent-Length: %d\r\n\r\n" % len(slow) + slow
        async with running(answer) as (_, objects):
            with pytest.raises(StorageError, match=r"503.*SlowDown") as error:
                await put(objects)
            assert not error.value.permanent

    asyncio.run(run())


def test_rejection_reloads_credentials() -> None:
    """A 403 response makes the next request load the credentials again."""
    names = iter(("first", "second"))

    def find() -> S3SigV4Auth:
        return S3SigV4Auth(ReadOnlyCredentials(next(names), "y", None), "s3", "us-east-1")

    async def run() -> list[tuple[int, str]]:
        async with running(REFUSED, OK + EMPTY) as (server, _):
            threads = Threads(1, "find")
            puts, statuses = Puts(1, find, threads), list[tuple[int, str]]()
            for _ in range(3):
                answer = await puts.put(f"http://127.0.0.1:{server.port}/a", b"grey", {})
                credential = re.search("credential=([a-z]+)/", server.requests[-1].headers["authorization"])
                assert credential
                statuses.append((answer.status, credential[1]))
            await puts.close()
            threads.close()
            return statuses

    assert asyncio.run(run()) == [(403, "first"), (200, "second"), (200, "second")]
