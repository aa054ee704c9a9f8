"""Carries out what the lending decides, and tells it what peers and time bring: messages ↔ engine and liveness."""

import asyncio
from collections.abc import Callable
from functools import partial

from frota.logs.log import printable, record
from frota.peers.lending import actions
from frota.peers.lending.actions import Action, Actions, LoanKey, Offer, RenewalAnswer
from frota.peers.lending.engine import Lending
from frota.peers.lending.liveness import Liveness, LivenessAction, MarkDown, MarkUp
from frota.peers.lending.policy import LEGACY_EPOCH
from frota.peers.peer_directory import PeerDirectory
from frota.peers.protocol import messages
from frota.peers.protocol.codec.dialects import Dialect
from frota.peers.protocol.messages import Address, Message
from frota.peers.server.connections import Caller
from frota.peers.server.peer_links import PeerLink
from frota.peers.server.workers import Workers

_NOT_A_PEER = "this server is not one of the configured peers"


class LendingDriver:
    """Lends and borrows workers. A loan travels as LOAN, the worker's name, and EPOCH.

    Of several workers in one message EPOCH is that of the first: those of the others follow.
    """

    def __init__(
        self,
        lending: Lending,
        liveness: Liveness,
        directory: PeerDirectory,
        links: dict[str, PeerLink],
        load: Callable[[], messages.Load],
    ) -> None:
        self.lending, self.liveness, self.directory, self._links = lending, liveness, directory, links
        self._load = load
        self._loop = asyncio.get_running_loop()
        self.workers: Workers  # set before the first use
        self.address: Address  # where this server is reached
        self.clear_address: Address | None = None  # where legacy programs reach it, if elsewhere
        self.mtls = False  # peers are authenticated, except legacy ones
        for key in links:
            liveness.add(key, self._loop.time())

    def tick(self, waiting: int) -> None:
        """Let time pass: several times a second."""
        now = self._loop.time()
        self.perform(self.lending.tick(waiting, now))
        self._live(self.liveness.tick(now))

    # Liveness

    def _live(self, decided: list[LivenessAction]) -> None:
        for action in decided:
            name, link = self.directory.name(action.peer), self._links[action.peer]
            if isinstance(action, MarkUp):
                record("INFO", "peer_up", f"peer {printable(name)} at {action.peer} responds", PEER=action.peer)
                self.lending.peer_up(name, legacy=link.dialect is not Dialect.NATIVE)
            elif isinstance(action, MarkDown):
                text = f"peer {printable(name)} at {action.peer} is down: {action.reason}; {printable(link.error)}"
                record("WARNING", "peer_down", text, PEER=action.peer)
                self.perform(self.lending.peer_down(name, self._loop.time()))
            else:
                heartbeat = messages.Heartbeat(self.lending.server, self._load())
                link.request(heartbeat, partial(self._heartbeat_answered, action.peer))

    def _heartbeat_answered(self, key: str, reply: Message | None) -> None:
        now = self._loop.time()
        if not isinstance(reply, messages.HeartbeatReply):
            self._live(self.liveness.failed(key, now))
            return
        if self._links[key].dialect is Dialect.NATIVE:
            self._named(key, reply.server)
        self._live(self.liveness.heard(key, now))

    def _named(self, key: str, name: str) -> None:
        """Learn the name of a peer: it may be another server than before."""
        if former := self.directory.rename(key, name):
            self.perform(self.lending.peer_down(former, self._loop.time()))
            if self.liveness.is_up(key):
                self.lending.peer_up(name, legacy=False)

    # Messages of peers

    def message(self, caller: Caller, message: Message) -> None:
        """Process a request of a peer."""
        now = self._loop.time()
        key = self._identify(caller, message)
        if key:
            if caller.dialect is Dialect.NATIVE:
                self._named(key, getattr(message, "server", ""))
            self._live(self.liveness.heard(key, now))
        name = self.directory.name(key) if key else ""
        if isinstance(message, messages.Heartbeat):
            self._answer_heartbeat(caller, message)
        elif not name:
            self._deny(caller, message)
        elif isinstance(message, messages.WorkerRequest):
            if caller.dialect is not Dialect.NATIVE:
                self.lending.peer_up(name, legacy=True)
            self.perform(self.lending.workers_requested(name, message.needed or 1, now), caller, message.loan)
        elif isinstance(message, messages.LoanRenew):
            self.perform(self.lending.renewal_requested(name, [LoanKey(message.loan, message.epoch)], now), caller)
        elif isinstance(message, messages.Release):
            self._released(caller, name, message)
        elif isinstance(message, messages.ReleaseCompleted):
            record(
                "INFO", "release_completed", f"{len(message.workers)} workers are back at {printable(name)}", PEER=key
            )

    def _identify(self, caller: Caller, message: Message) -> str:
        """Return the address of the peer; in clear text nobody is believed to be a server that has a certificate."""
        key = self.directory.identify(caller.tcp.address[0], message)
        believed = not self.mtls or caller.tcp.common_name is not None or key in self.directory.legacy
        return key if believed else ""

    def _answer_heartbeat(self, caller: Caller, message: messages.Heartbeat) -> None:
        if caller.dialect is Dialect.NATIVE:
            caller.send(messages.HeartbeatReply(self.lending.server, self._load()))
        else:
            caller.send(messages.HeartbeatReply(message.server))

    def _deny(self, caller: Caller, message: Message) -> None:
        if isinstance(message, messages.WorkerRequest):
            caller.send(messages.WorkersDenied(self.lending.server, message.loan, _NOT_A_PEER))
        elif isinstance(message, messages.LoanRenew):
            caller.send(messages.LoanEnded(message.loan, message.epoch, _NOT_A_PEER))
        elif isinstance(message, messages.Release):
            caller.send(messages.ReleaseAck(self.lending.server, ()))

    def _released(self, caller: Caller, name: str, message: messages.Release) -> None:
        now = self._loop.time()
        if caller.dialect is Dialect.NATIVE:
            keys = [LoanKey(worker, message.epoch) for worker in message.workers]
            caller.send(messages.ReleaseAck(self.lending.server, message.workers, message.loan, message.epoch))
            self.perform(self.lending.loans_returned(name, keys, now))
        else:
            self.perform(self.lending.release_commanded(name, message.workers, now), caller)

    # Actions

    def perform(self, decided: Actions, caller: Caller | None = None, loan: str = "") -> None:
        """Carry out what the lending decided; answers go to `caller`."""
        for action in decided:
            if isinstance(action, actions.OfferWorkers | actions.AnswerRenewal | actions.AcknowledgeRelease):
                if caller:
                    self._answer(caller, action, loan)
            elif isinstance(action, actions.Lend | actions.ExtendLoan | actions.Return | actions.Disconnect):
                self._tell_worker(action)
            else:
                self._ask_peer(action)

    def _answer(
        self,
        caller: Caller,
        action: actions.OfferWorkers | actions.AnswerRenewal | actions.AcknowledgeRelease,
        loan: str,
    ) -> None:
        server = self.lending.server
        if isinstance(action, actions.AcknowledgeRelease):
            caller.send(messages.ReleaseAck(server, tuple(action.workers)))
        elif isinstance(action, actions.AnswerRenewal):
            for worker, epoch in action.renewed:
                caller.send(messages.LoanRenewed(worker, epoch, action.term_s))
            for worker, epoch in action.refused:
                caller.send(messages.LoanEnded(worker, epoch, "the loan is over"))
        elif action.loans:
            workers = tuple(key.worker for key in action.loans)
            record(
                "INFO",
                "workers_lent",
                f"{len(workers)} workers are lent to {printable(action.peer)}",
                COUNT=len(workers),
            )
            caller.send(messages.WorkersGranted(server, workers, loan, action.loans[0].epoch, action.term_s))
        else:
            caller.send(messages.WorkersDenied(server, loan, "no worker can be spared"))

    def _tell_worker(self, action: actions.Lend | actions.ExtendLoan | actions.Return | actions.Disconnect) -> None:
        if isinstance(action, actions.Disconnect):
            self.workers.disconnect(action.worker)
        elif isinstance(action, actions.ExtendLoan):
            worker, epoch = action.loan.worker, action.loan.epoch
            self.workers.send(worker, messages.LoanRenew(worker, epoch, action.term_s, self.lending.server))
        elif isinstance(action, actions.Lend):
            self._redirect(action)
        elif home := self.directory.address(action.owner):
            self.workers.send(action.worker, messages.Return(home, action.worker))
        else:
            self.workers.disconnect(action.worker)

    def _redirect(self, action: actions.Lend) -> None:
        loan = action.loan
        target = self.directory.address(loan.borrower)
        if target is None:
            return  # the loan expires
        legacy = self.directory.key(loan.borrower) in self.directory.legacy
        redirect = messages.Redirect(
            target, self._home(legacy=legacy), self._failover(legacy=legacy),
            loan.borrower, loan.worker, loan.epoch, action.term_s,
        )  # fmt: skip
        self.workers.send(loan.worker, redirect)

    def _home(self, *, legacy: bool) -> Address:
        """Return where legacy programs, or the others, reach this server."""
        return self.clear_address if legacy and self.clear_address else self.address

    def _failover(self, *, legacy: bool) -> tuple[Address, ...]:
        """Return the peers that a worker reaches: with certificates, legacy workers only legacy peers."""
        peers = self.directory.addresses.items()
        return tuple(address for key, address in peers if not self.mtls or (key in self.directory.legacy) is legacy)

    def _ask_peer(self, action: Action) -> None:
        if isinstance(action, actions.RequestWorkers):
            self._request_workers(action)
        elif isinstance(action, actions.RenewLoans):
            for key in action.loans:
                renew = messages.LoanRenew(key.worker, key.epoch, self.lending.policy.term_s, self.lending.server)
                self._ask(action.owner, renew, partial(self._renewed, action.owner, action.sent_at, key))
        elif isinstance(action, actions.GiveBack):
            self._give_back(action)
        elif isinstance(action, actions.CompleteRelease):
            link = self._links.get(self.directory.key(action.peer))
            if link and link.dialect is Dialect.C:
                link.request(messages.ReleaseCompleted(self.lending.server, tuple(action.workers)), _ignore)

    def _request_workers(self, action: actions.RequestWorkers) -> None:
        term_s = self.lending.policy.term_s
        home = self._home(legacy=self.directory.key(action.peer) in self.directory.legacy)
        request = messages.WorkerRequest(action.count, self.lending.server, home, term_s=term_s)
        record("INFO", "workers_requested", f"{action.count} workers are requested of {printable(action.peer)}")
        self._ask(action.peer, request, partial(self._offered, action.peer, action.sent_at))

    def _give_back(self, action: actions.GiveBack) -> None:
        """Give loans back, one message for each; dialects A and B have none."""
        link = self._links.get(self.directory.key(action.owner))
        if link and link.dialect is Dialect.C:
            workers = tuple(key.worker for key in action.loans)
            link.request(messages.Release(self.lending.server, workers), _ignore)
        elif link and link.dialect is Dialect.NATIVE:
            for worker, epoch in action.loans:
                if epoch > 0:
                    link.request(messages.Release(self.lending.server, (worker,), worker, epoch), _ignore)

    def _ask(self, peer: str, request: Message, answered: Callable[[Message | None], None]) -> None:
        if link := self._links.get(self.directory.key(peer)):
            link.request(request, answered)

    def _offered(self, peer: str, sent_at: float, reply: Message | None) -> None:
        if isinstance(reply, messages.WorkersGranted):
            first = reply.epoch
            keys = [
                LoanKey(worker, first + place if first > 0 else LEGACY_EPOCH)
                for place, worker in enumerate(reply.workers)
            ]
            offer = Offer(sent_at, keys, reply.term_s)
        elif isinstance(reply, messages.WorkersDenied):
            offer = Offer(sent_at, ())
        else:
            return  # the request times out
        self.perform(self.lending.borrowing.offer_received(peer, offer, self._loop.time()))

    def _renewed(self, owner: str, sent_at: float, key: LoanKey, reply: Message | None) -> None:
        if isinstance(reply, messages.LoanRenewed):
            answer = RenewalAnswer(sent_at, [key], (), reply.term_s)
        elif isinstance(reply, messages.LoanEnded):
            answer = RenewalAnswer(sent_at, (), [key], 0.0)
        else:
            return
        self.perform(self.lending.borrowing.renewal_answered(owner, answer, self._loop.time()))


def _ignore(_reply: Message | None) -> None:
    pass
