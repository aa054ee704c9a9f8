"""The dialects: the table of the messages' JSON, and from JSON to messages and back. No I/O.

Each row of the table is one message in the dialects it names: its keys in the order of the wire, each with a constant
text, by which the message is recognised, or with the attribute that it carries. Where several rows have the same
constants, `mark` is the key by whose presence a row is recognised.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from frota.core.errors import MalformedMessage
from frota.core.trace import traceparent
from frota.peers.protocol.codec import items
from frota.peers.protocol.codec.fields import (
    Field,
    address,
    address_pair,
    addresses,
    error,
    extension,
    integer,
    list_of,
    load,
    objects_with,
    optional,
    read_cpf,
    read_error,
    read_object,
    read_task_id,
    read_text,
    read_trace,
    seconds,
    task_ids,
    text,
    wrong_type,
)
from frota.peers.protocol.codec.items import Fields
from frota.peers.protocol.framing import Frame
from frota.peers.protocol.messages import (
    KINDS,
    MAX_BATCH,
    MAX_NAME_CHARACTERS,
    Heartbeat,
    HeartbeatReply,
    LoanEnded,
    LoanRenew,
    LoanRenewed,
    Message,
    NoTask,
    Redirect,
    Refusal,
    Release,
    ReleaseAck,
    ReleaseCompleted,
    ReportAck,
    Reports,
    Return,
    Tasks,
    Welcome,
    WorkerAlive,
    WorkerLeaving,
    WorkerRequest,
    WorkersDenied,
    WorkersGranted,
)
from frota.peers.protocol.money import InexactNumber, parse_exactly
from frota.peers.protocol.requests import (
    DeadDropped,
    DeadRetried,
    DeadTasks,
    DropDead,
    GetDead,
    GetHistory,
    GetResults,
    GetStatus,
    History,
    RequestFailed,
    Results,
    RetryDead,
    Status,
    Submit,
    Submitted,
)


class Dialect(StrEnum):
    """A to C are those of the legacy programs; the native one extends A."""

    A = "A"
    B = "B"
    C = "C"
    NATIVE = "N"


class Misuse(RuntimeError):
    """A message was to be sent that the dialect does not have, or that does not fit the state: a defect."""


class Decoded(NamedTuple):
    """A message, and the dialects that have it, the likeliest first."""

    message: Message
    dialects: str


class Row(NamedTuple):
    """A message in some dialects: its keys, of which some are constants and some are fields."""

    dialects: str
    kind: Callable[..., Message]
    mark: str
    keys: dict[str, Any]
    constants: tuple[tuple[str, str], ...]
    fields: tuple[tuple[str, Field], ...]
    extensions: frozenset[str]  # keys that only the native dialect has


def row(dialects: str, kind: Callable[..., Message], mark: str = "", /, **keys: Any) -> Row:
    """Return a row of the table."""
    constants = tuple((key, value) for key, value in keys.items() if isinstance(value, str))
    fields = tuple((key, value) for key, value in keys.items() if isinstance(value, Field))
    return Row(dialects, kind, mark, keys, constants, fields, frozenset(key for key, field in fields if field.native))


_WORKER, _SERVER, _LOAD, _ID = text("worker"), text("server"), load("load"), integer("id")
_ALIVE: dict[str, Any] = {"WORKER": "ALIVE"}
_LOAN: dict[str, Any] = {"LOAN": extension(text("loan")), "EPOCH": extension(integer("epoch"))}
_TERM: dict[str, Any] = {**_LOAN, "TERM_S": extension(seconds("term_s"))}
_LENT = list_of("workers", read_text)

TABLE = (
    # Worker → server
    row("A", WorkerAlive, **_ALIVE, WORKER_UUID=optional(_WORKER)),
    row("AB", WorkerAlive, "WORKER_ID", **_ALIVE, WORKER_ID=_WORKER),
    row("AC", WorkerAlive, "WORKER_UUID", **_ALIVE, WORKER_UUID=_WORKER, SERVER_UUID=optional(text("owner"))),
    row("N", WorkerAlive, "CAPACITY", **_ALIVE, WORKER_UUID=_WORKER, CAPACITY=integer("capacity", 1, MAX_BATCH),
        SERVER_UUID=optional(text("owner")), **_LOAN, TASK_IDS=optional(task_ids("holds"))),
    row("N", WorkerLeaving, WORKER="LEAVING", WORKER_UUID=_WORKER, TASK_IDS=task_ids("returned")),
    row("N", Reports, STATUS="BATCH", WORKER_UUID=optional(_WORKER),
        REPORTS=list_of("reports", items.read_report, items.write_report)),
    # Server → worker
    row("N", Welcome, SERVER="ALIVE", TASK="WELCOME", SERVER_UUID=_SERVER, LEASE_S=seconds("lease_s")),
    row("N", Tasks, TASK="BATCH", LEASE_S=seconds("lease_s"),
        TASKS=list_of("tasks", items.read_leased_task, items.write_task)),
    row("C", NoTask, TASK="NO_TASK"),
    row("C", ReportAck, STATUS="ACK"),
    row("AN", Redirect, TASK="REDIRECT", TARGET_MASTER=address("target"), HOME_MASTER=optional(address("home")),
        FAILOVER_LIST=optional(addresses("failover")), SERVER_UUID=extension(_SERVER), **_TERM),
    row("B", Redirect, "MASTER_REDIRECT", TASK="REDIRECT", MASTER_REDIRECT=address_pair("target")),
    row("C", Redirect, "SERVER_REDIRECT", TASK="REDIRECT", SERVER_REDIRECT=address("target", "ip", "port")),
    row("C", Return, "SERVER_RETURN", TASK="RETURN", SERVER_RETURN=address("home", "ip", "port")),
    row("N", Return, TASK="RETURN", HOME_MASTER=address("home"), **_LOAN),
    # Server ↔ server: heartbeats
    row("A", Heartbeat, SERVER="ALIVE", TASK="REQUEST"),
    row("A", HeartbeatReply, SERVER="ALIVE", TASK="RECIEVE"),
    row("B", Heartbeat, SERVER_ID=_SERVER, TASK="HEARTBEAT"),
    row("B", HeartbeatReply, SERVER_ID=_SERVER, TASK="HEARTBEAT", RESPONSE="ALIVE"),
    row("C", Heartbeat, "SERVER_UUID", SERVER_UUID=_SERVER, TASK="HEARTBEAT"),
    row("C", HeartbeatReply, "SERVER_UUID", SERVER_UUID=_SERVER, TASK="HEARTBEAT", RESPONSE="ALIVE"),
    row("N", Heartbeat, "SERVER_UUID", SERVER="ALIVE", TASK="REQUEST", SERVER_UUID=_SERVER, LOAD=optional(_LOAD)),
    row("N", HeartbeatReply, "SERVER_UUID", SERVER="ALIVE", TASK="RECIEVE", SERVER_UUID=_SERVER, LOAD=optional(_LOAD)),
    # Server ↔ server: loans
    row("A", WorkerRequest, TASK="WORKER_REQUEST", WORKERS_NEEDED=integer("needed", 1)),
    row("B", WorkerRequest, "MASTER", MASTER=_SERVER, TASK="WORKER_REQUEST"),
    row("C", WorkerRequest, "REQUESTOR_INFO", TASK="WORKER_REQUEST", REQUESTOR_INFO=address("address", "ip", "port")),
    row("N", WorkerRequest, "SERVER_UUID", TASK="WORKER_REQUEST", WORKERS_NEEDED=integer("needed", 1),
        SERVER_UUID=_SERVER, TARGET_MASTER=optional(address("address")), **_TERM),
    row("AN", WorkersGranted, TASK="WORKER_RESPONSE", STATUS="ACK", MASTER=_SERVER,
        WORKERS=objects_with("WORKER_UUID", "workers"), **_TERM),
    row("AN", WorkersDenied, TASK="WORKER_RESPONSE", STATUS="NACK", WORKERS=[], MASTER=extension(_SERVER),
        LOAN=extension(text("loan")), ERROR=extension(error("reason"))),
    row("B", WorkersGranted, MASTER=_SERVER, RESPONSE="AVAILABLE", WORKERS=objects_with("id", "workers")),
    row("B", WorkersDenied, MASTER=_SERVER, RESPONSE="UNAVAILABLE", WORKERS=[]),
    row("C", WorkersGranted, "SERVER_UUID", SERVER_UUID=_SERVER, RESPONSE="AVAILABLE", WORKERS_UUID=_LENT),
    row("C", WorkersDenied, "SERVER_UUID", SERVER_UUID=_SERVER, RESPONSE="UNAVAILABLE", WORKERS_UUID=[]),
    row("N", LoanRenewed, TASK="LOAN_RENEW", STATUS="ACK", LOAN=text("loan"), EPOCH=integer("epoch"),
        TERM_S=seconds("term_s")),
    row("N", LoanEnded, TASK="LOAN_RENEW", STATUS="NACK", LOAN=text("loan"), EPOCH=integer("epoch"),
        ERROR=optional(error("reason"))),
    row("N", LoanRenew, TASK="LOAN_RENEW", SERVER_UUID=optional(_SERVER), LOAN=text("loan"), EPOCH=integer("epoch"),
        TERM_S=seconds("term_s")),
    row("CN", Release, SERVER_UUID=_SERVER, TASK="COMMAND_RELEASE", WORKERS_UUID=_LENT, **_LOAN),
    row("CN", ReleaseAck, SERVER_UUID=_SERVER, RESPONSE="RELEASE_ACK", WORKERS_UUID=_LENT, **_LOAN),
    row("CN", ReleaseCompleted, SERVER_UUID=_SERVER, RESPONSE="RELEASE_COMPLETED", WORKERS_UUID=_LENT, **_LOAN),
    # Client → server
    row("N", Submit, REQUEST="SUBMIT", ID=_ID, TRACEPARENT=optional(Field("trace", read_trace, traceparent)),
        TASKS=list_of("tasks", items.read_submitted_task, items.write_task)),
    row("N", GetResults, REQUEST="RESULT", ID=_ID, TASK_IDS=task_ids("task_ids"), WAIT_S=optional(seconds("wait_s"))),
    row("N", GetStatus, REQUEST="STATUS", ID=_ID),
    row("N", GetDead, REQUEST="DEAD_LIST", ID=_ID, LIMIT=integer("limit", 1, MAX_BATCH),
        AFTER=optional(Field("after", read_task_id))),
    row("N", RetryDead, REQUEST="DEAD_RETRY", ID=_ID, TASK_IDS=task_ids("task_ids")),
    row("N", DropDead, REQUEST="DEAD_DROP", ID=_ID, TASK_IDS=task_ids("task_ids")),
    row("N", GetHistory, REQUEST="HISTORY", ID=_ID, CPF=Field("cpf", read_cpf), LIMIT=integer("limit", 1, MAX_BATCH)),
    # Server → client
    row("N", Submitted, REPLY="SUBMIT", ID=_ID, TASKS=list_of("tasks", items.read_submitted, items.write_submitted)),
    row("N", Results, REPLY="RESULT", ID=_ID, RESULTS=list_of("results", items.read_result, items.write_result)),
    row("N", Status, REPLY="STATUS", ID=_ID, STATUS=Field("status", read_object)),
    row("N", DeadTasks, REPLY="DEAD_LIST", ID=_ID, TASKS=list_of("tasks", items.read_dead_task, items.write_dead_task)),
    row("N", DeadRetried, REPLY="DEAD_RETRY", ID=_ID, TASK_IDS=task_ids("task_ids")),
    row("N", DeadDropped, REPLY="DEAD_DROP", ID=_ID, TASK_IDS=task_ids("task_ids")),
    row("N", History, REPLY="HISTORY", ID=_ID, CHANGES=list_of("changes", items.read_change, items.write_change)),
    row("N", RequestFailed, REPLY="ERROR", ID=_ID, ERROR=error("reason")),
)  # fmt: skip


def decode(frame: Frame) -> Decoded:
    """Return the message that a JSON object is. Raises MalformedMessage, whose text names the key and what is wrong."""
    try:
        return _decode(frame.fields)
    except InexactNumber:
        text_ = frame.text if isinstance(frame.text, str) else frame.text.decode()
        return _decode(parse_exactly(text_))


def encode(message: Message, dialect: Dialect) -> bytes:
    """Return the JSON of a message; in the legacy dialects with spaces, as the legacy programs write it.

    Raises Misuse if the dialect does not have the message, or has only one task or report in it.
    """
    if dialect is Dialect.NATIVE:
        return orjson.dumps(_write(message, dialect))
    return _legacy_json(_write_single(message, dialect) or _write(message, dialect))


# By what a message is recognised: the first of these keys that it has with a constant of the table.
_RECOGNISING = ("REQUEST", "REPLY", "WORKER", "SERVER", "RESPONSE", "STATUS", "TASK")
_CANDIDATES: dict[tuple[str, str], list[Row]] = {}
_ROWS: dict[tuple[Callable[..., Message], str], Row] = {}
# Marked rows come first, native ones before others, and those with more constants before those with fewer.
for _row in sorted(TABLE, key=lambda row: (not row.mark, row.dialects != Dialect.NATIVE, -len(row.constants))):
    _constants = dict(_row.constants)
    _key = next(key for key in _RECOGNISING if key in _constants)
    _CANDIDATES.setdefault((_key, _constants[_key]), []).append(_row)
for _row in TABLE:
    for _dialect in _row.dialects:
        _ROWS.setdefault((_row.kind, _dialect), _row)


def _decode(fields: Fields) -> Decoded:
    seen = ""
    for key in _RECOGNISING:
        value = fields.get(key)
        if value is None:
            continue
        if type(value) is not str:
            raise wrong_type(key, "a text", value)
        for candidate in _CANDIDATES.get((key, value), ()):
            if _matches(candidate, fields):
                return _read(candidate, fields)
        if key == "STATUS" and value in ("OK", "NOK"):
            return _read_single_report(fields)
        if key == "TASK" and value in KINDS:
            return Decoded(Tasks((items.read_task(fields),)), "ABCN")
        seen = seen or f'{key} is "{value[:MAX_NAME_CHARACTERS]}"'
    raise MalformedMessage(f"unknown message: {seen or 'it has none of ' + ', '.join(_RECOGNISING)}")


def _matches(candidate: Row, fields: Fields) -> bool:
    if candidate.mark and fields.get(candidate.mark) is None:
        return False
    return all(fields.get(key) == value for key, value in candidate.constants)


def _read(candidate: Row, fields: Fields) -> Decoded:
    values = {}
    for key, field in candidate.fields:
        value = fields.get(key)
        if value is not None:
            values[field.attribute] = field.read(value, key)
        elif not field.optional:
            raise MalformedMessage(f"{key} is missing")
    extended = not candidate.extensions.isdisjoint(fields)
    return Decoded(candidate.kind(**values), Dialect.NATIVE if extended else candidate.dialects)


def _read_single_report(fields: Fields) -> Decoded:
    """Read a report that is a message of its own; without any key that a report has, NOK is a refusal."""
    if fields["STATUS"] == "NOK" and fields.keys().isdisjoint(_REPORT_KEYS):
        return Decoded(Refusal(read_error(fields.get("ERROR", ""), "ERROR")), "ABCN")
    key = "WORKER_UUID" if "WORKER_UUID" in fields else "WORKER_ID"
    worker, dialects = "", "ABCN"
    if fields.get(key) is not None:
        worker, dialects = read_text(fields[key], key), "BAN" if key == "WORKER_ID" else "CAN"
    return Decoded(Reports((items.read_legacy_report(fields),), worker), dialects)


_REPORT_KEYS = ("TASK", "TASK_ID", "USER", "SALDO", "WORKER_ID", "WORKER_UUID")


def _write(message: Message, dialect: Dialect) -> Fields:
    if isinstance(message, Refusal):
        return {"STATUS": "NOK", "ERROR": message.reason}
    if (type(message), dialect) not in _ROWS:
        raise Misuse(f"dialect {dialect} has no {type(message).__name__}")
    fields: Fields = {}
    for key, part in _ROWS[type(message), dialect].keys.items():
        if not isinstance(part, Field):
            fields[key] = part
        elif dialect is Dialect.NATIVE or not part.native:
            value = getattr(message, part.attribute)
            if not part.optional or value not in (None, 0, ""):
                fields[key] = part.write(value)
    return fields


def _write_single(message: Message, dialect: Dialect) -> Fields | None:
    """Return the JSON of the one task or report of a message in a legacy dialect; None of other messages."""
    if isinstance(message, Tasks) and len(message.tasks) == 1:
        return items.write_legacy_task(message.tasks[0])
    if isinstance(message, Reports) and len(message.reports) == 1:
        return items.write_legacy_report(message.reports[0], message.worker, dialect)
    return None


def _legacy_json(fields: Fields) -> bytes:
    pairs = [f'"{key}": {_legacy_value(value)}' for key, value in fields.items()]
    return f"{{{', '.join(pairs)}}}".encode()


def _legacy_value(value: Any) -> str:
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)
