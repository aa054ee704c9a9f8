"""The readings that the load generator sends, and the comparison of a store with them."""

from collections import Counter
from collections.abc import Sequence

VALUES = 1001
EXAMPLES = 3


def reading(sensor: int, sequence: int) -> str:
    """Return the text of a reading: 20.00 to 30.00 °C, determined by sensor and sequence number (see load.c)."""
    hundredths = 2000 + (sensor * 7919 + sequence * 389) % VALUES
    return f"Sensor{sensor} - Temperatura: {hundredths // 100}.{hundredths % 100:02}°C"


def expected(acknowledged: Sequence[int]) -> Counter[str]:
    """Return how often each text was acknowledged; `acknowledged` counts the readings of Sensor1, Sensor2 and so on."""
    texts: Counter[str] = Counter()
    for sensor, count in enumerate(acknowledged, start=1):
        cycles, rest = divmod(count, VALUES)
        for sequence in range(min(count, VALUES)):
            texts[reading(sensor, sequence)] += cycles + (sequence < rest)
    return texts


def difference(acknowledged: Counter[str], stored: Counter[str]) -> str | None:
    """Return a description of the difference, None if the store contains exactly the acknowledged readings."""
    if acknowledged == stored:
        return None
    missing, surplus = acknowledged - stored, stored - acknowledged
    return (
        f"of {acknowledged.total()} acknowledged readings, {missing.total()} are missing{_examples(missing)}, "
        f"and the store contains {surplus.total()} others{_examples(surplus)}"
    )


def _examples(texts: Counter[str]) -> str:
    # repr: the store may contain control characters, which must not reach the terminal.
    return f" (for example {', '.join(repr(text[:60]) for text in list(texts)[:EXAMPLES])})" if texts else ""
