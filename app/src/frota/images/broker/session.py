"""Connections to the broker (AMQP 0-9-1) that reconnect for ever."""

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils.io_services_utils import _AsyncTransportBase
from pika.channel import Channel
from pika.credentials import ExternalCredentials, PlainCredentials
from pika.exceptions import AMQPError

from frota.core.backoff import Backoff
from frota.core.errors import ServerUnavailable
from frota.images.settings import BrokerConfig
from frota.logs import log

_MIN_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 5.0  # between two attempts to connect, doubled each time
_HEARTBEAT_S = 20
_CONNECT_TIMEOUT_S = 10.0  # for TCP, TLS and AMQP together
_CLOSE_TIMEOUT_S = 1.0

# pika reads 4 KiB at a time, and copies the partial frame (up to 128 KiB) after each read. It has no setting for it.
_AsyncTransportBase._MAX_RECV_BYTES = 64 * 1024


logging.getLogger("pika").setLevel(logging.CRITICAL)  # events.md lists our own records of the same events


class BrokerUnavailable(ServerUnavailable):
    """The broker is unreachable, or closed the connection: an unconfirmed message may be there or not."""


class Session:
    """One connection with one channel; `closed` holds the reason as soon as either is closed."""

    def __init__(self, connection: AsyncioConnection, channel: Channel, closed: "asyncio.Future[str]") -> None:
        self.connection, self.channel, self.closed = connection, channel, closed

    async def call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a channel's method; return the broker's reply. Raises BrokerUnavailable if the session closes first."""
        answer = asyncio.get_running_loop().create_future()
        try:
            method(*arguments, **options, callback=partial(settle, answer))
        except AMQPError as error:
            raise BrokerUnavailable(_error_text(error)) from None
        await asyncio.wait({answer, self.closed}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise BrokerUnavailable(self.closed.result())
        return answer.result()

    async def accepts(self, method: Callable[[Channel, Callable[[object], None]], None]) -> bool:
        """Call a method on a new channel; tell whether the broker accepted it. On an error it closes the channel.

        Raises BrokerUnavailable.
        """
        answer = asyncio.get_running_loop().create_future()

        def opened_channel(channel: Channel) -> None:
            channel.add_on_close_callback(lambda *_: settle(answer, None))
            method(channel, lambda _: settle(answer, channel))

        try:
            self.connection.channel(on_open_callback=opened_channel)
        except AMQPError as error:
            raise BrokerUnavailable(_error_text(error)) from None
        await asyncio.wait({answer, self.closed}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise BrokerUnavailable(self.closed.result())
        if channel := answer.result():
            channel.close()
        return channel is not None

    async def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> None:
        """Close the connection, and wait briefly for the broker, which reads nothing while it blocks publishers."""
        if not self.closed.done():
            with suppress(AMQPError):
                self.connection.close()
            await asyncio.wait({self.closed}, timeout=timeout_s)


def parameters(config: BrokerConfig) -> list[pika.ConnectionParameters]:
    """Return the connection parameters of each node. Raises OSError for an unreadable file."""
    context, credentials = None, PlainCredentials(config.user, _password(config))
    if config.cert_file:
        context = ssl.create_default_context(cafile=config.ca_file)
        context.load_cert_chain(config.cert_file, config.secret_key_file)
        credentials = ExternalCredentials()
    return [
        pika.ConnectionParameters(
            host,
            port,
            config.vhost,
            credentials,
            heartbeat=_HEARTBEAT_S,
            socket_timeout=_CONNECT_TIMEOUT_S / 2,
            stack_timeout=_CONNECT_TIMEOUT_S,
            ssl_options=pika.SSLOptions(context, host) if context else None,
        )
        for host, port in config.brokers
    ]


def _password(config: BrokerConfig) -> str:
    return config.password_file.read_text(encoding="utf-8").strip() if config.password_file else "guest"


async def connect(node: pika.ConnectionParameters) -> Session:
    """Open a connection and a channel. Raises BrokerUnavailable."""
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[Channel] = loop.create_future()
    closed: asyncio.Future[str] = loop.create_future()

    def end(reason: object) -> None:
        text = _error_text(reason)
        if not opened.done():
            opened.set_exception(BrokerUnavailable(text))
        if not closed.done():
            closed.set_result(text)

    def open_channel(connection: AsyncioConnection) -> None:
        connection.channel(on_open_callback=take_channel)

    def take_channel(channel: Channel) -> None:
        channel.add_on_close_callback(lambda _, reason: close(reason))
        if not opened.done():
            opened.set_result(channel)

    def close(reason: object) -> None:
        """Close the connection together with its channel."""
        end(reason)
        if connection.is_open:
            connection.close()

    connection = AsyncioConnection(
        node,
        on_open_callback=open_channel,
        on_open_error_callback=lambda _, error: end(error),
        on_close_callback=lambda _, reason: end(reason),
        custom_ioloop=loop,
    )
    return Session(connection, await opened, closed)


def _error_text(reason: object) -> str:
    """Return the error's text; pika's is often empty."""
    return str(reason) or repr(reason)


def settle(answer: "asyncio.Future[Any]", frame: object) -> None:
    """Set the result of a future that was not cancelled."""
    if not answer.done():
        answer.set_result(frame)


class BrokerConnection:
    """A connection to any node that answers; it reconnects for ever.

    `prepare` is called with each new session before others may use it.
    """

    def __init__(self, config: BrokerConfig, purpose: str, prepare: Callable[[Session], Awaitable[None]]) -> None:
        self._nodes, self._purpose, self._prepare = parameters(config), purpose, prepare
        self._session: Session | None = None
        self._ready = asyncio.Event()
        self.blocked = asyncio.Event()  # set while the broker blocks publishers (memory or disk alarm)

    async def run(self) -> None:
        """Connect and reconnect until cancelled."""
        backoff = Backoff(_MIN_BACKOFF_S, _MAX_BACKOFF_S)
        try:
            while True:
                if await self._connect_once():
                    backoff.reset()
                await asyncio.sleep(backoff.pause())
        finally:
            if self._session:
                await self._session.close()

    async def session(self) -> Session:
        """Return the open session; wait until there is one."""
        while self._session is None or self._session.closed.done():
            self._ready.clear()
            await self._ready.wait()
        return self._session

    @property
    def connected(self) -> bool:
        """Whether a session is open."""
        return self._session is not None and not self._session.closed.done()

    async def _connect_once(self) -> bool:
        """Connect to a node and wait until the session closes; tell whether a node accepted the connection."""
        random.shuffle(self._nodes)
        for node in self._nodes:
            session: Session | None = None
            try:
                session = await connect(node)
                session.connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
                session.connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
                await self._prepare(session)
            except (AMQPError, OSError) as error:  # AMQPError: the channel or connection is closing
                text = f"no connection to {node.host}:{node.port} {self._purpose}: {_error_text(error)}"
                log.record("WARNING", "broker_unavailable", text)
                if session:
                    await session.close()
                continue
            self.blocked.clear()
            self._session = session
            self._ready.set()
            log.record("INFO", "broker_connected", f"connected to {node.host}:{node.port} {self._purpose}")
            reason = await asyncio.shield(session.closed)
            log.record(
                "WARNING", "broker_lost", f"connection to {node.host}:{node.port} {self._purpose} lost: {reason}"
            )
            return True
        return False

    def _set_blocked(self, blocked: bool) -> None:
        if blocked:
            self.blocked.set()
            log.record(
                "WARNING",
                "broker_blocked",
                "the broker has no room (memory or disk alarm) and blocks publishers until that ends",
            )
        else:
            self.blocked.clear()
            log.record("INFO", "broker_unblocked", "the broker accepts messages again")
