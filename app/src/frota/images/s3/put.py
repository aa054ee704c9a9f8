"""PUT requests on the event loop: what a worker does once for every image."""

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
_MIN_BYTES_PER_SECOND = 64 * 1024  # bytes a second that S3 must take, besides
_INLINE_BYTES = 256 * 1024  # bytes; to hash so many takes no longer than to hand them to another thread
_MAX_ERROR_BYTES = 4096  # bytes of an error that are read
_CREDENTIALS_TTL_S = 60.0  # after which the signer is asked for again: AWS renews credentials minutes before they end


class Answer(NamedTuple):
    """S3's answer: a status of HTTP, and an error's XML."""

    status: int
    text: str


class Puts:
    """At most `most` requests at a time, on connections that are kept.

    `find` returns what signs a request; since it may ask the network for credentials, it runs in `threads`.
    """

    def __init__(self, max_connections: int, find_signer: "Callable[[], S3SigV4Auth]", threads: Executor) -> None:
        self._max_connections, self._find_signer, self._threads = max_connections, find_signer, threads
        self._session: aiohttp.ClientSession | None = None
        self._signer: S3SigV4Auth | None = None
        self._found_at = -math.inf

    async def close(self) -> None:
        """Close the connections."""
        if self._session:
            await self._session.close()

    async def put(self, url: str, data: bytes, headers: Mapping[str, str]) -> Answer:
        """Put an object. Raises OSError, and what `find` does."""
        from aiohttp import ClientError, ClientTimeout
        from yarl import URL

        signed = await self._signed(url, data, headers)
        body = (
            data if len(data) <= _INLINE_BYTES else io.BytesIO(data)
        )  # sent in pieces, between which others have their turn
        seconds = READ_TIMEOUT_S + len(data) / _MIN_BYTES_PER_SECOND
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
        if answer.status == 403:  # whoever is not let in may have other credentials by now
            self._found_at = -math.inf
        return Answer(answer.status, text)

    def _connections(self) -> "aiohttp.ClientSession":
        if self._session is None:
            import ssl

            from aiohttp import ClientSession, DummyCookieJar, TCPConnector
            from botocore.httpsession import get_cert_path

            context = ssl.create_default_context(cafile=get_cert_path(True))  # whom boto3 trusts
            connector = TCPConnector(limit=self._max_connections, ssl=context)
            self._session = ClientSession(connector=connector, cookie_jar=DummyCookieJar())
        return self._session

    async def _signed(self, url: str, data: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a request, signed (AWS Signature Version 4)."""
        from botocore.awsrequest import AWSRequest

        signer = await self._current_signer()
        request = AWSRequest("PUT", url, headers=dict(headers), data=data)
        if len(data) <= _INLINE_BYTES:
            signer.add_auth(request)
        else:
            await asyncio.get_running_loop().run_in_executor(self._threads, signer.add_auth, request)
        return dict(request.headers.items())

    async def _current_signer(self) -> "S3SigV4Auth":
        """Return the signer with the credentials of the moment."""
        if self._signer is None or time.monotonic() - self._found_at > _CREDENTIALS_TTL_S:
            self._signer = await asyncio.get_running_loop().run_in_executor(self._threads, self._find_signer)
            self._found_at = time.monotonic()
        return self._signer
