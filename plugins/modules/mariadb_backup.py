#!/usr/bin/python
"""Backups of a MariaDB database in S3: a consistent, compressed dump, and its restoration."""

import hashlib
import io
import json
import re
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.mariadb_client import (  # type: ignore[import-untyped]  # found by Ansible
    COMMAND,
    Client,
    SqlFault,
    identifier,
)

DOCUMENTATION = """
module: mariadb_backup
short_description: Backups of a MariaDB database in S3
description:
  - C(present) streams a dump of one moment (a single transaction) to an object, compressed, reads the object back, and
    writes a description with its digest beside it. An object without a description is no backup.
  - C(restored) verifies the object before it changes anything, replaces the database, and compares a new dump with the
    backup's. Changes nothing if the database is already as in the backup.
  - Dumps are made by the user C(backup) of host and database, which may only read; root restores over the socket.
  - C(restored) refuses to replace a database with tables, unless C(overwrite) is set.
  - Requires boto3, which the release's Python has; C(ansible_python_interpreter) selects it.
  - Check mode reports a change and makes none.
options:
  database: {type: str, required: true, description: Name of the database.}
  state: {type: str, required: true, choices: [present, restored], description: Make a backup, or restore one.}
  name: {type: str, default: "", description: "Name of the backup; empty for the time, or the newest to restore."}
  bucket: {type: str, required: true, description: Bucket of the backups.}
  endpoint: {type: str, default: "", description: Endpoint URL of S3 if it is not AWS's.}
  region: {type: str, required: true, description: AWS region of the bucket.}
  access_key: {type: str, default: "", description: Access key if the host has no instance profile.}
  secret_key: {type: str, default: "", description: Secret key.}
  overwrite: {type: bool, default: false, description: Whether a database with tables may be replaced.}
author: frota
"""

EXAMPLES = """
- mariadb_backup: {database: frota_peers, state: present, bucket: backups, region: eu-west-1}
"""

RETURN = """
name: {type: str, returned: success, description: Name of the backup.}
size: {type: int, returned: success, description: Size of the object in bytes.}
dump_size: {type: int, returned: success, description: Size of the dump before its compression.}
sha256: {type: str, returned: success, description: Digest of the object.}
"""

USER = "backup"  # Debian's user of that name, and the database's, which it becomes over the socket
# Without comments: two dumps of the same content are the same.
DUMP = ["mariadb-dump", "--no-defaults", "--single-transaction", "--skip-comments", "--hex-blob", "--no-tablespaces"]
CHUNK_BYTES = 1 << 20
PART_BYTES = 8 << 20  # of a multipart upload; one is in memory at a time
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
BOTO3_ARGUMENTS = {
    "endpoint": "endpoint_url",
    "region": "region_name",
    "access_key": "aws_access_key_id",
    "secret_key": "aws_secret_access_key",
}


class BackupFault(Exception):
    """The backup cannot be made or restored; the text is the module's error message."""


@dataclass(frozen=True)
class Description:
    """What is stored beside a backup."""

    sha256: str  # of the object
    size: int  # of the object in bytes
    dump_sha256: str
    dump_size: int  # before compression

    @classmethod
    def parsed(cls, text: bytes) -> "Description":
        """Read a description. Raises BackupFault."""
        try:
            values = json.loads(text)
            return cls(*(values[field] for field in cls.__dataclass_fields__))
        except (ValueError, KeyError, TypeError) as error:
            raise BackupFault(f"the backup's description is damaged: {error}") from error

    def text(self) -> bytes:
        return json.dumps(self.__dict__).encode()


class Dump(io.RawIOBase):
    """The compressed dump of a database as a file; its end raises BackupFault if the dump has failed."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        super().__init__()
        self._process, self._buffer, self._ended = process, b"", False
        self._compressor = zlib.compressobj(wbits=31)  # gzip
        self._digest, self._dump_digest = hashlib.sha256(), hashlib.sha256()
        self._bytes = self._dump_bytes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; fewer only at the end."""
        while not self._ended and (size < 0 or len(self._buffer) < size):
            self._fill()
        end = len(self._buffer) if size < 0 else size
        data, self._buffer = self._buffer[:end], self._buffer[end:]
        self._digest.update(data)
        self._bytes += len(data)
        return data

    def description(self) -> Description:
        """Return the description of what was read."""
        return Description(self._digest.hexdigest(), self._bytes, self._dump_digest.hexdigest(), self._dump_bytes)

    def _fill(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 -- it is a pipe
        if plain := self._process.stdout.read(CHUNK_BYTES):
            self._dump_digest.update(plain)
            self._dump_bytes += len(plain)
            self._buffer += self._compressor.compress(plain)
            return
        self._ended = True
        check_end(self._process)
        self._buffer += self._compressor.flush()


def check_end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a dump that has closed its output. Raises BackupFault if it has failed."""
    assert process.stderr is not None  # noqa: S101 -- it is a pipe
    error = process.stderr.read().decode(errors="replace").strip()
    if process.wait():
        raise BackupFault(f"the dump failed, and no backup was stored: {error}")


def dump_process(database: str) -> "subprocess.Popen[bytes]":
    """Start a dump of a database by the user who may only read."""
    pipe = subprocess.PIPE
    return subprocess.Popen([*DUMP, database], stdout=pipe, stderr=pipe, user=USER, group=USER, extra_groups=[])


def dump_digest(database: str) -> str:
    """Return the digest of a dump of the database as it is now. Raises BackupFault."""
    digest = hashlib.sha256()
    with dump_process(database) as process:
        assert process.stdout is not None  # noqa: S101 -- it is a pipe
        while plain := process.stdout.read(CHUNK_BYTES):
            digest.update(plain)
        check_end(process)
    return digest.hexdigest()


class Backups:
    """The backups of a database in a bucket. Every method raises what boto3 does."""

    def __init__(self, s3: Any, bucket: str, database: str) -> None:
        self._s3, self._bucket, self._folder = s3, bucket, f"{database}/"

    def newest(self) -> str:
        """Return the name of the newest backup by the time of its description. Raises BackupFault for none."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._folder)
        items = [item for page in pages for item in page.get("Contents", []) if item["Key"].endswith(".json")]
        if not items:
            raise BackupFault(f"there is no backup in s3://{self._bucket}/{self._folder}")
        key: str = max(items, key=lambda item: (item["LastModified"], item["Key"]))["Key"]
        return key.removeprefix(self._folder).removesuffix(".json")

    def store(self, name: str, database: str) -> Description:
        """Stream a dump into an object, read it back, and store its description. Raises BackupFault."""
        from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped]  # only the release's Python has it

        if self._names(name):
            raise BackupFault(f"there is a backup {name} already: choose another name")
        config = TransferConfig(multipart_chunksize=PART_BYTES, use_threads=False)
        with dump_process(database) as process:
            dump = Dump(process)
            try:
                self._s3.upload_fileobj(dump, self._bucket, self._key(name), Config=config)
            except BaseException:
                process.kill()
                raise
        description = dump.description()
        self._verify(name, description)
        self._s3.put_object(Bucket=self._bucket, Key=f"{self._folder}{name}.json", Body=description.text())
        return description

    def description(self, name: str) -> Description:
        """Return what is stored of a backup. Raises BackupFault if there is no such backup."""
        if f"{name}.json" not in self._names(name):
            raise BackupFault(f"there is no backup {name} in s3://{self._bucket}/{self._folder}")
        body = self._s3.get_object(Bucket=self._bucket, Key=f"{self._folder}{name}.json")["Body"]
        return Description.parsed(body.read())

    def fetch(self, name: str, description: Description, file: IO[bytes]) -> None:
        """Write a backup's object to a file. Raises BackupFault if it is not what was stored."""
        digest, size = hashlib.sha256(), 0
        for chunk in self._chunks(name):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
        if (digest.hexdigest(), size) != (description.sha256, description.size):
            raise BackupFault(f"the backup {name} is damaged: its object is not what was stored; nothing was changed")
        file.flush()

    def _verify(self, name: str, description: Description) -> None:
        with open("/dev/null", "wb") as nowhere:  # noqa: PTH123 -- a device
            self.fetch(name, description, nowhere)

    def _chunks(self, name: str) -> Iterator[bytes]:
        yield from self._s3.get_object(Bucket=self._bucket, Key=self._key(name))["Body"].iter_chunks(CHUNK_BYTES)

    def _key(self, name: str) -> str:
        return f"{self._folder}{name}.sql.gz"

    def _names(self, name: str) -> set[str]:
        listed = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=f"{self._folder}{name}.")
        return {item["Key"].removeprefix(self._folder) for item in listed.get("Contents", [])}


def load(database: str, file: str) -> None:
    """Replace the database by a compressed dump. Raises BackupFault: the database is then incomplete."""
    name = identifier(database)
    fresh = f"DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name} CHARACTER SET utf8mb4; USE {name};\n"
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None  # noqa: S101 -- it is a pipe
        decompressor = zlib.decompressobj(wbits=31)
        try:
            process.stdin.write(fresh.encode())
            with open(file, "rb") as stored:  # noqa: PTH123 -- read in pieces
                while chunk := stored.read(CHUNK_BYTES):
                    process.stdin.write(decompressor.decompress(chunk))
            process.stdin.write(decompressor.flush())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it says why below
        error = process.stderr.read().decode(errors="replace") if process.stderr else ""
        if process.wait():
            raise BackupFault(f"the database rejects the backup and is incomplete; run this again: {error.strip()}")


def restored(module: AnsibleModule, backups: Backups, name: str) -> tuple[bool, Description]:
    """Restore a backup; return whether the database differed from it. Raises BackupFault, SqlFault."""
    database, client = module.params["database"], Client(module)
    description = backups.description(name)
    present = client.tables(database)
    if present and dump_digest(database) == description.dump_sha256:
        return False, description
    if present and not module.params["overwrite"]:
        raise BackupFault(
            f"{database} has {len(present)} tables, which the backup {name} would replace with all that was written "
            f"since. If this is intended, add -e overwrite={database}"
        )
    if not module.check_mode:
        with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:  # /tmp may be memory
            backups.fetch(name, description, file)
            load(database, file.name)
        if dump_digest(database) != description.dump_sha256:
            text = f"{database} differs from the backup {name} after its restoration"
            raise BackupFault(f"{text}: another version of MariaDB made the backup, or a service wrote to the database")
    return True, description


def s3_client(params: Mapping[str, Any]) -> Any:
    """Return a client of S3."""
    import boto3  # type: ignore[import-untyped]  # only the release's Python has it

    return boto3.client("s3", **{name: params[option] for option, name in BOTO3_ARGUMENTS.items() if params[option]})


def outcome(module: AnsibleModule) -> dict[str, Any]:
    """Make or restore the backup and return the module's result. Raises BackupFault, SqlFault, boto3's errors."""
    params = module.params
    if params["name"] and not NAME.fullmatch(params["name"]):
        raise BackupFault(f"{params['name']!r}: a name is letters, digits, '.', '_' and '-', at most 100")
    backups = Backups(s3_client(params), params["bucket"], params["database"])
    if params["state"] == "restored":
        name = params["name"] or backups.newest()
        changed, description = restored(module, backups, name)
        return {"changed": changed, "name": name, **description.__dict__}
    name = params["name"] or datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    if module.check_mode:
        return {"changed": True, "name": name, "size": 0, "dump_size": 0, "sha256": ""}
    return {"changed": True, "name": name, **backups.store(name, params["database"]).__dict__}


def main() -> None:
    """Run as an Ansible module."""
    spec = {
        "database": {"type": "str", "required": True},
        "state": {"type": "str", "required": True, "choices": ["present", "restored"]},
        "name": {"type": "str", "default": ""},
        "bucket": {"type": "str", "required": True},
        "endpoint": {"type": "str", "default": ""},
        "region": {"type": "str", "required": True},
        "access_key": {"type": "str", "default": "", "no_log": True},
        "secret_key": {"type": "str", "default": "", "no_log": True},
        "overwrite": {"type": "bool", "default": False},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    try:
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # as above
    except ImportError:
        module.fail_json(msg="This Python has no boto3: use that of the release, /opt/frota/current/bin/python")
    try:
        result = outcome(module)
    except (BackupFault, SqlFault, BotoCoreError, ClientError, OSError) as error:
        module.fail_json(msg=f"{module.params['bucket']}: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
