"""`frota peers submit | status | dead | history`."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TextIO

from frota.core import trace
from frota.core.errors import MalformedMessage, ServerUnavailable, StateError
from frota.peers.client import output
from frota.peers.client.connection import POLL_S, PeersClient
from frota.peers.client.servers import Servers
from frota.peers.client_settings import ClientSettings
from frota.peers.protocol import money, requests
from frota.peers.protocol.codec.items import read_task
from frota.peers.protocol.messages import (
    DEAD,
    DONE,
    MAX_BATCH,
    NOOP,
    QUERY,
    UNKNOWN,
    UPDATE,
    DeadTask,
    Rejection,
    Result,
    Task,
)

_CLEAR = "\x1b[H\x1b[2J"
_ENDED = (DONE, DEAD, UNKNOWN)


def submit(args: argparse.Namespace, config: ClientSettings) -> int:
    """Submit tasks, and print their results, or with --no-wait their ids; 1 if a task fails or is rejected."""
    tasks = _tasks(args)
    with closing(PeersClient(config)) as client:
        outcome = client.submit(tasks, trace.from_environment())
        rejected = _print_rejections(outcome, tasks)
        accepted = [(one, task) for one, task in zip(outcome, tasks, strict=True) if isinstance(one, str)]
        if args.no_wait:
            for task_id, _ in accepted:
                print(output.submitted(task_id, as_json=args.json))
            return int(rejected > 0)
        failed = _print_results(client, accepted, args)
    return int(rejected + failed > 0)


def result(args: argparse.Namespace, config: ClientSettings) -> int:
    """Print the results of tasks; 1 if one has failed, or has none."""
    with closing(PeersClient(config)) as client:
        return int(_print_results(client, [(task_id, Task("")) for task_id in args.ids], args) > 0)


def status(args: argparse.Namespace, config: ClientSettings) -> int:
    """Print the status of the server and its peers, with --watch again and again, also after a restart."""
    with closing(Servers(config)) as servers:
        print(output.status(servers.status(), as_json=args.json), flush=True)
        while args.watch:
            time.sleep(args.interval)
            try:
                text = output.status(servers.status(), as_json=args.json)
            except ServerUnavailable as error:
                print(f"frota: {error}", file=sys.stderr)
                continue
            print((_CLEAR if not args.json and sys.stdout.isatty() else "") + text, flush=True)
    return 0


def dead(args: argparse.Namespace, config: ClientSettings) -> int:
    """List dead tasks, queue them again, or delete them."""
    with closing(PeersClient(config)) as client:
        if args.action == "list":
            for task in _dead_list(client, args.last):
                print(output.dead_task(task, as_json=args.json))
            return 0
        ids = args.ids or [one.task.id for one in _dead_list(client, 10**9)]
        done: list[str] = []
        for begin in range(0, len(ids), MAX_BATCH):
            part = tuple(ids[begin : begin + MAX_BATCH])
            if args.action == "retry":
                done += client.ask(requests.RetryDead(client.next_id(), part), requests.DeadRetried).task_ids
            else:
                done += client.ask(requests.DropDead(client.next_id(), part), requests.DeadDropped).task_ids
    for task_id in done:
        print(output.submitted(task_id, as_json=args.json))
    missing = set(ids) - set(done)
    for task_id in missing:
        print(f"{task_id}: not in the dead list", file=sys.stderr)
    return int(bool(missing))


def history(args: argparse.Namespace, config: ClientSettings) -> int:
    """Print the changes of an account's balance, the newest first."""
    with closing(PeersClient(config)) as client:
        reply = client.ask(requests.GetHistory(client.next_id(), args.cpf, args.last), requests.History)
    for row in reply.changes:
        print(output.change(row, as_json=args.json))
    return 0


def _tasks(args: argparse.Namespace) -> list[Task]:
    """Return the tasks of the command line or of a file. Raises StateError for malformed ones."""
    what = args.what
    if what == "query" and (args.cpf or args.user):
        return [Task(QUERY, args.cpf or args.user)]
    if what == "update" and args.cpf and args.saldo:
        return [Task(UPDATE, args.cpf, _balance(args.saldo))]
    if what == "noop":
        return [Task(NOOP)] * args.count
    if what in ("query", "update"):
        raise StateError(f"{what} needs {'--cpf or --user' if what == 'query' else '--cpf and --saldo'}")
    if what == "-":
        return _read(sys.stdin, "standard input")
    with Path(what).open(encoding="utf-8") as file:
        return _read(file, what)


def _balance(text: str) -> Decimal:
    try:
        return money.balance(text, "--saldo")
    except MalformedMessage as malformed:
        raise StateError(str(malformed)) from None


def _read(file: TextIO, name: str) -> list[Task]:
    """Read tasks as lines of JSON, as they travel: {"TASK": "QUERY", "USER": "Ana"}. Raises StateError."""
    tasks = []
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                tasks.append(read_task(json.loads(line, parse_float=Decimal)))
            except ValueError as error:
                raise StateError(f"{name}:{number}: {error}") from None
    return tasks


def _print_rejections(outcome: Sequence[str | Rejection], tasks: Sequence[Task]) -> int:
    rejections = [(one, task) for one, task in zip(outcome, tasks, strict=True) if isinstance(one, Rejection)]
    for rejection, task in rejections:
        print(f"frota: {task.kind} {task.account} is rejected: {rejection.reason}", file=sys.stderr)
    return len(rejections)


def _print_results(client: PeersClient, accepted: Sequence[tuple[str, Task]], args: argparse.Namespace) -> int:
    """Print each result when it is there; return how many tasks have failed, or have no result in time."""
    deadline = time.monotonic() + args.timeout
    failed = 0
    for begin in range(0, len(accepted), MAX_BATCH):
        part = accepted[begin : begin + MAX_BATCH]
        for found, (_, task) in zip(_await(client, [task_id for task_id, _ in part], deadline), part, strict=True):
            failed += not found.ok
            print(output.result(found, task.account, as_json=args.json))
    return failed


def _await(client: PeersClient, ids: Sequence[str], deadline: float) -> list[Result]:
    while True:
        left = deadline - time.monotonic()
        results = client.results(ids, max(0.0, min(left, POLL_S)))
        if left <= 0 or all(found.state in _ENDED for found in results):
            return results
        time.sleep(0.05)  # a task of another server: this one does not wait for it


def _dead_list(client: PeersClient, limit: int) -> list[DeadTask]:
    found: list[DeadTask] = []
    while len(found) < limit:
        wanted = min(MAX_BATCH, limit - len(found))
        after = found[-1].task.id if found else ""
        part = client.ask(requests.GetDead(client.next_id(), wanted, after), requests.DeadTasks).tasks
        found += part
        if len(part) < wanted:
            break
    return found
