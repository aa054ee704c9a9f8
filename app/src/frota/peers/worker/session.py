"""A worker's stay at one server: from ALIVE to the end of the connection."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from frota.logs.log import printable, record
from frota.logs.rate_limit import RateLimiter
from frota.peers.lending.itinerary import Itinerary, Outcome, Redirect, Role
from frota.peers.protocol import messages
from frota.peers.protocol.messages import Message, Report, Reports, Task, Tasks, WorkerAlive, WorkerLeaving
from frota.peers.settings import join_address


class Sender(Protocol):
    """The connection to the server."""

    def send(self, message: Message) -> None:
        """Send."""


class Session:
    """One stay. `add` executes tasks; `trusted`: the server is configured or authenticated, and may redirect."""

    def __init__(
        self,
        worker: str,
        capacity: int,
        itinerary: Itinerary,
        add: Callable[[tuple[Task, ...]], None],
        *,
        trusted: bool,
    ) -> None:
        self._worker, self._capacity, self._itinerary, self._add = worker, capacity, itinerary, add
        self._trusted = trusted
        self._loop = asyncio.get_running_loop()
        self._sender: Sender | None = None
        self._refusals = RateLimiter("refusals_suppressed", "refusals of a server")
        self.server = ""  # its name, once it has said it
        self.held = 0  # tasks without a report
        self.woken = asyncio.Event()  # something has changed: look at `outcome`
        self.lost: str = ""  # why the connection has ended
        self.redirected = False  # the itinerary leads elsewhere now
        self.ignored_redirects = 0

    def begin(self, sender: Sender, owner: str) -> None:
        """Say ALIVE; `owner` is the worker's own server, where this is another one."""
        self._sender = sender
        self._itinerary.arrived(self._loop.time())
        loan = self._worker if self._itinerary.epoch else ""
        sender.send(WorkerAlive(self._worker, self._capacity, owner, loan, self._itinerary.epoch))

    def renew(self) -> None:
        """Renew all leases."""
        if self._sender:
            self._sender.send(WorkerAlive(self._worker, self._capacity))

    def outcome(self) -> Outcome | None:
        """Return how the stay ends, None while it does not."""
        if self.lost:
            return Outcome.UNREACHABLE
        return self._itinerary.must_leave(self._loop.time(), idle=not self.held)

    def received(self, message: Message) -> None:
        """Process a message of the server."""
        now = self._loop.time()
        self._itinerary.heard(now)
        if isinstance(message, Tasks):
            self._take(message)
        elif isinstance(message, messages.Welcome):
            self.server = message.server
            self.woken.set()
        elif isinstance(message, messages.LoanRenew):
            self._itinerary.extended(message.epoch, message.term_s, now)
        elif isinstance(message, messages.Redirect):
            servers = [join_address(address) for address in message.failover]
            self._obey(Redirect(join_address(message.target), message.epoch, message.term_s, servers))
        elif isinstance(message, messages.Return):
            self._obey(Redirect(join_address(message.home)))
        elif isinstance(message, messages.Refusal) and self._refusals.allow():
            record("WARNING", "refused", f"the server refuses: {printable(message.reason)}")

    def ended(self, reason: str) -> None:
        """Note that the connection has ended."""
        self.lost = reason
        self.woken.set()

    def report(self, reports: list[Report]) -> None:
        """Report tasks; in vain if the connection has ended: the server then gives them to another worker."""
        self.held -= len(reports)
        if self._sender and not self.lost:
            self._sender.send(Reports(tuple(reports)))
        if not self.held:
            self.woken.set()

    def leave(self, returned: list[str]) -> None:
        """Say that the worker ends, and give back what has not begun."""
        self.held -= len(returned)
        if self._sender and not self.lost:
            self._sender.send(WorkerLeaving(self._worker, tuple(returned)))

    def _take(self, message: Tasks) -> None:
        if not message.lease_s:  # a legacy server: it sends no signs of life
            self._itinerary.arrived(self._loop.time(), heartbeats=False)
        self.held += len(message.tasks)
        self._add(message.tasks)

    def _obey(self, redirect: Redirect) -> None:
        """Go where a REDIRECT leads, if it is credible. Anybody may send a worker home: it would go by itself."""
        away = self._itinerary.role is Role.HOME
        trusted = self._trusted or redirect.server == self._itinerary.home
        if not self._itinerary.redirected(redirect, self._loop.time(), trusted=trusted):
            self.ignored_redirects += 1
            where = printable(redirect.server)
            text = f"a redirect to {where} is ignored: the worker is on loan, or its server may not redirect it"
            record("WARNING", "redirect_ignored", text)
            return
        self.redirected = away
        self.woken.set()
        record("INFO", "redirected", f"redirected to {printable(redirect.server)}")
