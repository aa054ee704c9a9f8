"""HTTP for those who collect metrics: GET /metrics, answered and closed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import h11

from frota.cpu_metrics.framing import BadMessage
from frota.cpu_metrics.messages import NO_MESSAGE
from frota.cpu_metrics.server import exposition
from frota.cpu_metrics.server.host import Host

Own = Callable[[], Iterable[tuple[str, str, str, float]]]
"""Gives the server's own metrics: name, kind, text and value."""


class MetricsEndpoint:
    """Answers requests; `hosts` are all that are known."""

    def __init__(self, hosts: Iterable[Host], own: Own) -> None:
        self._hosts, self._own = hosts, own

    async def answer(self, data: bytes) -> AsyncIterator[bytes]:
        """Yield the answer to a request, which has to come in one piece. Raises BadMessage."""
        connection = h11.Connection(h11.SERVER)
        try:
            connection.receive_data(data)
            request = connection.next_event()
        except h11.RemoteProtocolError:
            raise BadMessage(NO_MESSAGE) from None
        if not isinstance(request, h11.Request):
            raise BadMessage(NO_MESSAGE)
        path = request.target.partition(b"?")[0]
        found = path == b"/metrics"
        kind = exposition.CONTENT_TYPE if found else "text/plain"
        headers = [("Content-Type", kind), ("Connection", "close")]
        yield connection.send(h11.Response(status_code=200 if found else 404, headers=headers)) or b""
        if request.method != b"HEAD":
            for piece in self._metrics() if found else iter([b"GET /metrics\n"]):
                yield connection.send(h11.Data(data=piece)) or b""
                await asyncio.sleep(0)  # the turn of others
        yield connection.send(h11.EndOfMessage()) or b""

    def _metrics(self) -> Iterator[bytes]:
        return exposition.text(self._hosts, self._own())
