"""The S3 client without a reachable S3, or without credentials yet."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from frota.images.s3.bucket import S3Client, StorageError
from frota.images.settings import WorkerSettings

UNREACHABLE = WorkerSettings(s3_endpoint="http://127.0.0.1:1")


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    """Take all credentials away; return what puts some where they are looked for."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    return lambda: file.write_text("[default]\naws_access_key_id = x\naws_secret_access_key = y\n")


def test_late_credentials_are_found(credentials: Callable[[], object]) -> None:
    """Credentials that appear after the start are used."""

    async def run() -> list[str]:
        objects, records = S3Client(UNREACHABLE, threads=1), list[str]()
        for turn in range(2):
            for work in (lambda: objects.put_new("b", "k", b"", "image/png", {}), lambda: objects.metadata("b", "k")):
                with pytest.raises(StorageError) as error:
                    await work()
                assert error.value.permanent is (turn == 0)
                records.append("credentials" if "credentials" in str(error.value) else "connection")
            credentials()
        await objects.close()
        return records

    assert asyncio.run(run()) == ["credentials"] * 2 + ["connection"] * 2
