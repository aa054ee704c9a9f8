"""S3 objects in the embedded AWS, through boto3: durability, conditional puts, memory."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

SOURCE = Path(__file__).parents[1] / "src"
# Servers are forks of a process that has imported moto, which takes more CPU time than the rest of a start.
FORKS = multiprocessing.get_context("forkserver")
RUN = """
import os, sys
os.dup2(output.fileno(), 1)
os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), 2)
sys.argv[1:] = words
from embedded_aws.server import main
main()
"""
MEGABYTE = bytes(range(256)) * 4096
_NUMBERS = count()
pytestmark = pytest.mark.xdist_group("s3")  # all tests share one server


class Server:
    """The server process and its client; each test uses its own bucket."""

    bucket = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.start()
        self.s3: Any = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"max_attempts": 0}, read_timeout=20, max_pool_connections=20),
        )

    def use(self, bucket: str) -> None:
        """Create a bucket, and use it from now on."""
        self.bucket = bucket
        self.s3.create_bucket(Bucket=bucket)

    def body(self, megabytes: int = 1) -> bytes:
        """Return content that is unique to this test, because equal bodies are stored once."""
        return f"{self.bucket}:".encode() + MEGABYTE * megabytes

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        (log := self.folder / "log").touch()
        words = ["--port", str(self.port), "--state-dir", str(self.folder)]
        reader, writer = FORKS.Pipe(duplex=False)
        with writer:
            self._process = FORKS.Process(target=exec, args=[RUN, {"output": writer, "log": log, "words": words}])
            self._process.start()
        with reader, open(reader.fileno(), closefd=False) as output:
            assert "listening on" in output.readline(), log.read_text()

    def stop(self, how: signal.Signals) -> int | None:
        """Stop the server with a signal; return the exit status."""
        assert self._process.pid
        os.kill(self._process.pid, how)
        self._process.join(20)
        return self._process.exitcode

    def restart_after_sigkill(self) -> None:
        """Kill the server and start it again. Every replayed request has to have the same status as before."""
        self.stop(signal.SIGKILL)
        self.start()
        assert "in the replay" not in (self.folder / "log").read_text()

    def memory(self) -> int:
        """Return the server's resident memory in MiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) // 1024

    def objects(self) -> dict[str, Any]:
        """Return content, ETag, type and metadata of each object."""
        keys = [item["Key"] for item in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])]
        objects = {key: self.s3.get_object(Bucket=self.bucket, Key=key) for key in keys}
        return {
            key: (item["Body"].read(), item["ETag"], item["ContentType"], item["Metadata"])
            for key, item in objects.items()
        }

    def bodies(self) -> set[bytes]:
        """Return the bodies of this test that are stored as files."""
        own = f"{self.bucket}:".encode()
        return {body for path in (self.folder / "bodies").iterdir() if (body := path.read_bytes()).startswith(own)}

    def send(self, key: str, length: int, data: bytes) -> socket.socket:
        """Send the head and the first bytes of an unsigned put; return the connection."""
        connection = socket.create_connection(("127.0.0.1", self.port), 20)
        scope = "Credential=x/20260131/us-east-1/s3/aws4_request"
        head = f"PUT /{self.bucket}/{key} HTTP/1.1\r\nHost: x\r\nAuthorization: AWS4-HMAC-SHA256 {scope}\r\n"
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + data)
        return connection


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield the server of this module; every start replays all requests before."""
    FORKS.set_forkserver_preload(["embedded_aws.server", "moto.s3.urls"])
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(SOURCE))
        server = Server(tmp_path_factory.mktemp("aws"))
    yield server
    with suppress(ProcessLookupError):
        server.stop(signal.SIGKILL)


@pytest.fixture
def server(shared: Server) -> Server:
    shared.use(f"results-{next(_NUMBERS)}")
    return shared


def error_code(server: Server, call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(Bucket=server.bucket, **arguments)
    return str(raised.value.response["Error"]["Code"])


def test_objects_survive_sigkill(server: Server) -> None:
    """Content, type and metadata of every acknowledged object survive SIGKILL."""
    metadata = {"image-id": "0f" * 16, "source-filename": "fa%C3%A7ade.jpg"}
    server.s3.put_object(Bucket=server.bucket, Key="small.png", Body=b"x", ContentType="image/png", Metadata=metadata)
    server.s3.put_object(
        Bucket=server.bucket, Key="large é.jpg", Body=MEGABYTE, ContentType="image/jpeg", IfNoneMatch="*"
    )
    upload = {"Bucket": server.bucket, "Key": "parts"}
    upload["UploadId"] = server.s3.create_multipart_upload(**upload)["UploadId"]
    parts = [
        {"PartNumber": number, "ETag": server.s3.upload_part(**upload, PartNumber=number, Body=body)["ETag"]}
        for number, body in enumerate((MEGABYTE * 5, MEGABYTE), 1)
    ]
    server.restart_after_sigkill()  # between the parts and their end
    server.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    before = server.objects()
    assert {key: item[0] for key, item in before.items()} == {
        "small.png": b"x",
        "large é.jpg": MEGABYTE,
        "parts": MEGABYTE * 6,
    }
    assert before["small.png"][2:] == ("image/png", metadata)
    server.restart_after_sigkill()
    assert server.objects() == before
    head = server.s3.head_object(Bucket=server.bucket, Key="small.png")
    assert (head["Metadata"], head["ContentLength"]) == (metadata, 1)


def test_if_none_match_survives_sigkill(server: Server) -> None:
    """A conditional put does not overwrite an object, before and after SIGKILL."""
    put = {"Key": "k", "IfNoneMatch": "*"}
    server.s3.put_object(Bucket=server.bucket, **put, Body=MEGABYTE)
    assert error_code(server, server.s3.put_object, **put, Body=b"other") == "PreconditionFailed"
    server.restart_after_sigkill()
    assert error_code(server, server.s3.put_object, **put, Body=b"other") == "PreconditionFailed"
    assert server.objects()["k"][0] == MEGABYTE


def test_deleted_bodies_are_deleted_from_disk(server: Server) -> None:
    """The body of a deleted object is deleted from disk; a later object at the same key survives SIGKILL."""
    for body in (server.body(), server.body(2)):
        server.s3.put_object(Bucket=server.bucket, Key="k", Body=body)
        server.s3.put_object(Bucket=server.bucket, Key="other", Body=body)
    server.s3.delete_object(Bucket=server.bucket, Key="k")
    server.s3.delete_object(Bucket=server.bucket, Key="other")
    assert server.bodies() == set()
    server.s3.put_object(Bucket=server.bucket, Key="k", Body=server.body())
    server.restart_after_sigkill()
    assert server.bodies() == {server.body()}
    assert error_code(server, server.s3.get_object, Key="other") == "NoSuchKey"
    assert {key: item[0] for key, item in server.objects().items()} == {"k": server.body()}


def test_versions_survive_deletion_and_sigkill(server: Server) -> None:
    """Versions of an object survive its deletion and SIGKILL."""
    server.s3.put_bucket_versioning(Bucket=server.bucket, VersioningConfiguration={"Status": "Enabled"})
    version = server.s3.put_object(Bucket=server.bucket, Key="k", Body=MEGABYTE)["VersionId"]
    server.s3.delete_object(Bucket=server.bucket, Key="k")
    server.restart_after_sigkill()
    assert server.s3.get_object(Bucket=server.bucket, Key="k", VersionId=version)["Body"].read() == MEGABYTE
    assert error_code(server, server.s3.get_object, Key="k") == "NoSuchKey"


def test_slow_client_blocks_no_other(server: Server) -> None:
    """A client that sends slowly blocks no other client."""
    with server.send("slow", len(MEGABYTE), MEGABYTE[:-1]) as slow:
        server.s3.put_object(Bucket=server.bucket, Key="quick", Body=MEGABYTE)
        assert set(server.objects()) == {"quick"}
        slow.sendall(MEGABYTE[-1:])
        assert slow.recv(12) == b"HTTP/1.1 200"
    assert server.objects()["slow"][0] == MEGABYTE


def test_incomplete_put_is_rejected(server: Server) -> None:
    """An incomplete put is rejected and stores nothing."""
    with server.send("incomplete", len(server.body()), server.body()[:-1]) as incomplete:
        incomplete.shutdown(socket.SHUT_WR)
        assert incomplete.recv(12) == b"HTTP/1.1 400"
    assert error_code(server, server.s3.get_object, Key="incomplete") == "NoSuchKey"
    assert server.bodies() == set()


def test_concurrent_conditional_puts_succeed_once(server: Server) -> None:
    """Exactly one of several concurrent conditional puts of a key succeeds."""

    def put(number: int) -> str:
        try:
            server.s3.put_object(Bucket=server.bucket, Key="k", Body=number.to_bytes() + MEGABYTE, IfNoneMatch="*")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return str(number)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(put, range(16)))
    succeeded = [result for result in results if result != "PreconditionFailed"]
    assert len(succeeded) == 1
    server.restart_after_sigkill()
    assert server.objects()["k"][0][0] == int(succeeded[0])


def test_sigterm_exits_with_status_0(server: Server) -> None:
    """SIGTERM stops the server with exit status 0."""
    assert server.stop(signal.SIGTERM) == 0
    server.start()  # for the following test


# The last test, because every start replays all requests of the others.
def test_objects_are_not_held_in_memory(server: Server) -> None:
    """Objects do not stay in memory, before and after a replay."""
    server.s3.put_object(Bucket=server.bucket, Key="first", Body=MEGABYTE)
    before = server.memory()
    for number in range(100):
        server.s3.put_object(Bucket=server.bucket, Key=str(number), Body=number.to_bytes() + MEGABYTE)
    assert server.memory() - before < 70
    server.restart_after_sigkill()
    assert server.memory() - before < 70
