"""Bytes into messages, however they arrive."""

from hypothesis import given
from hypothesis import strategies as st

from frota.cpu_metrics.framing import BadMessage, Framer, Hello, Reading
from frota.cpu_metrics.messages import LONGEST, hello
from metrics_support import RUN, SAMPLE, TEXT

NATIVE = hello("web-1", RUN, 5.0) + SAMPLE.native(1, 0.5) + SAMPLE.native(2, 0.0)


def fed(data: bytes, cuts: list[int]) -> list[object]:
    """Return what becomes of bytes that arrive in pieces; the reason last, where they could not go on."""
    framer, found, start = Framer(), list[object](), 0
    try:
        for cut in [*sorted(cuts), len(data)]:
            found += framer.feed(data[start:cut])
            start = cut
    except BadMessage as bad:
        found.append(str(bad))
    return found


@given(st.lists(st.integers(0, len(NATIVE)), max_size=8))
def test_native_lines_are_the_same_wherever_they_are_cut(cuts: list[int]) -> None:
    assert fed(NATIVE, cuts) == [Hello("web-1", RUN, 5.0, 0), Reading(1, 0.5, SAMPLE), Reading(2, 0.0, SAMPLE)]


@given(st.lists(st.integers(0, 3 * len(TEXT)), max_size=8))
def test_original_texts_are_the_same_wherever_they_are_cut(cuts: list[int]) -> None:
    assert len(fed(3 * TEXT, cuts)) == 3
    assert all(isinstance(one, Reading) and one.sample.mean == 22.9 for one in fed(3 * TEXT, cuts))


@given(st.binary(max_size=400), st.sampled_from([b"", b"{", b"CPU -> ", b"GET ", NATIVE, TEXT]))
def test_whatever_comes_is_a_message_or_a_reason_and_never_another_error(data: bytes, before: bytes) -> None:
    fed(before + data, [])


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), st.lists, max_leaves=5))
def test_whatever_stands_in_a_sample_is_taken_or_refused(value: object) -> None:
    import json

    for name in json.loads(SAMPLE.native(1, 0.0)):
        fields = json.loads(SAMPLE.native(1, 0.0)) | {name: value}
        fed(json.dumps(fields).encode() + b"\n", [])


def test_a_line_without_end_is_not_kept_for_ever() -> None:
    for beginning in (b"{", b"CPU -> ", b"GET /"):
        found = fed(beginning + b"1" * (LONGEST + 1), [])
        assert len(found) == 1
        assert "longa demais" in str(found[0])
