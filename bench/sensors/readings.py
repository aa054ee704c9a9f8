"""Which readings the load sends, and whether a store holds exactly those."""

from collections import Counter
from collections.abc import Sequence

VALUES = 1001
SHOWN = 3


def reading(sensor: int, sequence: int) -> str:
    """Return the text of one reading: 20.00 to 30.00 °C, known from its sensor and its number (see load.c)."""
    hundredths = 2000 + (sensor * 7919 + sequence * 389) % VALUES
    return f"Sensor{sensor} - Temperatura: {hundredths // 100}.{hundredths % 100:02}°C"


def expected(acknowledged: Sequence[int]) -> Counter[str]:
    """Return how often each text was acknowledged, given each sensor's count of readings (Sensor1 first)."""
    texts: Counter[str] = Counter()
    for sensor, count in enumerate(acknowledged, start=1):
        cycles, rest = divmod(count, VALUES)
        for sequence in range(min(count, VALUES)):
            texts[reading(sensor, sequence)] += cycles + (sequence < rest)
    return texts


def difference(acknowledged: Counter[str], stored: Counter[str]) -> str | None:
    """Return what is wrong with a store, in a sentence, or None where it holds exactly what was acknowledged."""
    if acknowledged == stored:
        return None
    missing, surplus = acknowledged - stored, stored - acknowledged
    return (
        f"of {acknowledged.total()} acknowledged readings {missing.total()} are not in the store{_some(missing)}, "
        f"and {surplus.total()} are there that were not acknowledged{_some(surplus)}"
    )


def _some(texts: Counter[str]) -> str:
    # repr: a store may hold anything, a terminal shall not.
    return f" (such as {', '.join(repr(text[:60]) for text in list(texts)[:SHOWN])})" if texts else ""
