"""The agent, compared with node-exporter, Glances and psutil alone; the server with up to 5,000 agents."""

from collections.abc import Sequence

from bench.core.compare import Scenario
from bench.core.options import Options
from bench.cpu import agent, serving


def scenarios(options: Options) -> Sequence[Scenario]:
    """Return the scenarios of the agent and of the server."""
    return [*agent.scenarios(options), *serving.scenarios(options)]


def smoke(options: Options) -> Scenario:
    """Return the scenario of --quick: a server with 100 agents."""
    return serving.scenarios(options)[0].only_first_side()
