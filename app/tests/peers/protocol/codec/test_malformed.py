"""Malformed and arbitrary messages: rejected with the key and the reason, and nothing else raised."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from frota.core.errors import MalformedMessage
from frota.peers.protocol.codec import dialects
from frota.peers.protocol.codec.dialects import decode
from frota.peers.protocol.framing import Frame, parse
from frota.peers.protocol.messages import MAX_BATCH, Message, Rejection
from frota.peers.protocol.requests import Submit

ID = "0123456789abcdef" * 2
ADDRESS = {"IP": "10.0.0.1", "PORT": 8765}
ALIVE = {"WORKER": "ALIVE"}
BATCH = {"TASK": "BATCH", "LEASE_S": 30}
REDIRECT = {"TASK": "REDIRECT", "TARGET_MASTER": ADDRESS}
SUBMIT = {"REQUEST": "SUBMIT", "ID": 1}
LOAN = {"TASK": "LOAN_RENEW", "LOAN": "l-1", "EPOCH": 1, "TERM_S": 60}
HEARTBEAT = {"SERVER": "ALIVE", "TASK": "REQUEST", "SERVER_UUID": "s-1"}
LOAD = {"WAITING": 1, "WAIT_MS": 1, "WORKERS": 1, "IDLE": 1, "LENT": 1, "BORROWED": 1}


def reason(message: dict[str, Any]) -> str:
    """Return why a message is rejected."""
    with pytest.raises(MalformedMessage) as caught:
        decode(Frame("", message))
    return str(caught.value)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({}, "unknown message: it has none of REQUEST, REPLY, WORKER, SERVER, RESPONSE, STATUS, TASK"),
        ({"WORKER": "DEAD"}, 'unknown message: WORKER is "DEAD"'),
        ({"TASK": "x" * 1000}, f'unknown message: TASK is "{"x" * 64}"'),
        ({"WORKER": 5}, "WORKER must be a text, not a number"),
        ({"TASK": ["QUERY"]}, "TASK must be a text, not a list"),
        ({"TASK": {}}, "TASK must be a text, not an object"),
        ({"STATUS": True}, "STATUS must be a text, not true or false"),
        # Ids and names
        ({**ALIVE, "WORKER_UUID": 5}, "WORKER_UUID must be a text, not a number"),
        ({**ALIVE, "WORKER_UUID": ""}, "WORKER_UUID must have 1 to 64 characters, has 0"),
        ({**ALIVE, "WORKER_ID": "x" * 65}, "WORKER_ID must have 1 to 64 characters, has 65"),
        ({**ALIVE, "WORKER_UUID": "a\nb"}, "WORKER_UUID must not have control characters"),
        ({**ALIVE, "WORKER_UUID": "a\u202eb"}, "WORKER_UUID must not have control characters"),
        ({**ALIVE, "CAPACITY": 5}, "WORKER_UUID is missing"),
        ({"WORKER": "LEAVING", "WORKER_UUID": "w-1"}, "TASK_IDS is missing"),
        # Numbers
        ({**ALIVE, "WORKER_UUID": "w", "CAPACITY": "5"}, "CAPACITY must be an integer, not a text"),
        ({**ALIVE, "WORKER_UUID": "w", "CAPACITY": True}, "CAPACITY must be an integer, not true or false"),
        ({**ALIVE, "WORKER_UUID": "w", "CAPACITY": 1.0}, "CAPACITY must be an integer, not a number"),
        ({**ALIVE, "WORKER_UUID": "w", "CAPACITY": 0}, "CAPACITY must be 1 to 1000, is 0"),
        ({**ALIVE, "WORKER_UUID": "w", "CAPACITY": 1001}, "CAPACITY must be 1 to 1000, is 1001"),
        ({"TASK": "WORKER_REQUEST"}, "WORKERS_NEEDED is missing"),
        ({"TASK": "WORKER_REQUEST", "WORKERS_NEEDED": -5}, "WORKERS_NEEDED must be 1 to 9007199254740992, is -5"),
        ({**LOAN, "EPOCH": -1}, "EPOCH must be 0 to 9007199254740992, is -1"),
        ({**LOAN, "EPOCH": 2**64}, f"EPOCH must be 0 to 9007199254740992, is {2**64}"),
        ({**LOAN, "TERM_S": "60"}, "TERM_S must be a number of seconds, not a text"),
        ({**LOAN, "TERM_S": True}, "TERM_S must be a number of seconds, not true or false"),
        ({**LOAN, "TERM_S": -1}, "TERM_S must be 0 to 86400 seconds"),
        ({**LOAN, "TERM_S": 1e300}, "TERM_S must be 0 to 86400 seconds"),
        ({**LOAN, "TERM_S": 10**400}, "TERM_S must be 0 to 86400 seconds"),
        # Tasks
        ({"TASK": "QUERY"}, "USER is missing"),
        ({"TASK": "QUERY", "USER": None}, "USER is missing"),
        ({"TASK": "QUERY", "USER": ["Ana"]}, "USER must be a text, not a list"),
        ({"TASK": "QUERY", "USER": "x" * 51}, "USER must have 1 to 50 characters, has 51"),
        ({"TASK": "QUERY", "USER": "1" * 12}, "USER must have 11 digits, has 12 characters"),
        ({"TASK": "UPDATE", "SALDO": 1}, "CPF is missing"),
        ({"TASK": "UPDATE", "CPF": 11111111111, "SALDO": 1}, "CPF must be a text, not a number"),
        ({"TASK": "UPDATE", "CPF": "1" * 12, "SALDO": 1}, "CPF must have 11 digits, has 12 characters"),
        ({"TASK": "UPDATE", "CPF": "\u0661" * 11, "SALDO": 1}, "CPF must have 11 digits, has 11 characters"),
        ({"TASK": "UPDATE", "CPF": "1" * 11}, "SALDO is missing"),
        ({"TASK": "UPDATE", "CPF": "1" * 11, "SALDO": [1]}, "SALDO must be a number, not a list"),
        ({"TASK": "UPDATE", "CPF": "1" * 11, "SALDO": "NaN"}, 'SALDO must be a number such as "99.99"'),
        ({"TASK": "UPDATE", "CPF": "1" * 11, "SALDO": 10**10}, "SALDO is out of range: at most 9999999999.99"),
        ({"TASK": "NOOP", "TASK_ID": "1"}, "TASK_ID must have 32 hexadecimal digits in lower case"),
        ({"TASK": "NOOP", "TASK_ID": ID.upper()}, "TASK_ID must have 32 hexadecimal digits in lower case"),
        ({"TASK": "NOOP", "TASK_ID": 1}, "TASK_ID must be a text, not a number"),
        (BATCH, "TASKS is missing"),
        ({"TASK": "BATCH", "TASKS": []}, "LEASE_S is missing"),
        ({**BATCH, "TASKS": {}}, "TASKS must be a list, not an object"),
        ({**BATCH, "TASKS": [{}] * 1001}, "TASKS must have at most 1000 elements, has 1001"),
        ({**BATCH, "TASKS": ["x"]}, "TASKS[0]: a task must be an object, not a text"),
        ({**BATCH, "TASKS": [{"TASK": "NOOP"}]}, "TASKS[0]: TASK_ID is missing"),
        (
            {**BATCH, "TASKS": [{"TASK": "NOOP", "TASK_ID": ID}, {"TASK": "DANCE"}]},
            "TASKS[1]: TASK must be one of QUERY, UPDATE, NOOP",
        ),
        # Reports
        ({"STATUS": "OK", "SALDO": {}}, "SALDO must be a number, not an object"),
        ({"STATUS": "OK", "WORKER_UUID": 5}, "WORKER_UUID must be a text, not a number"),
        ({"STATUS": "OK", "USER": 5}, "USER must be a text, not a number"),
        ({"STATUS": "OK", "TASK": "DANCE"}, "TASK must be one of QUERY, UPDATE, NOOP"),
        ({"STATUS": "OK", "TASK": 5}, "TASK must be one of QUERY, UPDATE, NOOP"),
        ({"STATUS": "OK", "TASK_ID": 5}, "TASK_ID must be a text, not a number"),
        ({"STATUS": "NOK", "TASK": "QUERY", "ERROR": 5}, "ERROR must be a text, not a number"),
        ({"STATUS": "NOK", "ERROR": []}, "ERROR must be a text, not a list"),
        ({"STATUS": "BATCH"}, "REPORTS is missing"),
        ({"STATUS": "BATCH", "REPORTS": [5]}, "REPORTS[0]: a report must be an object, not a number"),
        ({"STATUS": "BATCH", "REPORTS": [{"STATUS": "OK"}]}, "REPORTS[0]: TASK_ID is missing"),
        (
            {"STATUS": "BATCH", "REPORTS": [{"STATUS": "ok", "TASK_ID": ID}]},
            "REPORTS[0]: STATUS must be OK or NOK",
        ),
        # Addresses
        ({"TASK": "REDIRECT"}, "TARGET_MASTER is missing"),
        ({"TASK": "REDIRECT", "TARGET_MASTER": "10.0.0.1"}, "TARGET_MASTER must be an object, not a text"),
        ({"TASK": "REDIRECT", "TARGET_MASTER": {"PORT": 1}}, "TARGET_MASTER.IP is missing"),
        ({"TASK": "REDIRECT", "TARGET_MASTER": {"IP": "a"}}, "TARGET_MASTER.PORT is missing"),
        (
            {"TASK": "REDIRECT", "TARGET_MASTER": {"IP": "a b", "PORT": 1}},
            "TARGET_MASTER.IP must be a host name or an address",
        ),
        (
            {"TASK": "REDIRECT", "TARGET_MASTER": {"IP": "a", "PORT": 65536}},
            "TARGET_MASTER.PORT must be 1 to 65535, is 65536",
        ),
        ({**REDIRECT, "FAILOVER_LIST": [ADDRESS, {}]}, "FAILOVER_LIST[1]: element.IP is missing"),
        ({"TASK": "REDIRECT", "MASTER_REDIRECT": ["a"]}, "MASTER_REDIRECT must be a list of host and port"),
        ({"TASK": "REDIRECT", "MASTER_REDIRECT": ["a", "1"]}, "MASTER_REDIRECT[1] must be an integer, not a text"),
        ({"TASK": "REDIRECT", "SERVER_REDIRECT": {"ip": "a"}}, "SERVER_REDIRECT.port is missing"),
        # Servers
        ({"TASK": "HEARTBEAT"}, "SERVER_ID is missing"),
        ({**HEARTBEAT, "LOAD": []}, "LOAD must be an object, not a list"),
        ({**HEARTBEAT, "LOAD": {**LOAD, "IDLE": -1}}, "LOAD.IDLE must be 0 to 9007199254740992, is -1"),
        ({**HEARTBEAT, "LOAD": {}}, "LOAD.WAITING is missing"),
        ({"TASK": "WORKER_RESPONSE", "STATUS": "ACK", "WORKERS": []}, "MASTER is missing"),
        (
            {"TASK": "WORKER_RESPONSE", "STATUS": "ACK", "MASTER": "s", "WORKERS": ["w"]},
            "WORKERS[0]: element must be an object, not a text",
        ),
        (
            {"TASK": "WORKER_RESPONSE", "STATUS": "ACK", "MASTER": "s", "WORKERS": [{"id": "w"}]},
            "WORKERS[0]: element.WORKER_UUID is missing",
        ),
        ({"TASK": "COMMAND_RELEASE", "SERVER_UUID": "s"}, "WORKERS_UUID is missing"),
        # Clients
        ({"REQUEST": "DANCE", "ID": 1}, 'unknown message: REQUEST is "DANCE"'),
        ({"REQUEST": "STATUS"}, "ID is missing"),
        ({"REQUEST": "STATUS", "ID": "1"}, "ID must be an integer, not a text"),
        (SUBMIT, "TASKS is missing"),
        ({**SUBMIT, "TASKS": [{}] * (MAX_BATCH + 1)}, "TASKS must have at most 1000 elements, has 1001"),
        ({"REQUEST": "RESULT", "ID": 1, "TASK_IDS": ["x"]},
         "TASK_IDS[0]: element must have 32 hexadecimal digits in lower case"),
        ({"REQUEST": "DEAD_LIST", "ID": 1, "LIMIT": 0}, "LIMIT must be 1 to 1000, is 0"),
        ({"REQUEST": "HISTORY", "ID": 1, "CPF": "1", "LIMIT": 1}, "CPF must have 11 digits, has 1 characters"),
        ({"REPLY": "STATUS", "ID": 1, "STATUS": "fine"}, "STATUS must be an object, not a text"),
        ({"REPLY": "RESULT", "ID": 1, "RESULTS": [{"TASK_ID": ID, "STATE": []}]},
         "RESULTS[0]: STATE must be one of WAITING, LEASED, DONE, DEAD, UNKNOWN"),
    ],
)  # fmt: skip
def test_reason(message: dict[str, Any], expected: str) -> None:
    """The reason names the key, what is right, and what was sent."""
    assert reason(message) == expected


def test_bad_task_rejects_only_itself() -> None:
    """Of the tasks of a SUBMIT, the malformed ones are rejected, each with its reason."""
    tasks = [{"TASK": "NOOP"}, {"TASK": "UPDATE", "CPF": "1" * 12, "SALDO": 1}, 5, {"TASK": "QUERY", "USER": "'; --"}]
    message = decode(Frame("", {**SUBMIT, "TASKS": tasks})).message
    assert isinstance(message, Submit)
    good, bad, worse, sql = message.tasks
    assert [bad, worse] == [
        Rejection("CPF must have 11 digits, has 12 characters"),
        Rejection("a task must be an object, not a number"),
    ]
    assert not isinstance(good, Rejection)
    assert not isinstance(sql, Rejection)
    assert sql.account == "'; --"


@pytest.mark.parametrize("header", ["", "00-zz-zz-01", f"00-{'0' * 32}-{'1' * 16}-01", 5, [], f"ff-{ID}-{ID[:16]}-01"])
def test_invalid_traceparent(header: object) -> None:
    """An invalid TRACEPARENT rejects no task: it has its own id as trace id."""
    task = {"TASK": "NOOP", "TASK_ID": ID, "TRACEPARENT": header}
    message = decode(Frame("", {**SUBMIT, "TRACEPARENT": header, "TASKS": [task]})).message
    assert isinstance(message, Submit)
    assert message.trace == ""
    assert not isinstance(message.tasks[0], Rejection)
    assert message.tasks[0].trace == ""


KEYS = sorted({key for row in dialects.TABLE for key in row.keys} | {"USER", "CPF", "SALDO", "TASK_ID", "IP", "PORT"})
CONSTANTS = sorted({value for row in dialects.TABLE for _, value in row.constants} | {"QUERY", "UPDATE", "OK", "NOK"})
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5) | st.sampled_from([*CONSTANTS, ID, "99.99", "1" * 11]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
near_messages = st.sampled_from(dialects.TABLE).flatmap(
    lambda row: st.fixed_dictionaries(
        {key: st.just(value) for key, value in row.constants},
        optional={key: json_values for key in row.keys if key not in dict(row.constants)},
    )
)


@given(near_messages | st.dictionaries(st.sampled_from(KEYS), json_values, max_size=6))
@example({"STATUS": "OK", "SALDO": 1.5, "TASK_ID": 10**30})
@example({"TASK": "BATCH", "LEASE_S": 1.5, "TASKS": [{"TASK": "UPDATE", "CPF": "1" * 11, "SALDO": 0.1, "TASK_ID": ID}]})
def test_arbitrary_json_raises_nothing_else(message: dict[str, Any]) -> None:
    """Whatever JSON arrives is a message, which can be encoded and decoded again, or MalformedMessage."""
    text = json.dumps(message)
    decoded, malformed = None, ""
    try:
        decoded = decode(Frame(text, parse(text)))
    except MalformedMessage as error:
        malformed = str(error)
    assert len(malformed) < 300
    for dialect in decoded.dialects if decoded else ():
        again = encode_or_nothing(decoded.message, dialects.Dialect(dialect)) if decoded else b""
        assert not again or parse(again)


def encode_or_nothing(message: Message, dialect: dialects.Dialect) -> bytes:
    """Return the JSON of a message; nothing for what only another dialect has."""
    try:
        return dialects.encode(message, dialect)
    except dialects.Misuse:
        return b""


@pytest.mark.parametrize("number", ["1e-99999999999999999999", "99999999999999999999999999"])
def test_numbers_beside_a_balance(number: str) -> None:
    """A message that is parsed exactly, for its balance, is checked like any other."""
    task = f'{{"TASK": "UPDATE", "TASK_ID": "{ID}", "CPF": "11111111111", "SALDO": 0.1}}'
    text = f'{{"TASK": "BATCH", "TASKS": [{task}], "LEASE_S": {number}}}'
    with pytest.raises(MalformedMessage, match="LEASE_S must be 0 to 86400 seconds"):
        decode(Frame(text, parse(text)))
