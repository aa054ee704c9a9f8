"""The requests of people's commands."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from frota.logs import log
from frota.peers.protocol import requests
from frota.peers.protocol.requests import Reply, Request, RequestFailed
from frota.peers.server.connections import Caller
from frota.peers.server.results import Results, Submission


class ClientRequests:
    """Answers requests; `status` returns the server's status as a JSON object."""

    def __init__(self, results: Results, status: Callable[[], Mapping[str, Any]], max_wait_s: float) -> None:
        self._results, self._status, self.max_wait_s = results, status, max_wait_s
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False

    def __call__(self, caller: Caller, request: Request) -> None:
        """Process a request; its reply may come later."""
        if isinstance(request, requests.Submit):
            self._submit(caller, request)
        elif isinstance(request, requests.GetStatus):
            self._reply(caller, requests.Status(request.id, self._status()))
        else:
            task = asyncio.get_running_loop().create_task(self._answer(caller, request))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def stop(self) -> None:
        """Reject what waits."""
        self._stopping = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _submit(self, caller: Caller, request: requests.Submit) -> None:
        def done(outcome: Submission) -> None:
            self._reply(caller, requests.Submitted(request.id, tuple(outcome)))

        if self._stopping:
            self._reply(caller, RequestFailed(request.id, "the server stops: try again"))
        else:
            self._results.submit(request.tasks, request.trace, done)

    async def _answer(self, caller: Caller, request: Request) -> None:
        try:
            reply = await self._executed(request)
        except asyncio.CancelledError:
            reply = RequestFailed(request.id, "the server stops: ask again")
        except OSError as error:
            reply = RequestFailed(request.id, f"try again: {error}")
        except Exception as error:  # noqa: BLE001 -- the edge of a task: the client gets an answer
            log.record("ERROR", "internal_error", "a request failed", error=error, PEER=caller.tcp.name)
            reply = RequestFailed(request.id, "internal error, see the server's journal")
        self._reply(caller, reply)

    def _executed(self, request: Request) -> Coroutine[None, None, Reply]:
        if isinstance(request, requests.GetResults):
            return self._get_results(request)
        if isinstance(request, requests.GetHistory):
            return self._history(request)
        return self._dead(request)

    async def _get_results(self, request: requests.GetResults) -> Reply:
        wait_s = min(request.wait_s, self.max_wait_s)
        return requests.Results(request.id, tuple(await self._results.results(request.task_ids, wait_s)))

    async def _history(self, request: requests.GetHistory) -> Reply:
        commit = self._results.commit
        changes = await commit.call(commit.store.history, request.cpf, request.limit)
        return requests.History(request.id, tuple(changes))

    async def _dead(self, request: Request) -> Reply:
        if isinstance(request, requests.RetryDead):
            return requests.DeadRetried(request.id, await self._results.retry(request.task_ids))
        if isinstance(request, requests.DropDead):
            return requests.DeadDropped(request.id, await self._results.drop(request.task_ids))
        if isinstance(request, requests.GetDead):
            return requests.DeadTasks(request.id, tuple(await self._results.dead(request.limit, request.after)))
        return RequestFailed(request.id, "the server does not know this request")

    @staticmethod
    def _reply(caller: Caller, reply: Reply) -> None:
        caller.send(reply)
        caller.answered()
