import pytest

from frota.core import trace

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "header",
    [
        f"00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-00",
        f"cc-{TRACE}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01-future-fields",
    ],
)
def test_valid_traceparent_has_a_trace_id(header: str) -> None:
    """A valid traceparent has a trace id."""
    assert trace.trace_of(header) == TRACE


@pytest.mark.parametrize(
    "header",
    [
        "",
        TRACE,
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01more",
        f"00-{TRACE[1:]}-{SPAN}-01",
    ],
)
def test_invalid_traceparent_has_no_trace_id(header: str) -> None:
    """An invalid traceparent has no trace id."""
    assert trace.trace_of(header) == ""


def test_every_traceparent_has_a_new_span() -> None:
    """Every traceparent of a trace has a span id of its own."""
    first, second = trace.traceparent(TRACE), trace.traceparent(TRACE)
    assert first != second
    assert trace.trace_of(first) == trace.trace_of(second) == TRACE


def test_trace_id_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trace id is that of the environment, or a new one."""
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{SPAN}-01")
    assert trace.from_environment() == TRACE
    monkeypatch.setenv("TRACEPARENT", "odd")
    assert trace.from_environment() != trace.from_environment()


def test_derived_ids() -> None:
    """Every message of every producer has one trace id of its own, which is valid in a traceparent."""
    ids = [trace.derive(producer, number) for producer in ("a", "b") for number in (1, 2, 11)]
    assert ids == [trace.derive(producer, number) for producer in ("a", "b") for number in (1, 2, 11)]
    assert len(set(ids)) == len(ids)
    assert [trace.trace_of(trace.traceparent(trace_id)) for trace_id in ids] == ids


@pytest.mark.parametrize("text", [TRACE, TRACE.upper(), f"00-{TRACE}-{SPAN}-01"])
def test_typed_trace_id(text: str) -> None:
    """A trace id is valid in either case, and as part of a traceparent."""
    assert trace.parse_id(text) == TRACE


@pytest.mark.parametrize(
    "text", ["", TRACE[1:], f"{TRACE}0", f"{TRACE}\n", "0" * 32, "x" * 32, f"TRACE_ID={TRACE}", "٤" * 32]
)
def test_no_trace_id(text: str) -> None:
    """Anything else is rejected with what is expected."""
    with pytest.raises(ValueError, match="expected 32 hexadecimal digits"):
        trace.parse_id(text)
