"""Money: two places, numeric(12,2), no float in between."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.core.errors import MalformedMessage
from frota.peers.protocol import money

balances = st.decimals(-money.MAX_BALANCE, money.MAX_BALANCE, places=2, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "balance"),
    [
        ("99.99", "99.99"),
        ("99.9", "99.90"),
        ("99", "99.00"),
        ("-0.01", "-0.01"),
        ("-0.00", "0.00"),
        ("007.50", "7.50"),
        ("1.000", "1.00"),
        ("9999999999.99", "9999999999.99"),
        ("-9999999999.99", "-9999999999.99"),
        (512, "512.00"),
        (Decimal("1E+2"), "100.00"),
        (Decimal("99.990"), "99.99"),
    ],
)
def test_balance(value: object, balance: str) -> None:
    """A balance has exactly two places, whatever JSON value it comes from."""
    assert str(money.balance(value, "SALDO")) == balance


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("99.999", "SALDO has more than 2 decimal places"),
        (Decimal("0.001"), "SALDO has more than 2 decimal places"),
        (Decimal("1e-400"), "SALDO has more than 2 decimal places"),
        ("10000000000.00", "SALDO is out of range: at most 9999999999.99"),
        (Decimal("1e400"), "SALDO is out of range: at most 9999999999.99"),
        (Decimal("9999999999.995"), "SALDO is out of range: at most 9999999999.99"),
        (Decimal("NaN"), "SALDO is out of range: at most 9999999999.99"),
        (10**30, "SALDO is out of range: at most 9999999999.99"),
        ("NaN", 'SALDO must be a number such as "99.99"'),
        ("1e3", 'SALDO must be a number such as "99.99"'),
        ("1_0", 'SALDO must be a number such as "99.99"'),
        ("\u0661", 'SALDO must be a number such as "99.99"'),
        ("9" * 1000, 'SALDO must be a number such as "99.99"'),
        ("", 'SALDO must be a number such as "99.99"'),
        (True, "SALDO must be a number, not true or false"),
        ([], "SALDO must be a number, not a list"),
        (None, "SALDO is missing"),
    ],
)
def test_malformed_balance(value: object, reason: str) -> None:
    """A value that does not fit numeric(12,2) is rejected with the reason."""
    with pytest.raises(MalformedMessage) as caught:
        money.balance(value, "SALDO")
    assert str(caught.value) == reason


def test_float_is_inexact() -> None:
    """A float is never taken for a balance: the text is to be parsed again."""
    with pytest.raises(money.InexactNumber):
        money.balance(99.99, "SALDO")


@given(balances)
def test_number_of_json_is_exact(value: Decimal) -> None:
    """A JSON number becomes the same balance, digit by digit."""
    parsed = money.parse_exactly(f'{{"SALDO": {value}}}')["SALDO"]
    assert money.balance(parsed, "SALDO") == value


@pytest.mark.parametrize("number", ["1e99999999999999999999", "1e-99999999999999999999", "9" * 5000, "-" + "9" * 5000])
def test_extreme_numbers(number: str) -> None:
    """Numbers beyond what Decimal and int convert are out of range, and take no time."""
    with pytest.raises(MalformedMessage):
        money.balance(money.parse_exactly(f'{{"SALDO": {number}}}')["SALDO"], "SALDO")


def test_integers_stay_integers() -> None:
    """Numbers without a fraction are int, as json.loads has them."""
    text = '{"PORT": 8765, "EPOCH": 9007199254740992}'
    assert money.parse_exactly(text) == json.loads(text)
