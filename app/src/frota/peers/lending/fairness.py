"""How borrowers share the workers of one owner. No I/O."""

from collections.abc import Mapping


def fair_shares(wanted: Mapping[str, int], held: Mapping[str, int], total: int) -> dict[str, int]:
    """Return each borrower's max-min fair share of `total` workers: nobody gets more than it wants, the rest is equal.

    Where the parts cannot be equal, those that hold more workers get one more: so no worker goes to and fro.
    """
    shares: dict[str, int] = {}
    short = sorted(wanted, key=lambda name: wanted[name])
    while short and wanted[short[0]] <= total // len(short):
        satisfied = short.pop(0)
        shares[satisfied] = wanted[satisfied]
        total -= wanted[satisfied]
    equal, rest = divmod(total, max(1, len(short)))
    short.sort(key=lambda name: (-held.get(name, 0), name))
    return shares | {name: equal + (place < rest) for place, name in enumerate(short)}
