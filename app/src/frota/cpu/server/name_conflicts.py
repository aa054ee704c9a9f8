"""Two agents with the same name: which of them is served, and which error the other gets.

Usually the older connection is half-open, or its computer is gone and another one has its name: the newer agent should
be served at once. But computers are cloned, and some are called localhost: then the older one stays, or each would
replace the other for ever. So the server pings the older agent before it replaces it.
"""

import asyncio
from typing import Protocol

from frota.cpu import messages
from frota.cpu.framing import Hello
from frota.cpu.server.event_log import EventLog, Peer
from frota.cpu.server.host import Host, Rival
from frota.cpu.session import Step
from frota.net.tcp_server import CoarseClock

_PONG_TIMEOUT_S = 2.0  # an agent's loop waits for nothing but its disk
_SILENT_INTERVALS = 1.5  # without a sample, after which an agent that knows no ping counts as disconnected
_SILENT_SLACK_S = 2.0
_RIVAL_EXPIRY_S = 180.0  # since its last attempt; agents try every minute
_MAX_RIVALS = 100  # of one name; one beyond the limit is logged at every attempt


class Connection(Peer, Protocol):
    """What the registry needs of an agent's connection."""

    host: Host | None
    instance: str

    @property
    def ended(self) -> bool:
        """Whether the server has ended it."""

    @property
    def replaceable(self) -> bool:
        """Whether another agent may have this one's host at once."""

    @property
    def backlogged(self) -> bool:
        """Whether input has been received that is not processed yet."""

    def advance(self, step: Step) -> None:
        """Enter the next phase."""

    def retry_hello(self, hello: Hello) -> None:
        """Process a contender's hello again, and the input behind it."""

    def write(self, data: bytes) -> None:
        """Send."""

    def reject(self, reason: str, **details: object) -> None:
        """Tell the peer why the connection ends, and end it."""


class NameRegistry:
    """Decides who has a host's name. An agent has `pong_timeout_s` seconds to answer a ping."""

    def __init__(self, event_log: EventLog, clock: CoarseClock, pong_timeout_s: float = _PONG_TIMEOUT_S) -> None:
        self.pong_timeout_s = pong_timeout_s
        self._event_log, self._clock = event_log, clock
        self._contests: dict[Connection, list[tuple[Connection, Hello]]] = {}  # contenders by holder of the name

    def contested(self, host: Host, newcomer: Connection, hello: Hello) -> bool:
        """Tell whether another agent has the name; the newcomer then waits, or is rejected already."""
        holder: Connection | None = host.connection
        if holder is None or holder is newcomer or holder.replaceable:
            return False
        if holder.instance:
            self._challenge(holder, newcomer, hello)
        elif self._reconnects(host, newcomer, hello) or self._silent(host):
            return False
        else:
            self._reject(holder, newcomer)
        return True

    def pong(self, holder: Connection) -> None:
        """Process the answer to a ping: reject the contenders."""
        for contender, _ in self._contests.pop(holder, ()):
            self._reject(holder, contender)

    def disconnected(self, holder: Connection) -> None:
        """Serve the contenders, in their order, of a holder that is gone."""
        for contender, hello in self._contests.pop(holder, ()):
            contender.retry_hello(hello)

    def served(self, host: Host, connection: Connection) -> None:
        """Note that an agent is served, and no rival any more."""
        host.rivals.pop(_identity(connection), None)

    def sweep(self, host: Host) -> None:
        """Forget the rivals that have stopped trying."""
        oldest = self._clock.now - _RIVAL_EXPIRY_S
        for identity in [identity for identity, rival in host.rivals.items() if rival.tried < oldest]:
            del host.rivals[identity]

    def _silent(self, host: Host) -> bool:
        return self._clock.now - host.heard > _SILENT_INTERVALS * host.row.interval + _SILENT_SLACK_S

    def _reconnects(self, host: Host, newcomer: Connection, hello: Hello) -> bool:
        """Tell whether it is the same agent, whose former connection is half-open."""
        return host.row.run == hello.run and host.connection.address[0] == newcomer.address[0]

    def _challenge(self, holder: Connection, newcomer: Connection, hello: Hello) -> None:
        newcomer.advance(Step.CONTESTED)
        contenders = self._contests.setdefault(holder, [])
        contenders.append((newcomer, hello))
        if len(contenders) == 1:
            holder.write(messages.PING)
            asyncio.get_running_loop().call_later(self.pong_timeout_s, self._ping_timeout, holder, contenders)

    def _ping_timeout(self, holder: Connection, contenders: list[tuple[Connection, Hello]]) -> None:
        if self._contests.get(holder) is not contenders:
            return
        if holder.backlogged:  # its pong may be in the input that is not processed yet
            self.pong(holder)
        else:
            holder.advance(Step.PING_TIMEOUT)
            self.disconnected(holder)

    def _reject(self, holder: Connection, newcomer: Connection) -> None:
        host = holder.host
        if newcomer.ended or host is None:
            return
        identity = _identity(newcomer)
        if identity not in host.rivals:
            self._event_log.name_taken(host, holder, newcomer)
            for oldest in list(host.rivals)[: max(0, len(host.rivals) + 1 - _MAX_RIVALS)]:
                del host.rivals[oldest]
        host.rivals[identity] = Rival(newcomer.name, self._clock.now)
        reason = messages.NAME_TAKEN.format(host.row.name, holder.name, newcomer.name)
        newcomer.reject(reason, code=messages.NAME_TAKEN_CODE, holder=holder.name)


def _identity(connection: Connection) -> str:
    return connection.instance or str(connection.address[0])
