"""The metrics' agent beside node-exporter, Glances and psutil alone; the server with five thousand of them."""

from collections.abc import Sequence

from bench.core.compare import Scenario
from bench.core.options import Options
from bench.cpu import agent, serving


def scenarios(options: Options) -> Sequence[Scenario]:
    """Return the scenarios of both."""
    return [*agent.scenarios(options), *serving.scenarios(options)]


def smoke(options: Options) -> Scenario:
    """Return what shows that the benchmark runs: a server with a hundred agents."""
    return serving.scenarios(options)[0].first_alone()
