"""The image pipeline, compared with the legacy worker, with pika, and with its own converters."""

import sys
from collections.abc import Sequence

from bench.core.compare import Scenario
from bench.core.options import Options
from bench.images import broker, convert, publish, work

SIZES = {"worker, 1 megapixel": (1152, 864), "worker, 12 megapixels": (4000, 3000)}


def scenarios(options: Options) -> Sequence[Scenario]:
    """Return what `python -m bench images` measures. Raises CannotRunError where something for it is missing."""
    return [*convert.scenarios(options), *through_the_broker(options)]


def through_the_broker(options: Options) -> Sequence[Scenario]:
    """Return the scenarios that need a broker; where there can be none, say why and return none."""
    if reason := broker.missing():
        print(f"bench: images are not published nor worked on: {reason}", file=sys.stderr)
        return []
    one = broker.Broker(options)
    worked_on = [work.scenario(options, one, title, *size) for title, size in SIZES.items()]
    return [publish.scenario(options, one), *worked_on]


def smoke(options: Options) -> Scenario:
    """Return what shows that the benchmark runs: a worker, or a conversion where there can be no broker."""
    if broker.missing():
        return convert.scenarios(options)[0].first_alone()
    title, size = next(iter(SIZES.items()))
    return work.scenario(options, broker.Broker(options), title, *size).first_alone()


__all__ = ["scenarios", "smoke"]
