"""The module `mariadb_backup` with a real S3 server, and a program in the place of mariadb-dump."""

import gzip
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
from moto.server import ThreadedMotoServer

from .modules import load

_MODULE = load("mariadb_backup")
_CONTENT = b"INSERT INTO contas VALUES (1, 99.90);\n" * 100_000


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Give the address of an S3 server."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint: str) -> Any:
    """Give a client of an S3 server with an empty bucket."""
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    client.create_bucket(Bucket="backups")
    for item in client.list_objects_v2(Bucket="backups").get("Contents", []):
        client.delete_object(Bucket="backups", Key=item["Key"])
    return client


@pytest.fixture
def dump(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Give a function that sets what a dump prints, and how it ends."""

    def dumps(content: bytes, status: int = 0) -> None:
        (tmp_path / "dump").write_bytes(content)
        text = "import shutil, sys; shutil.copyfileobj(open(sys.argv[1], 'rb'), sys.stdout.buffer); sys.exit({})"
        words = [sys.executable, "-c", text.format(f"'it is gone' if {status} else 0"), str(tmp_path / "dump")]
        pipe = subprocess.PIPE
        monkeypatch.setattr(_MODULE, "dump_process", lambda _: subprocess.Popen(words, stdout=pipe, stderr=pipe))

    dumps(_CONTENT)
    return dumps


def _backups(s3: Any) -> Any:
    return _MODULE.Backups(s3, "backups", "shop")


@pytest.mark.usefixtures("dump")
def test_backup_is_the_dump(s3: Any, tmp_path: Path) -> None:
    """The object is the dump, compressed; what is fetched is what was stored."""
    description = _backups(s3).store("first", "shop")
    assert description.dump_size == len(_CONTENT)
    assert _backups(s3).description("first") == description
    with (tmp_path / "fetched").open("wb") as file:
        _backups(s3).fetch("first", description, file)
    assert gzip.decompress((tmp_path / "fetched").read_bytes()) == _CONTENT


def test_failed_dump_stores_nothing(s3: Any, dump: Any) -> None:
    """A dump that fails at its end leaves no object, and says why."""
    dump(_CONTENT, status=1)
    with pytest.raises(_MODULE.BackupFault, match="no backup was stored: it is gone"):
        _backups(s3).store("broken", "shop")
    assert "Contents" not in s3.list_objects_v2(Bucket="backups")


@pytest.mark.usefixtures("dump")
def test_damaged_backup_is_rejected(s3: Any, tmp_path: Path) -> None:
    description = _backups(s3).store("damaged", "shop")
    s3.put_object(Bucket="backups", Key="shop/damaged.sql.gz", Body=gzip.compress(_CONTENT[:-1]))
    with (tmp_path / "fetched").open("wb") as file, pytest.raises(_MODULE.BackupFault, match="nothing was changed"):
        _backups(s3).fetch("damaged", description, file)


@pytest.mark.usefixtures("dump")
def test_newest_backup(s3: Any) -> None:
    """Only an object with a description is a backup, and a name is taken once."""
    with pytest.raises(_MODULE.BackupFault, match="there is no backup in"):
        _backups(s3).newest()
    _backups(s3).store("one", "shop")
    s3.put_object(Bucket="backups", Key="shop/two.sql.gz", Body=b"unfinished")
    assert _backups(s3).newest() == "one"
    with pytest.raises(_MODULE.BackupFault, match="there is no backup two"):
        _backups(s3).description("two")
    for name in ("one", "two"):
        with pytest.raises(_MODULE.BackupFault, match="already"):
            _backups(s3).store(name, "shop")


def test_large_dump_is_streamed_in_parts(s3: Any, dump: Any) -> None:
    """A dump of several parts is one object; it is compressed without holding it in memory."""
    content = bytes(range(256)) * 4096 * 5
    dump(content)
    process = _MODULE.dump_process("shop")
    reader = _MODULE.Dump(process)
    pieces = list(iter(lambda: reader.read(1000), b""))
    process.stdout.close()
    process.stderr.close()
    assert {len(piece) for piece in pieces[:-1]} == {1000}
    assert gzip.decompress(b"".join(pieces)) == content
    assert _backups(s3).store("large", "shop").dump_size == len(content)


def test_damaged_description() -> None:
    with pytest.raises(_MODULE.BackupFault, match="damaged"):
        _MODULE.Description.parsed(b'{"sha256": ""}')
