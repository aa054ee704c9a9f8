"""PUT requests on the event loop: a worker makes one per image."""

import asyncio
import io
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import aiohttp
    from botocore.auth import S3SigV4Auth

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 3, 30
_MIN_BYTES_PER_SECOND = 64 * 1024  # a request's timeout grows by its size / this
_INLINE_BYTES = 256 * 1024  # hashing so many takes no longer than a switch to another thread
_MAX_ERROR_BYTES = 4096  # of an error response that are read
_CREDENTIALS_TTL_S = 60.0  # then they are read again: AWS renews them minutes before they expire


class Answer(NamedTuple):
    """A response of S3: the HTTP status, and the XML of an error."""

    status: int
    text: str


class Puts:
    """PUT requests over at most `max_connections` persistent connections.

    `find_signer` returns a signer with the current credentials. It may block on the network, so it runs in `threads`.
    """

    def __init__(
        self,
        max_connections: int,
        find_signer: "Callable[[], S3SigV4Auth]",
        threads: Executor,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._max_connections, self._find_signer, self._threads = max_connections, find_signer, threads
        self._read_timeout_s = read_timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._signer: S3SigV4Auth | None = None
        self._found_at = -math.inf

    async def close(self) -> None:
        """Close the connections."""
        if self._session:
            await self._session.close()

    async def put(self, url: str, data: bytes, headers: Mapping[str, str]) -> Answer:
        """Put an object. Raises OSError, and as `find_signer`."""
        from aiohttp import ClientError, ClientTimeout
        from yarl import URL

        signed = await self._signed(url, data, headers)
        body = (
            data if len(data) <= _INLINE_BYTES else io.BytesIO(data)
        )  # sent in pieces, so that other tasks run in between
        seconds = self._read_timeout_s + len(data) / _MIN_BYTES_PER_SECOND
        timeout = ClientTimeout(total=seconds, sock_connect=CONNECT_TIMEOUT_S)
        try:
            async with self._connections().put(
                URL(url, encoded=True), data=body, headers=signed, timeout=timeout, allow_redirects=False
            ) as answer:
                text = (
                    ""
                    if answer.status == 200
                    else (await answer.content.read(_MAX_ERROR_BYTES)).decode(errors="replace")
                )
        except ClientError as error:
            raise ConnectionError(str(error) or repr(error)) from None
        if answer.status == 403:  # the credentials may have been rotated
            self._found_at = -math.inf
        return Answer(answer.status, text)

    def _connections(self) -> "aiohttp.ClientSession":
        if self._session is None:
            import ssl

            from aiohttp import ClientSession, DummyCookieJar, TCPConnector
            from botocore.httpsession import get_cert_path

            context = ssl.create_default_context(cafile=get_cert_path(True))  # the CAs that boto3 trusts
            connector = TCPConnector(limit=self._max_connections, ssl=context)
            self._session = ClientSession(connector=connector, cookie_jar=DummyCookieJar())
        return self._session

    async def _signed(self, url: str, data: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the signed headers of a request (AWS Signature Version 4)."""
        from botocore.awsrequest import AWSRequest

        signer = await self._current_signer()
        request = AWSRequest("PUT", url, headers=dict(headers), data=data)
        if len(data) <= _INLINE_BYTES:
            signer.add_auth(request)
        else:
            await asyncio.get_running_loop().run_in_executor(self._threads, signer.add_auth, request)
        return dict(request.headers.items())

    async def _current_signer(self) -> "S3SigV4Auth":
        """Return the signer with the current credentials."""
        if self._signer is None or time.monotonic() - self._found_at > _CREDENTIALS_TTL_S:
            self._signer = await asyncio.get_running_loop().run_in_executor(self._threads, self._find_signer)
            self._found_at = time.monotonic()
        return self._signer
