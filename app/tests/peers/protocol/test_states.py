"""The tables of the states."""

from frota.peers.protocol import states
from frota.peers.protocol.states import State, Step


def test_tables_are_complete() -> None:
    """Every state has a row in both tables, every message a step, and every state but NEW is reached."""
    assert set(states.RECEIVED) == set(states.SENT) == set(State)
    rows = [row for table in (states.RECEIVED, states.SENT) for row in table.values()]
    assert {state for row in rows for state in row.values()} == set(State) - {State.NEW, State.CLOSED}
    steps = {*states.STEPS.values(), *states.SENT_STEPS.values(), *states.STEPS_IN_DIALECT.values()}
    assert {step for row in rows for step in row} <= steps
    assert steps == set(Step) - {Step.ONE_TASK}  # which only a worker receives
