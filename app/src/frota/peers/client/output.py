"""What the commands for people print: text, or one JSON object a line."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from frota.logs.log import printable
from frota.peers.protocol.messages import DEAD, DONE, BalanceChange, DeadTask, Result


def result(found: Result, account: str, *, as_json: bool) -> str:
    """Return a result as a line."""
    if as_json:
        fields: dict[str, Any] = {"id": found.id, "state": found.state}
        if found.state in (DONE, DEAD):
            fields["ok"] = found.ok
        if found.balance is not None:
            fields["saldo"] = str(found.balance)
        if found.error:
            fields["error"] = found.error
        return json.dumps({**fields, "attempts": found.attempts}, ensure_ascii=False)
    if found.ok:
        return f"{account or found.id}: {'OK' if found.balance is None else found.balance}"
    state = "failed" if found.state == DONE else found.state.lower()
    return printable(f"{account or found.id}: {state}{': ' + found.error if found.error else ''}")


def submitted(task_id: str, *, as_json: bool) -> str:
    """Return the id of an accepted task as a line."""
    return json.dumps({"id": task_id}) if as_json else task_id


def dead_task(dead: DeadTask, *, as_json: bool) -> str:
    """Return a dead task as a line."""
    task = dead.task
    if as_json:
        saldo = {} if task.balance is None else {"saldo": str(task.balance)}
        fields = {"id": task.id, "kind": task.kind, "account": task.account, **saldo}
        return json.dumps(
            {**fields, "error": dead.error, "attempts": dead.attempts, "at": _time(dead.at_ms)}, ensure_ascii=False
        )
    return printable(
        f"{_time(dead.at_ms)}  {task.id}  {task.kind} {task.account}  {dead.attempts} attempts: {dead.error}"
    )


def change(row: BalanceChange, *, as_json: bool) -> str:
    """Return a row of the balance history as a line."""
    if as_json:
        return json.dumps({"at": _time(row.at_ms), "saldo": str(row.balance), "task": row.task_id})
    return f"{_time(row.at_ms)}  {row.balance:>14}  {row.task_id}"


def status(fields: Mapping[str, Any], *, as_json: bool) -> str:
    """Return a server's status: one line of JSON, or some lines of text."""
    if as_json:
        return json.dumps(fields, ensure_ascii=False)
    return "\n".join(printable(line) for line in _status_lines(fields))


def _status_lines(fields: Mapping[str, Any]) -> list[str]:
    lines = [f"server    {fields.get('server')} at {fields.get('address')}, version {fields.get('version')}"]
    if not fields.get("durable", True):
        lines.append("          MEMORY MODE: every task and result is lost when the server ends")
    queue, tasks, workers = (fields.get(part) or {} for part in ("queue", "tasks", "workers"))
    saturated = "saturated" if queue.get("saturated") else "not saturated"
    service_ms = queue.get("service_us", 0) / 1000
    own = _counts(workers, own="own", own_here="of them here", lent="lent", absent="absent")
    borrowed = _counts(workers, borrowed="borrowed", promised="promised")
    lines += [
        f"queue     {_counts(queue, waiting='waiting', leased='with workers', dead='dead')}",
        f"          a new task waits {queue.get('wait_ms')} ms, and takes {service_ms:.3g} ms; {saturated}",
        f"tasks     {_counts(tasks, submitted='submitted', done='done', failed_attempts='failed attempts')}",
        f"workers   {own}; {borrowed}; {_counts(workers, idle='idle', busy='busy')}",
    ]
    for peer in fields.get("peers") or ():
        lines += _peer_lines(peer)
    return lines


def _peer_lines(peer: Mapping[str, Any]) -> list[str]:
    state = "up" if peer.get("up") else "down"
    dialect = "" if peer.get("dialect") == "N" else f", legacy dialect {peer.get('dialect')}"
    loans = _counts(peer, lent="workers lent to it", borrowed="borrowed from it")
    lines = [f"peer      {peer.get('server')} at {peer.get('address')}{dialect}, {state}; {loans}"]
    if peer.get("error") or not peer.get("up"):
        lines.append(f"          {peer.get('error') or 'has not answered yet'}")
    if workers := peer.get("workers"):
        queue = _counts(peer.get("queue") or {}, waiting="waiting", leased="with workers", wait_ms="ms of wait")
        lines.append(f"          {queue}; {_counts(workers, own='own', idle='idle', busy='busy')}")
    return lines


def _counts(fields: Mapping[str, Any], **names: str) -> str:
    """Return counts with what they count."""
    return ", ".join(f"{fields.get(key)} {name}" for key, name in names.items())


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
