"""Framing: bytes become messages, in whichever packets they arrive."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.core.errors import MalformedMessage
from frota.cpu.framing import Event, Framer, Hello, SampleMessage
from frota.cpu.messages import MAX_MESSAGE_BYTES, hello
from support.metrics import RUN, SAMPLE, TEXT

BOM = b"\xef\xbb\xbf"
NUMBERS = st.text(alphabet="0123456789.,eE+-_ nainf\u0661\u0967", max_size=8)

NATIVE = hello("web-1", RUN, 5.0) + SAMPLE.native(1, 0.5) + SAMPLE.native(2, 0.0)


def fed(data: bytes, cuts: list[int]) -> list[object]:
    """Return the events of bytes that arrive in pieces; last the reason of an error that ended the connection."""
    framer, events, start = Framer(), list[object](), 0
    try:
        for cut in [*sorted(cuts), len(data)]:
            events += framer.feed(data[start:cut])
            start = cut
    except MalformedMessage as bad:
        events.append(str(bad))
    return events


@given(st.lists(st.integers(0, len(NATIVE)), max_size=8))
def test_native_lines_in_any_packets(cuts: list[int]) -> None:
    """Native lines give the same events in whichever packets they arrive."""
    assert fed(NATIVE, cuts) == [
        Hello("web-1", RUN, 5.0, 0),
        SampleMessage(1, 0.5, SAMPLE),
        SampleMessage(2, 0.0, SAMPLE),
    ]


@given(st.lists(st.integers(0, 3 * len(TEXT)), max_size=8))
def test_legacy_texts_in_any_packets(cuts: list[int]) -> None:
    """Legacy texts give the same events in whichever packets they arrive."""
    assert len(fed(3 * TEXT, cuts)) == 3
    assert all(isinstance(event, SampleMessage) and event.sample.mean == 22.9 for event in fed(3 * TEXT, cuts))


@given(st.binary(max_size=400), st.sampled_from([b"", b"{", b"CPU -> ", b"GET ", NATIVE, TEXT]))
def test_any_bytes_are_events_or_malformed(data: bytes, before: bytes) -> None:
    """Any input gives events or MalformedMessage, whose text is printable, never another error."""
    for event in fed(before + data, []):
        assert isinstance(event, Event) or str(event).isprintable()


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), st.lists, max_leaves=5))
def test_any_sample_is_valid_or_malformed(value: object) -> None:
    """A sample with any JSON in a field is accepted with valid values, or rejected with a reason."""
    for name in json.loads(SAMPLE.native(1, 0.0)):
        fields = json.loads(SAMPLE.native(1, 0.0)) | {name: value}
        [event] = fed(json.dumps(fields).encode() + b"\n", [])
        assert isinstance(event, SampleMessage | str)
        assert isinstance(event, str) or all(0 <= percent <= 100 for percent in (*event.sample.cpu, event.sample.mean))


def test_oversized_line_is_malformed() -> None:
    """A line above MAX_MESSAGE_BYTES is rejected."""
    for beginning in (b"{", b"CPU -> ", b"GET /"):
        events = fed(beginning + b"1" * (MAX_MESSAGE_BYTES + 1), [])
        assert len(events) == 1
        assert "longa demais" in str(events[0])


@given(NUMBERS, NUMBERS)
def test_legacy_percentages_are_0_to_100(core: str, mean: str) -> None:
    """A legacy percentage is a number from 0 to 100, or the message is malformed."""
    for event in fed(f"CPU -> Núcleos: [1.0, {core}] | Média: {mean}%".encode(), []):
        assert isinstance(event, MalformedMessage) or (
            isinstance(event, SampleMessage)
            and all(0 <= value <= 100 for value in (*event.sample.cpu, event.sample.mean))
        )


@pytest.mark.parametrize("text", ["1E1", "1e+1", "10.", "10", "1.0E1"])
def test_exponents_are_read(text: str) -> None:
    """A number with an exponent has its value."""
    [event] = fed(f"CPU -> Núcleos: [{text}, 10] | Média: {text}%".encode(), [])
    assert isinstance(event, SampleMessage)
    assert (event.sample.cpu, event.sample.mean) == ((10.0, 10.0), 10.0)


@pytest.mark.parametrize("between", [b"\r\n", b"\0", BOM, b"\r", b"\n\n", b" \0\r\n" + BOM, b"\0" * 300], ids=repr)
def test_padding_is_ignored(between: bytes) -> None:
    """Padding before and between messages is ignored."""
    assert [type(event) for event in fed(between + TEXT + between + TEXT + between, [])] == [
        SampleMessage,
        SampleMessage,
    ]
    native = b"".join(between + line for line in NATIVE.splitlines(keepends=True)) + between + b"\n"
    assert [type(event) for event in fed(native, [])] == [Hello, SampleMessage, SampleMessage]


@given(st.lists(st.integers(0, 60), max_size=4))
def test_decomposed_accents_are_read(cuts: list[int]) -> None:
    """Decomposed accents are read like composed ones."""
    decomposed = unicodedata.normalize("NFD", TEXT.decode()).encode()
    assert decomposed != TEXT
    assert [type(event) for event in fed(decomposed + decomposed, cuts)] == [SampleMessage, SampleMessage]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("CPU -> Núcleos: [37.3] | Média: 10,6%", "média '10,6', com vírgula; o separador decimal é o ponto"),
        ("CPU -> Núcleos: [nan] | Média: 1.0%", "núcleos 'nan', média '1.0'; esperava números de 0 a 100"),
        ("CPU -> Núcleos: [1.0] | Média: 101%", "núcleos '1.0', média '101'; esperava números de 0 a 100"),
        ("CPU -> Núcleos: [5e] | Média: 1.0%", "núcleos '5e', média '1.0'; esperava números de 0 a 100"),
        ("CPU -> Núcleos: [1e999] | Média: 1.0%", "núcleos '1e999', média '1.0'"),
        ("CPU -> Núcleos: [] | Média: 1.0%", "núcleos '', média '1.0'"),
        ("CPU -> Núcleos: [\x1b[2J\n] | Média: 1.0%", "núcleos '\\x1b[2J\\n', média '1.0'"),
    ],
)
def test_legacy_message_error_names_the_cause(text: str, reason: str) -> None:
    """A malformed legacy message is rejected with its cause."""
    before, after = fed(text.encode() + TEXT, [])
    assert reason in str(before)
    assert str(before).isprintable()
    assert isinstance(after, SampleMessage)


def test_invalid_utf8_is_named() -> None:
    """A text that is no UTF-8 is rejected as such."""
    [event] = fed("CPU -> Núcleos: [1.0] | Média: 1.0%".encode("latin-1"), [])
    assert "não é UTF-8" in str(event)


def test_malformed_input_is_rejected_fast() -> None:
    """The cause of an error is found in linear time."""
    events = fed(b"CPU -> N: [" * 5500 + b"%" + TEXT, [])
    assert isinstance(events[-1], SampleMessage)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mean": "21.5"}, "mean é '21.5', esperava um número de 0 a 100"),
        ({"mean": True}, "mean é True, esperava um número de 0 a 100"),
        ({"cpu": [1.0, -0.5]}, "cpu é -0.5, esperava um número de 0 a 100"),
        ({"cpu": 5}, "cpu é 5, esperava uma lista"),
        ({"cpu": []}, "cpu tem 0 núcleos"),
        ({"load": [1]}, "load é [1], esperava três números"),
        ({"memory": {"total": 1e300, "used": 0, "available": 0}}, "memory é 1e+300"),
        ({"disk": 7}, "disk é 7, esperava um objeto"),
        ({"age": 3e6}, "age é 3000000.0, esperava um número de 0 a 2.592e+06"),
    ],
)
def test_native_sample_error_names_the_cause(change: dict[str, object], reason: str) -> None:
    """An invalid native sample is rejected with its cause."""
    framer = Framer()
    line = json.dumps(json.loads(SAMPLE.native(7, 0.0)) | change).encode() + b"\n"
    with pytest.raises(MalformedMessage) as error:
        list(framer.feed(line))
    assert reason in str(error.value)
    assert error.value.number == 7


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (SAMPLE.native(1, 0.0).replace(b"22.9", b"NaN"), "NaN e Infinity não são números de JSON"),
        (b'{"frota": 1, "n": 01}', "o JSON está errado na coluna 19"),
        (b'{"frota": 2, "n": 1}', "frota é 2"),
        (hello("máquina", RUN, 5.0), "host é 'máquina', e pode ter letras de A a Z"),
        (hello("ไทย", RUN, 5.0), "host é 'ไทย', e pode ter letras de A a Z"),
        (hello("a" * 254, RUN, 5.0), "host é 'aaaa"),
        (b'{"frota": 1, "n": 1, "cpu": ' + b'{"a":' * 900 + b"1" + b"}" * 901, "cpu é "),
    ],
)
def test_native_line_error_names_the_cause(line: bytes, reason: str) -> None:
    """A malformed native line is rejected with its cause."""
    [event] = fed(line.rstrip() + b"\n", [])
    assert reason in str(event)
    assert len(str(event)) < 400
