"""The image pipeline, compared with the legacy worker, with pika, and with its own converters."""

import sys
from collections.abc import Sequence

from bench.core.compare import Scenario
from bench.core.options import Options
from bench.images import broker, convert, publish, work

SIZES = {"worker, 1 megapixel": (1152, 864), "worker, 12 megapixels": (4000, 3000)}


def scenarios(options: Options) -> Sequence[Scenario]:
    """Return the scenarios of `python -m bench images`. Raises CannotRunError without a compiler or frota."""
    return [*convert.scenarios(options), *broker_scenarios(options)]


def broker_scenarios(options: Options) -> Sequence[Scenario]:
    """Return the scenarios that require a broker. If it cannot run here, report why and return none."""
    if reason := broker.find_obstacle():
        print(f"bench: the scenarios with a broker are skipped: {reason}", file=sys.stderr)
        return []
    shared = broker.Broker(options)
    workers = [work.scenario(options, shared, title, *size) for title, size in SIZES.items()]
    return [publish.scenario(options, shared), *workers]


def smoke(options: Options) -> Scenario:
    """Return the scenario of --quick: a worker, or a conversion if no broker can run here."""
    if broker.find_obstacle():
        return convert.scenarios(options)[0].only_first_side()
    title, size = next(iter(SIZES.items()))
    return work.scenario(options, broker.Broker(options), title, *size).only_first_side()


__all__ = ["scenarios", "smoke"]
