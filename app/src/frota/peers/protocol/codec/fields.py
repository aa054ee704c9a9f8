"""The values of JSON keys: how each is checked, read and written. Values are untrusted; errors name the key. No I/O."""

import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, NamedTuple

from frota.core.errors import MalformedMessage
from frota.core.trace import trace_of
from frota.peers.protocol import messages
from frota.peers.protocol.messages import Address, Load

Reader = Callable[[Any, str], Any]  # of the value and the key; raises MalformedMessage
Writer = Callable[[Any], Any]

_JSON_NAMES = {str: "a text", bool: "true or false", list: "a list", dict: "an object"}
_TASK_ID = re.compile(r"[0-9a-f]{32}").fullmatch
_CPF = re.compile(r"[0-9]{11}").fullmatch
_DIGITS = re.compile(r"[0-9]+").fullmatch
_HOST = re.compile(r"[A-Za-z0-9._:%-]+").fullmatch
_LOAD_KEYS = ("WAITING", "WAIT_MS", "WORKERS", "IDLE", "LENT", "BORROWED")


class Field(NamedTuple):
    """A key's attribute in the message, its reader and its writer.

    An optional key may be absent or null, and is not written if the attribute is None, 0 or "". A native one is
    written only in the native dialect.
    """

    attribute: str
    read: Reader
    write: Writer = lambda value: value
    optional: bool = False
    native: bool = False


def optional(field: Field) -> Field:
    """Return the field as an optional one."""
    return field._replace(optional=True)


def extension(field: Field) -> Field:
    """Return the field as an optional one of the native dialect."""
    return field._replace(optional=True, native=True)


def wrong_type(key: str, expected: str, value: Any) -> MalformedMessage:
    """Return the error for a value of another type; null counts as absent."""
    if value is None:
        return MalformedMessage(f"{key} is missing")
    return MalformedMessage(f"{key} must be {expected}, not {_JSON_NAMES.get(type(value), 'a number')}")


def read_text(value: Any, key: str, max_characters: int = messages.MAX_NAME_CHARACTERS) -> str:
    """Read a text that is not empty and has no control characters."""
    if type(value) is not str:
        raise wrong_type(key, "a text", value)
    if not 0 < len(value) <= max_characters:
        raise MalformedMessage(f"{key} must have 1 to {max_characters} characters, has {len(value)}")
    if not value.isprintable():
        raise MalformedMessage(f"{key} must not have control characters")
    return value


def read_error(value: Any, key: str) -> str:
    """Read the reason of a failure, which is cut to the limit."""
    if type(value) is not str:
        raise wrong_type(key, "a text", value)
    return value[: messages.MAX_ERROR_CHARACTERS]


def read_user(value: Any, key: str) -> str:
    """Read the name of a user, or a CPF, which is what consists of digits."""
    text = read_text(value, key, messages.MAX_USER_CHARACTERS)
    return read_cpf(text, key) if _DIGITS(text) else text


def read_cpf(value: Any, key: str) -> str:
    """Read a CPF: 11 digits."""
    if type(value) is not str:
        raise wrong_type(key, "a text", value)
    if not _CPF(value):
        raise MalformedMessage(f"{key} must have 11 digits, has {len(value)} characters")
    return value


def read_task_id(value: Any, key: str) -> str:
    """Read the id of a task."""
    if type(value) is not str:
        raise wrong_type(key, "a text", value)
    if not _TASK_ID(value):
        raise MalformedMessage(f"{key} must have 32 hexadecimal digits in lower case")
    return value


def read_trace(value: Any, _key: str) -> str:
    """Read the trace id of a TRACEPARENT; an invalid one rejects no task, but the trace ends."""
    return trace_of(value) if type(value) is str else ""


def integer_reader(lowest: int, highest: int = messages.MAX_COUNT) -> Reader:
    """Return the reader of an integer of this range."""

    def read(value: Any, key: str) -> int:
        if type(value) is not int:  # bool is a subclass of int
            raise wrong_type(key, "an integer", value)
        if not lowest <= value <= highest:
            raise MalformedMessage(f"{key} must be {lowest} to {highest}, is {value}")
        return value

    return read


def read_seconds(value: Any, key: str) -> float:
    """Read a duration."""
    if type(value) not in (int, float, Decimal):
        raise wrong_type(key, "a number of seconds", value)
    if type(value) is Decimal:  # of a message that is parsed exactly; it may be NaN
        value = float(value)
    if not 0 <= value <= messages.MAX_SECONDS:
        raise MalformedMessage(f"{key} must be 0 to {messages.MAX_SECONDS:.0f} seconds")
    return float(value)


def read_object(value: Any, key: str) -> dict[str, Any]:
    """Read an object whose keys another module checks."""
    if type(value) is not dict:
        raise wrong_type(key, "an object", value)
    return value


def read_list(value: Any, key: str, read: Reader) -> tuple[Any, ...]:
    """Read a list of values of one kind."""
    if type(value) is not list:
        raise wrong_type(key, "a list", value)
    if len(value) > messages.MAX_BATCH:
        raise MalformedMessage(f"{key} must have at most {messages.MAX_BATCH} elements, has {len(value)}")
    index = 0
    elements = []
    try:
        for element in value:
            elements.append(read(element, "element"))
            index += 1
    except MalformedMessage as error:
        raise MalformedMessage(f"{key}[{index}]: {error}") from None
    return tuple(elements)


def read_load(value: Any, key: str) -> Load:
    """Read a server's load."""
    loads = read_object(value, key)
    return Load(*[_read_count(loads.get(name), f"{key}.{name}") for name in _LOAD_KEYS])


def text(attribute: str) -> Field:
    """Return the field of an id or a name."""
    return Field(attribute, read_text)


def error(attribute: str) -> Field:
    """Return the field of a reason."""
    return Field(attribute, read_error)


def seconds(attribute: str) -> Field:
    """Return the field of a duration."""
    return Field(attribute, read_seconds)


def integer(attribute: str, lowest: int = 0, highest: int = messages.MAX_COUNT) -> Field:
    """Return the field of an integer of this range."""
    return Field(attribute, integer_reader(lowest, highest))


def load(attribute: str) -> Field:
    """Return the field of a load."""
    return Field(attribute, read_load, lambda value: dict(zip(_LOAD_KEYS, value, strict=True)))


def list_of(attribute: str, read: Reader, write: Writer | None = None) -> Field:
    """Return the field of a list of such values."""

    def write_list(values: Iterable[Any]) -> list[Any]:
        return [write(value) for value in values] if write else list(values)

    return Field(attribute, lambda value, key: read_list(value, key, read), write_list)


def task_ids(attribute: str) -> Field:
    """Return the field of a list of ids of tasks."""
    return list_of(attribute, read_task_id)


def objects_with(key: str, attribute: str) -> Field:
    """Return the field of a list of objects that have one key each, with an id: `[{"WORKER_UUID": "…"}, …]`."""

    def read(value: Any, where: str) -> str:
        return read_text(read_object(value, where).get(key), f"{where}.{key}")

    return list_of(attribute, read, lambda value: {key: value})


def address(attribute: str, host_key: str = "IP", port_key: str = "PORT") -> Field:
    """Return the field of an address, an object with these keys."""
    return Field(attribute, *_address_codec(host_key, port_key))


def addresses(attribute: str) -> Field:
    """Return the field of a list of addresses."""
    return list_of(attribute, *_address_codec("IP", "PORT"))


def address_pair(attribute: str) -> Field:
    """Return the field of an address as `[host, port]`."""
    return Field(attribute, _read_address_pair, list)


def _address_codec(host_key: str, port_key: str) -> tuple[Reader, Writer]:
    def read(value: Any, key: str) -> Address:
        pair = read_object(value, key)
        host = _read_host(pair.get(host_key), f"{key}.{host_key}")
        return Address(host, _read_port(pair.get(port_key), f"{key}.{port_key}"))

    return read, lambda value: {host_key: value.host, port_key: value.port}


def _read_address_pair(value: Any, key: str) -> Address:
    if type(value) is not list or len(value) != 2:
        raise MalformedMessage(f"{key} must be a list of host and port")
    return Address(_read_host(value[0], f"{key}[0]"), _read_port(value[1], f"{key}[1]"))


def _read_host(value: Any, key: str) -> str:
    host = read_text(value, key, messages.MAX_HOST_CHARACTERS)
    if not _HOST(host):
        raise MalformedMessage(f"{key} must be a host name or an address")
    return host


_read_port, _read_count = integer_reader(1, 65535), integer_reader(0)
