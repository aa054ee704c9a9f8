"""The accounts of memory mode, of a new embedded database, and of `frota peers migrate --examples`."""

from decimal import Decimal

# CPF to name.
ACCOUNTS = {
    digit * 11: name
    for digit, name in zip(
        "123456789", ["Ana", "Bia", "Caio", "Davi", "Eva", "Gil", "Iara", "Joel", "Lia"], strict=True
    )
}
FIRST_BALANCE = Decimal("100.00")
