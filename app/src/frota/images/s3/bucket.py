"""The S3 client: results are put from the event loop, other requests by boto3 in threads."""

import asyncio
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from frota.core.secret_file import credential
from frota.core.threads import Threads
from frota.images.s3.put import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Puts
from frota.images.settings import StorageConfig

if TYPE_CHECKING:
    import botocore.auth
    import botocore.client

T = TypeVar("T")
_PART_BYTES = 8 * 2**20  # of a multipart upload
_CODE = re.compile("<Code>([^<]{1,80})")  # of an error response (XML)
_MISSING_CODES = ("404", "NoSuchKey", "NotFound")
_PERMANENT_STATUSES = (400, 401, 403, 404)  # statuses that a retry does not change


class StorageError(OSError):
    """A request to S3 failed, and may be retried.

    `permanent`: S3 rejects the credentials or the request until somebody changes the configuration.
    """

    def __init__(self, text: str, *, permanent: bool = False) -> None:
        super().__init__(text)
        self.permanent = permanent


class ObjectMissing(StorageError):
    """The object does not exist."""


class S3Client:
    """Requests to S3, at most `threads` in parallel of each kind."""

    def __init__(self, config: StorageConfig, threads: int, read_timeout_s: float = READ_TIMEOUT_S) -> None:
        import boto3
        from boto3.s3.transfer import TransferConfig
        from botocore.config import Config
        from botocore.exceptions import NoCredentialsError

        if file := credential("aws"):
            os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(file)
        self._threads = Threads(threads, "s3")  # daemon threads: S3 may accept a request and never respond
        self._endpoint, self._region = config.s3_endpoint.rstrip("/"), config.s3_region
        self._session, self._connecting = boto3.session.Session(), threading.Lock()
        self._client: botocore.client.BaseClient | None = None
        self._config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=read_timeout_s,
            retries={"total_max_attempts": 1},  # callers retry
            max_pool_connections=threads,
            s3={"addressing_style": "path" if self._endpoint else "virtual"},
        )
        self._puts = Puts(threads, self._signer, self._threads, read_timeout_s)
        # One thread per transfer, so that `threads` bounds them all.
        self._transfer = TransferConfig(
            multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, use_threads=False
        )
        with suppress(NoCredentialsError):  # credentials may come later; each request looks for them again
            self._connect()

    async def close(self) -> None:
        """Start no further request, and close the connections."""
        self._threads.close()
        await self._puts.close()

    async def put_new(self, bucket: str, key: str, data: bytes, media_type: str, metadata: Mapping[str, str]) -> bool:
        """Put an object unless the key exists (If-None-Match); tell whether it was put. Raises StorageError."""
        headers = {"Content-Type": media_type, "If-None-Match": "*"}
        headers |= {f"x-amz-meta-{name}": value for name, value in metadata.items()}
        with _as_storage_errors():
            answer = await self._puts.put(self.url(bucket, key), data, headers)
        if answer.status in (200, 412):
            return answer.status == 200
        raise StorageError(
            f"S3: {answer.status} {_CODE.findall(answer.text)}", permanent=answer.status in _PERMANENT_STATUSES
        )

    async def metadata(self, bucket: str, key: str) -> dict[str, str]:
        """Return the metadata of an object. Raises StorageError, ObjectMissing."""
        head = await self._in_thread(lambda: self._connect().head_object(Bucket=bucket, Key=key))
        return dict(head["Metadata"])

    async def upload(self, bucket: str, key: str, file: IO[bytes]) -> None:
        """Upload a file in parts. Raises StorageError."""
        await self._in_thread(lambda: self._connect().upload_fileobj(file, bucket, key, Config=self._transfer))

    async def download(self, bucket: str, key: str, to: Path) -> str:
        """Write an object to a file and return the file's SHA-256. Raises StorageError, ObjectMissing."""

        def work() -> str:
            self._connect().download_file(bucket, key, str(to), Config=self._transfer)
            with to.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

        return await self._in_thread(work)

    async def delete(self, bucket: str, key: str) -> None:
        """Delete an object; a missing one is no error. Raises StorageError."""
        await self._in_thread(lambda: self._connect().delete_object(Bucket=bucket, Key=key))

    def url(self, bucket: str, key: str) -> str:
        """Return the URL of an object."""
        from urllib.parse import quote

        host = f"{self._endpoint}/{bucket}" if self._endpoint else f"https://{bucket}.s3.{self._region}.amazonaws.com"
        return f"{host}/{quote(key)}"

    def _connect(self) -> "botocore.client.BaseClient":
        """Return boto3's client, created once there are credentials: without them it would never look for any."""
        with self._connecting:
            if self._client is None:
                self._signer()
                self._client = self._session.client(
                    "s3", region_name=self._region, endpoint_url=self._endpoint or None, config=self._config
                )
            return self._client

    def _signer(self) -> "botocore.auth.S3SigV4Auth":
        """Return a signer with the current credentials. Raises NoCredentialsError."""
        from botocore.auth import S3SigV4Auth
        from botocore.exceptions import NoCredentialsError

        credentials = self._session.get_credentials()  # cached once found
        if credentials is None:
            raise NoCredentialsError
        return S3SigV4Auth(credentials.get_frozen_credentials(), "s3", self._region)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        with _as_storage_errors():
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)


@contextmanager
def _as_storage_errors() -> Iterator[None]:
    """Translate exceptions of the block to ObjectMissing or StorageError."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except ClientError as error:
        answer: dict[str, Any] = error.response.get("Error", {})
        if answer.get("Code") in _MISSING_CODES:
            raise ObjectMissing(f"S3: {error}") from None
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        raise StorageError(f"S3: {error}", permanent=status in _PERMANENT_STATUSES) from None
    except (BotoCoreError, Boto3Error, OSError) as error:
        raise StorageError(
            f"S3: {str(error) or repr(error)}", permanent=isinstance(error, NoCredentialsError)
        ) from None
