"""The phases of a connection to the metrics' server. No I/O."""

from enum import Enum


class Phase(Enum):
    """Who the peer is, as far as the server knows."""

    NEW = "no valid message yet"
    AGENT = "it sends the samples of a host"
    VIEWER = "it sends queries"
    CONTENDER = "an agent whose host's name another agent has; its input waits for the other's answer to a ping"
    UNRESPONSIVE = "an agent that has not answered a ping; another one gets its host's name"


class Step(Enum):
    """What takes a connection from one phase to the next."""

    IDENTIFIED = "the server knows the agent's host"
    CONTESTED = "another agent has the host's name"
    RETRIED = "the other agent is gone: the hello is processed again"
    QUERIED = "a query or an HTTP request"
    PING_TIMEOUT = "the agent has not answered a ping"


TRANSITIONS = {
    (Phase.NEW, Step.IDENTIFIED): Phase.AGENT,
    (Phase.VIEWER, Step.IDENTIFIED): Phase.AGENT,
    (Phase.NEW, Step.CONTESTED): Phase.CONTENDER,
    (Phase.VIEWER, Step.CONTESTED): Phase.CONTENDER,
    (Phase.CONTENDER, Step.RETRIED): Phase.NEW,
    (Phase.NEW, Step.QUERIED): Phase.VIEWER,
    (Phase.AGENT, Step.PING_TIMEOUT): Phase.UNRESPONSIVE,
}


def advance(phase: Phase, step: Step) -> Phase:
    """Return the next phase; a step that the table does not have changes nothing."""
    return TRANSITIONS.get((phase, step), phase)
