"""The workers of a server: how they arrive, report, move on and leave, in each dialect."""

import asyncio
from collections.abc import Callable, Sequence

from frota.peers.lending.actions import Actions
from frota.peers.lending.engine import Lending
from frota.peers.lending.membership import Reach
from frota.peers.lending.policy import LEGACY_EPOCH
from frota.peers.protocol import messages
from frota.peers.protocol.codec.dialects import Dialect
from frota.peers.protocol.messages import Message, Report
from frota.peers.server.event_log import EventLog
from frota.peers.server.hand_out import HandOut, Link, Worker
from frota.peers.server.results import Results, needs_execution
from frota.peers.server.storage.group_commit import Ending
from frota.peers.tasks import Task, Tasks, Verdict

_ACCEPTED, _LATE = Verdict.ACCEPTED, Verdict.ACCEPTED_LATE


class Workers:
    """All workers that are connected. `perform` carries out what the lending decides."""

    def __init__(
        self, tasks: Tasks, lending: Lending, results: Results, event_log: EventLog, perform: Callable[[Actions], None]
    ) -> None:
        self._tasks, self._lending, self._results, self._event_log = tasks, lending, results, event_log
        self._perform = perform
        self.owner_of: Callable[[str], str] = str  # the name of an owner that is given by its address
        self.mtls = False  # workers are authenticated, except legacy ones
        self._loop = asyncio.get_running_loop()
        self._workers: dict[str, Worker] = {}
        self.hand_out = HandOut(tasks, lending, self._done_here)

    def __len__(self) -> int:
        return len(self._workers)

    # Arrival

    def alive(self, link: Link, message: messages.WorkerAlive, dialect: Dialect, *, named: bool) -> None:
        """Process an ALIVE: a worker arrives, asks for a task (dialect C), or renews its leases."""
        now = self._loop.time()
        worker = self._workers.get(message.worker)
        if (worker is None or worker.link is not link) and self._is_stolen(link, message.worker):
            self._event_log.forbidden(link.name, f"worker {message.worker} is known with a certificate")
            link.send(messages.Refusal(f"worker {message.worker} is known with a certificate: choose another id"))
            link.end("a worker's id without its certificate")
        elif dialect is Dialect.C:
            self._poll(link, message, now)
        elif worker is None or worker.link is not link:
            self._arrive(Worker(message.worker, link, message.capacity, now), message, named=named)
        elif worker.native:
            worker.heard_at = now
            self._tasks.renew(worker.id, now, message.holds)
            self._welcome(worker)
        elif not self._tasks.held_by(worker.id):  # it did not go where it was told to
            self._arrive(worker, message, named=named)

    def _is_stolen(self, link: Link, worker_id: str) -> bool:
        """Tell whether somebody without a certificate gives the id of a worker that has one."""
        if not self.mtls or link.secure:
            return False
        member = self._lending.members.get(worker_id)
        if member is None or member.reach is Reach.LEGACY:
            return False
        return not self._lending.is_legacy(member.owner)  # that has promised it

    def _arrive(self, worker: Worker, message: messages.WorkerAlive, *, named: bool) -> None:
        former = self._workers.get(worker.id)
        if former and former.link is not worker.link and not former.polls:
            self._workers[worker.id] = worker  # first: the end of the former connection is not that of the worker
            former.link.end(f"replaced: worker {worker.id} has connected again from {worker.link.name}")
        self._workers[worker.id] = worker
        self._results.failed(self._tasks.release(worker.id, "its worker has connected again", message.holds or ()))
        epoch = message.epoch or (LEGACY_EPOCH if message.owner and not worker.native else 0)
        actions = self._lending.worker_arrived(
            worker.id, worker.heard_at, self.owner_of(message.owner), epoch, self._reach(worker, named=named)
        )
        self._tasks.renew(worker.id, worker.heard_at)
        if self._tasks.held_by(worker.id) and self._lending.may_get_tasks(worker.id):
            self._lending.worker_busy(worker.id, worker.heard_at)
        member = self._lending.members.get(worker.id)
        worker.borrowed = member is not None and member.owner != self._lending.server
        self._event_log.worker_arrived(worker.id, worker.link.name, member.owner if member else "")
        self._welcome(worker)
        self._perform(actions)
        self.hand_out.offer(worker)

    def _reach(self, worker: Worker, *, named: bool) -> Reach:
        if not (named and worker.capacity):
            return Reach.NONE
        if not self.mtls:
            return Reach.ALL
        return Reach.NATIVE if worker.link.secure else Reach.LEGACY

    def _poll(self, link: Link, message: messages.WorkerAlive, now: float) -> None:
        worker = self._workers.get(message.worker)
        if worker is None or not worker.polls:
            worker = Worker(message.worker, link, 0, now, polls=True)
            self._arrive(worker, message, named=True)
        worker.link, worker.heard_at = link, now
        self._results.failed(self._tasks.release(worker.id, "its worker asks for another task"))
        self._idle(worker)
        if worker.move:
            self._move(worker, worker.move)
        elif link.fits(messages.NoTask):
            self.hand_out.poll(worker)

    def _welcome(self, worker: Worker) -> None:
        if worker.native and worker.link.fits(messages.Welcome):
            worker.link.send(messages.Welcome(self._lending.server, self._tasks.policy.lease_s))

    # Reports

    def reports(self, link: Link, message: messages.Reports, dialect: Dialect) -> int:
        """Process reports, of which a rejected one is answered; return how many are accepted."""
        worker = self._workers.get(message.worker)
        if worker is None or (worker.link is not link and not worker.polls):
            link.send(messages.Refusal(f"worker {message.worker} is not connected: it has to say ALIVE first"))
            return 0
        reports: Sequence[Report] = message.reports
        if dialect is Dialect.C:
            worker.heard_at = self._loop.time()
            held = self._tasks.held(worker.id)
            if not held:
                link.send(messages.Refusal(f"worker {worker.id} has no task: its lease has ended, or it has reported"))
                return 0
            reports = [reports[0]._replace(id=held[0].id)]
            self._results.acknowledge(held[0].id, lambda: link.send(messages.ReportAck()))
        accepted, rejected = self._process(worker, reports)
        if rejected:
            self._event_log.reports_rejected(worker.id, link.name, rejected)
            link.send(messages.Refusal(f"worker {worker.id} does not have the task {rejected[0]}"))
        self._free(worker)
        return accepted

    def _process(self, worker: Worker, reports: Sequence[Report]) -> tuple[int, list[str]]:
        """Take reports into account; return how many are accepted, and the ids of those that are rejected."""
        now, get, report_ = self._loop.time(), self._tasks.get, self._tasks.report
        endings: list[Ending] = []
        failed: list[Task] = []
        rejected: list[str] = []
        begun_at = now
        for report in reports:
            task = get(report.id)
            if task is None:
                rejected.append(report.id)
            elif report.retry:
                verdict = self._tasks.fail(report.id, worker.id, report.error)
                (failed.append(task) if verdict is _ACCEPTED else rejected.append(report.id))
            else:
                payload: messages.Task = task.payload  # type: ignore[assignment]
                verdict = report_(report.id, worker.id, payload, now)  # the payload until the result is durable
                if verdict is _ACCEPTED or verdict is _LATE:
                    begun_at = min(begun_at, task.handed_at)
                    execute = report.ok and needs_execution(payload, report.balance, native=worker.native)
                    endings.append(Ending(report, payload if execute else None, worker.id))
                elif verdict is not Verdict.DUPLICATE:
                    rejected.append(report.id)
        if endings:
            seconds = now - max(worker.reported_at, begun_at)
            self._lending.saturation.service.record(max(seconds, 1e-6), len(endings))
            self._results.commit.finish(endings)
        worker.reported_at = now
        self._results.failed(failed)
        return len(endings) + len(failed), rejected

    def _done_here(self, worker_id: str, report: Report) -> None:
        self._tasks.report(report.id, worker_id, None, self._loop.time())
        self._results.commit.finish([Ending(report)])

    def _free(self, worker: Worker) -> None:
        self._idle(worker)
        if worker.move and not self._tasks.held_by(worker.id):
            self._move(worker, worker.move)
        elif not worker.polls:
            self.hand_out.offer(worker)

    def _idle(self, worker: Worker) -> None:
        if not self._tasks.held_by(worker.id):
            self._perform(self._lending.worker_idle(worker.id, self._loop.time()))

    # Departure

    def send(self, worker_id: str, message: Message) -> None:
        """Send a REDIRECT, RETURN or LOAN_RENEW to a worker, a move as soon as it fits."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return
        if isinstance(message, messages.LoanRenew):
            if worker.native and worker.link.fits(messages.LoanRenew):
                worker.link.send(message)
            return
        self.hand_out.withdraw(worker)
        worker.move = message
        if worker.link.fits(type(message)):
            self._move(worker, message)

    def _move(self, worker: Worker, message: Message) -> None:
        if not worker.link.fits(type(message)):
            return
        worker.move = None
        worker.link.send(message)
        if worker.polls:
            self._remove(worker, "it was sent to another server")

    def leaving(self, message: messages.WorkerLeaving) -> None:
        """Take back what a worker has not begun; it gets no more tasks."""
        if worker := self._workers.get(message.worker):
            worker.capacity = 0
            self.hand_out.withdraw(worker)
            self._tasks.give_back(worker.id, message.returned)
            if member := self._lending.members.get(worker.id):
                member.reach = Reach.NONE
            self._idle(worker)
            self.hand_out.schedule()

    def left(self, link: Link, worker_id: str) -> None:
        """Note that a lasting connection is closed."""
        worker = self._workers.get(worker_id)
        if worker is not None and worker.link is link and not worker.polls:
            self._remove(worker, "its worker has left")

    def disconnect(self, worker_id: str) -> None:
        """Close the connection of a worker that has not left in time."""
        if worker := self._workers.get(worker_id):
            if worker.polls:
                self._remove(worker, "its worker was sent home")
            else:
                worker.link.end("the worker has not gone where it was sent")

    def sweep(self) -> None:
        """End leases and forget workers that do not ask any more; call it once a second."""
        now = self._loop.time()
        if expired := self._tasks.expire(now):
            self._results.failed(expired)
            for worker in list(self._workers.values()):
                self._after_expiry(worker, now)

    def forget_silent(self, poll_timeout_s: float) -> None:
        """Note that workers of dialect C that have not asked for so long have left."""
        oldest = self._loop.time() - poll_timeout_s
        for worker in [one for one in self._workers.values() if one.polls and one.heard_at < oldest]:
            if not self._tasks.held_by(worker.id):
                self._remove(worker, "its worker is silent")

    def _after_expiry(self, worker: Worker, now: float) -> None:
        if self._tasks.held_by(worker.id):
            return
        silent = not worker.native or now - worker.heard_at > self._tasks.policy.lease_s
        if worker.polls or not silent:
            self._free(worker)
        elif not worker.link.fits(messages.Tasks) or worker.native:
            worker.link.end("the worker has not reported within its lease")

    def _remove(self, worker: Worker, reason: str) -> None:
        del self._workers[worker.id]
        self.hand_out.withdraw(worker)
        self._results.failed(self._tasks.release(worker.id, reason))
        self._event_log.worker_left(worker.id, worker.link.name, reason)
        self._perform(self._lending.worker_left(worker.id, self._loop.time()))
