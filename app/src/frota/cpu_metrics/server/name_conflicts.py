"""Two agents of one name: which is served, and what the other is answered.

Most often the older connection is half-open, or its computer is gone and another has its name: the newer one is to be
served at once. But computers are cloned, and some are called localhost: then the older is served, or each would
replace the other for ever. So the server pings the older one before it closes its connection.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from frota.cpu_metrics import messages
from frota.cpu_metrics.framing import Hello
from frota.cpu_metrics.server.event_log import EventLog, Peer
from frota.cpu_metrics.server.host import Host, Rival

PONG_SECONDS = 2.0  # in which an agent answers a ping: its loop waits for nothing but its disk
_SILENT_INTERVALS = 1.5  # without a sample, after which an agent that knows no ping is taken for gone
_SLACK_SECONDS = 2.0
_RIVAL_SECONDS = 180.0  # since its last try, after which a rival is no rival any more; agents try every minute
_MOST_RIVALS = 100  # of one name that are kept: one that is not kept is logged at every try


class Agent(Peer, Protocol):
    """What is asked of an agent's connection."""

    host: Host | None
    instance: str
    closed: bool
    given_up: bool

    @property
    def backlogged(self) -> bool:
        """Whether something has come that was not read yet."""

    def hold(self) -> None:
        """Take nothing more until `go_on`."""

    def go_on(self, hello: Hello) -> None:
        """Take the hello again, and what came after it."""

    def write(self, data: bytes) -> None:
        """Send."""

    def refuse(self, reason: str, **details: object) -> None:
        """Tell why this ends, and end it."""


class NameRegistry:
    """Who has a host's name; `now` gives the server's time in monotonic seconds."""

    def __init__(self, event_log: EventLog, now: Callable[[], float]) -> None:
        self._event_log, self._now = event_log, now
        self._contests: dict[Agent, list[tuple[Agent, Hello]]] = {}  # newcomers waiting, by holder

    def contested(self, host: Host, newcomer: Agent, hello: Hello) -> bool:
        """Tell whether the host's name is another's; then the newcomer waits, or is refused already."""
        holder: Agent | None = host.connection
        if holder is None or holder is newcomer or holder.closed or holder.given_up:
            return False
        if holder.instance:
            self._challenge(holder, newcomer, hello)
        elif self._came_back(host, newcomer, hello) or self._silent(host):
            return False
        else:
            self._refuse(holder, newcomer)
        return True

    def alive(self, holder: Agent) -> None:
        """Take a pong: reject the others that claim the name."""
        for newcomer, _ in self._contests.pop(holder, ()):
            self._refuse(holder, newcomer)

    def gone(self, holder: Agent) -> None:
        """Serve the waiting newcomers in their order, since the holder is gone."""
        for newcomer, hello in self._contests.pop(holder, ()):
            newcomer.go_on(hello)

    def served(self, host: Host, connection: Agent) -> None:
        """Take note that an agent is served, and no rival any more."""
        host.rivals.pop(_identity(connection), None)

    def sweep(self, host: Host) -> None:
        """Forget the rivals that have not tried for long."""
        oldest = self._now() - _RIVAL_SECONDS
        for identity in [identity for identity, rival in host.rivals.items() if rival.tried < oldest]:
            del host.rivals[identity]

    def _silent(self, host: Host) -> bool:
        return self._now() - host.heard > _SILENT_INTERVALS * host.kept.interval + _SLACK_SECONDS

    def _came_back(self, host: Host, newcomer: Agent, hello: Hello) -> bool:
        """Tell whether it is the agent that was here, whose former connection is half-open."""
        return host.kept.run == hello.run and host.connection.address[0] == newcomer.address[0]

    def _challenge(self, holder: Agent, newcomer: Agent, hello: Hello) -> None:
        newcomer.hold()
        waiting = self._contests.setdefault(holder, [])
        waiting.append((newcomer, hello))
        if len(waiting) == 1:
            holder.write(messages.PING)
            asyncio.get_running_loop().call_later(PONG_SECONDS, self._unanswered, holder, waiting)

    def _unanswered(self, holder: Agent, waiting: list[tuple[Agent, Hello]]) -> None:
        if self._contests.get(holder) is not waiting:
            return
        if holder.backlogged:  # its answer may be behind what is not read yet
            self.alive(holder)
        else:
            holder.given_up = True
            self.gone(holder)

    def _refuse(self, holder: Agent, newcomer: Agent) -> None:
        host = holder.host
        if newcomer.closed or host is None:
            return
        identity = _identity(newcomer)
        if identity not in host.rivals:
            self._event_log.name_taken(host, holder, newcomer)
            for oldest in list(host.rivals)[: max(0, len(host.rivals) + 1 - _MOST_RIVALS)]:
                del host.rivals[oldest]
        host.rivals[identity] = Rival(newcomer.name, self._now())
        reason = messages.NAME_TAKEN.format(host.kept.name, holder.name, newcomer.name)
        newcomer.refuse(reason, code=messages.NAME_TAKEN_CODE, holder=holder.name)


def _identity(connection: Agent) -> str:
    return connection.instance or str(connection.address[0])
