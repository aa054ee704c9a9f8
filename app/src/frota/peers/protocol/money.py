"""Money: decimal.Decimal with two places, from JSON to a column numeric(12,2), without a float in between.

orjson turns `99.99` into a float. Where a balance is one, InexactNumber tells the decoder to parse the text again with
`parse_exactly`. That is the legacy dialects' path. Native messages carry balances as text, `"99.99"`, which needs it
not, and is the fast path.
"""

import json
import re
from decimal import Decimal, DecimalException
from typing import Any

from frota.core.errors import MalformedMessage
from frota.peers.protocol.codec.fields import wrong_type

MAX_BALANCE = Decimal("9999999999.99")  # numeric(12,2)
_CENT = Decimal("0.01")
_NAN = Decimal("NaN")
_MAX_INTEGER_DIGITS = 20  # longer ones become Decimal: int() takes quadratic time for them
_CANONICAL = re.compile(r"[0-9]{1,10}\.[0-9]{2}")
_NUMBER = re.compile(r"-?[0-9]{1,100}(?:\.[0-9]{1,100})?")


class InexactNumber(Exception):
    """A balance was parsed as a float: parse the text again, exactly."""


def balance(value: object, key: str) -> Decimal:
    """Return the balance that is the JSON value of a key: a number, or a text such as "99.99".

    Raises MalformedMessage for what does not fit numeric(12,2), and InexactNumber for a float.
    """
    if type(value) is str:
        if _CANONICAL.fullmatch(value):
            return Decimal(value)
        if not _NUMBER.fullmatch(value):
            raise MalformedMessage(f'{key} must be a number such as "99.99"')
        return _fitting(Decimal(value), key)
    if type(value) is float:
        raise InexactNumber
    if type(value) is int or type(value) is Decimal:
        return _fitting(Decimal(value), key)
    raise wrong_type(key, "a number", value)


def parse_exactly(text: str) -> Any:
    """Parse JSON that orjson accepts, with a Decimal for each number that is no integer."""
    return _EXACT.decode(text)


def _fitting(value: Decimal, key: str) -> Decimal:
    if value.is_nan() or abs(value) > MAX_BALANCE:
        raise MalformedMessage(f"{key} is out of range: at most {MAX_BALANCE}")
    cents = value.quantize(_CENT)
    if cents != value:
        raise MalformedMessage(f"{key} has more than 2 decimal places")
    return cents + 0  # -0.00 becomes 0.00


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except DecimalException:  # an exponent of 20 digits
        return _NAN


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= _MAX_INTEGER_DIGITS else _decimal(text)


_EXACT = json.JSONDecoder(parse_float=_decimal, parse_int=_integer)
