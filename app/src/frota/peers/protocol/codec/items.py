"""Tasks, reports and results: in batches of the native dialect, and one a message in the legacy ones. No I/O.

This is the hot path: plain functions, one dict for each item. `dialects` has all other messages in a table.
"""

from decimal import Decimal
from typing import Any

from frota.core.errors import MalformedMessage
from frota.core.trace import traceparent
from frota.peers.protocol import money
from frota.peers.protocol.codec.fields import (
    integer_reader,
    read_cpf,
    read_error,
    read_object,
    read_task_id,
    read_text,
    read_trace,
    read_user,
    wrong_type,
)
from frota.peers.protocol.messages import (
    KINDS,
    MAX_ERROR_CHARACTERS,
    MAX_USER_CHARACTERS,
    NOOP,
    QUERY,
    STATES,
    UPDATE,
    BalanceChange,
    DeadTask,
    Rejection,
    Report,
    Result,
    Task,
)

Fields = dict[str, Any]
_read_count = integer_reader(0)


def read_task(value: Any, _key: str = "") -> Task:
    """Read a task, which need not have an id."""
    if type(value) is not dict:
        raise wrong_type("a task", "an object", value)
    get = value.get
    kind, id_, header = get("TASK"), get("TASK_ID"), get("TRACEPARENT")
    account, balance = "", None
    if kind == QUERY:
        account = read_user(get("USER"), "USER")
    elif kind == UPDATE:
        account, balance = read_cpf(get("CPF"), "CPF"), money.balance(get("SALDO"), "SALDO")
    elif kind != NOOP:
        raise MalformedMessage(f"TASK must be one of {', '.join(KINDS)}")
    id_ = "" if id_ is None else read_task_id(id_, "TASK_ID")
    trace = "" if header is None else read_trace(header, "TRACEPARENT")
    return Task(kind, account, balance, id_, "" if trace == id_ else trace)


def read_leased_task(value: Any, key: str = "") -> Task:
    """Read a task of a batch, which has an id."""
    task = read_task(value, key)
    return task if task.id else task._replace(id=read_task_id(None, "TASK_ID"))


def read_submitted_task(value: Any, key: str = "") -> Task | Rejection:
    """Read a task of a SUBMIT: a malformed one rejects only itself."""
    try:
        return read_task(value, key)
    except MalformedMessage as malformed:
        return Rejection(str(malformed))


def write_task(task: Task) -> Fields:
    """Return the JSON of a task in the native dialect."""
    fields = {"TASK": task.kind}
    if task.id:
        fields["TASK_ID"] = task.id
    if task.kind == QUERY:
        fields["USER"] = task.account
    elif task.kind == UPDATE:
        fields["CPF"] = task.account
        fields["SALDO"] = str(task.balance)
    if task.trace:
        fields["TRACEPARENT"] = _traceparent(task)
    return fields


def _traceparent(task: Task) -> str:
    # The span is the task's: os.urandom for each would take longer than all the rest of its message.
    return f"00-{task.trace}-{task.id[16:]}-01" if task.id else traceparent(task.trace)


def write_legacy_task(task: Task) -> Fields:
    """Return the JSON of a task in a legacy dialect."""
    if task.kind == UPDATE:
        return {"TASK": UPDATE, "CPF": task.account, "SALDO": task.balance}
    return {"TASK": QUERY, "USER": task.account} if task.kind == QUERY else {"TASK": task.kind}


def read_report(value: Any, _key: str = "") -> Report:
    """Read a report of a batch."""
    if type(value) is not dict:
        raise wrong_type("a report", "an object", value)
    get = value.get
    id_, status = read_task_id(get("TASK_ID"), "TASK_ID"), get("STATUS")
    if status == "OK":
        balance = get("SALDO")
        return Report(True, id_, None if balance is None else money.balance(balance, "SALDO"))
    if status != "NOK":
        raise MalformedMessage("STATUS must be OK or NOK")
    return Report(False, id_, None, read_error(get("ERROR", ""), "ERROR"), get("RETRY") is True)


def write_report(report: Report) -> Fields:
    """Return the JSON of a report in the native dialect."""
    if not report.ok:
        fields = {"STATUS": "NOK", "TASK_ID": report.id, "ERROR": report.error[:MAX_ERROR_CHARACTERS]}
        return {**fields, "RETRY": True} if report.retry else fields
    if report.balance is None:
        return {"STATUS": "OK", "TASK_ID": report.id}
    return {"STATUS": "OK", "TASK_ID": report.id, "SALDO": str(report.balance)}


def read_legacy_report(fields: Fields) -> Report:
    """Read a report that is a message of its own; what it says beside STATUS is optional."""
    get = fields.get
    kind, account, balance, id_ = get("TASK"), get("USER"), get("SALDO"), get("TASK_ID")
    if kind is not None and kind not in KINDS:
        raise MalformedMessage(f"TASK must be one of {', '.join(KINDS)}")
    return Report(
        ok=fields["STATUS"] == "OK",
        id="" if id_ is None else read_task_id(id_, "TASK_ID"),
        balance=None if balance is None else money.balance(balance, "SALDO"),
        error=read_error(get("ERROR", ""), "ERROR"),
        kind=kind or "",
        account="" if account is None else read_text(account, "USER", MAX_USER_CHARACTERS),
    )


def write_legacy_report(report: Report, worker: str, dialect: str) -> Fields:
    """Return the JSON of a report in a legacy dialect."""
    fields: Fields = {"STATUS": "OK" if report.ok else "NOK"}
    if report.balance is not None and dialect != "C":
        fields["SALDO"] = report.balance
    if report.kind and (dialect == "C" or not report.ok):
        fields["TASK"] = report.kind
    if not report.ok:
        fields["ERROR"] = report.error[:MAX_ERROR_CHARACTERS]
    if dialect == "B":
        fields |= {"USER": report.account} if report.account else {}
        fields["WORKER_ID"] = worker
    elif dialect == "C":
        fields["WORKER_UUID"] = worker
    return fields


def read_submitted(value: Any, key: str) -> str | Rejection:
    """Read a task's part of the reply to a SUBMIT."""
    if type(value) is dict:
        return Rejection(read_error(value.get("ERROR"), "ERROR"))
    return read_task_id(value, key)


def write_submitted(task: str | Rejection) -> str | Fields:
    """Return the JSON of a task's part of the reply to a SUBMIT."""
    return task if isinstance(task, str) else {"ERROR": task.reason}


def read_result(value: Any, key: str) -> Result:
    """Read the result of a task."""
    get = read_object(value, key).get
    id_, state, balance = read_task_id(get("TASK_ID"), "TASK_ID"), get("STATE"), get("SALDO")
    if state not in STATES:
        raise MalformedMessage(f"STATE must be one of {', '.join(STATES)}")
    balance = None if balance is None else money.balance(balance, "SALDO")
    attempts = _read_count(get("ATTEMPTS", 0), "ATTEMPTS")
    return Result(id_, state, get("STATUS") == "OK", balance, read_error(get("ERROR", ""), "ERROR"), attempts)


def write_result(result: Result) -> Fields:
    """Return the JSON of a result."""
    fields: Fields = {"TASK_ID": result.id, "STATE": result.state}
    if result.ok or result.error:
        fields["STATUS"] = "OK" if result.ok else "NOK"
    if result.balance is not None:
        fields["SALDO"] = str(result.balance)
    if result.error:
        fields["ERROR"] = result.error
    if result.attempts:
        fields["ATTEMPTS"] = result.attempts
    return fields


def read_dead_task(value: Any, key: str) -> DeadTask:
    """Read a task of the dead list."""
    task, get = read_leased_task(value, key), value.get
    error, attempts = read_error(get("ERROR", ""), "ERROR"), _read_count(get("ATTEMPTS"), "ATTEMPTS")
    return DeadTask(task, error, attempts, _read_count(get("AT_MS"), "AT_MS"))


def write_dead_task(dead: DeadTask) -> Fields:
    """Return the JSON of a task of the dead list."""
    return {**write_task(dead.task), "ERROR": dead.error, "ATTEMPTS": dead.attempts, "AT_MS": dead.at_ms}


def read_change(value: Any, key: str) -> BalanceChange:
    """Read a row of the balance history."""
    get = read_object(value, key).get
    balance: Decimal = money.balance(get("SALDO"), "SALDO")
    return BalanceChange(read_task_id(get("TASK_ID"), "TASK_ID"), balance, _read_count(get("AT_MS"), "AT_MS"))


def write_change(change: BalanceChange) -> Fields:
    """Return the JSON of a row of the balance history."""
    return {"TASK_ID": change.task_id, "SALDO": str(change.balance), "AT_MS": change.at_ms}
