"""Framing: bytes become the same readings and answers, in whichever packets they arrive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.sensors import messages, parser
from frota.sensors.framing import Bad, Batch, Framer, Newline
from frota.sensors.messages import Command

OPEN = messages.open_pattern(messages.KNOWN_UNITS)
READINGS = [
    "Sensor1 - Temperatura: 25.34°C",
    "Sensor2 - Umidade: 57.96%",
    "Sala 2 - Temperatura: -0.5°C",
    "S - U: 1e-05%",
]

readings = st.sampled_from(READINGS)
# Nothing that could be the rest of a unit: `5%` and `RH` are one reading or two, depending on a cut between them.
junk = st.sampled_from(["", "(x)", "GET / HTTP/1.1", "(°)", "Sensor1 - Temperatura: °C", "frota hello x", "frota what"])
harmless = st.sampled_from(["", "", "", "\0", "\r", " ", "\ufeff", "\0\r "])
line = st.tuples(harmless, st.one_of(readings, readings, junk), harmless, st.sampled_from(["\n", "\r\n"])).map("".join)
streams = st.tuples(
    st.lists(st.tuples(harmless, readings, harmless).map("".join), max_size=3),
    st.lists(line, max_size=5),
    st.sampled_from([*READINGS, "", "Sen"]),
)


def run(pieces: list[bytes]) -> tuple[list[str], list[str]]:
    """Return the readings, and what is answered, of a stream that arrives in these pieces."""
    framer = Framer(OPEN, set(messages.KNOWN_UNITS))
    readings: list[str] = []
    responses: list[str] = []
    for piece in pieces:
        for event in framer.feed(piece):
            match event:
                case Batch(parts, raw, native):
                    readings += [str(messages.Reading(*part)) for part in parts]
                    assert raw.decode().replace("\r\n", "\n").removesuffix("\n").split("\n") == readings[-len(parts) :]
                    responses += ["ok\n" if native else "ok"] * len(parts)
                case Newline():
                    responses.append("\n")
                case Bad(reason, fatal):
                    responses.append(f"{reason} {fatal}" + ("\n" if framer.native else ""))
                    if fatal:
                        return readings, responses
                case Command(name, argument):
                    responses.append(f"{name} {argument}\n")
    return readings, responses


@given(streams, st.data())
def test_stream_in_any_packets(stream: tuple[list[str], list[str], str], data: st.DataObject) -> None:
    """Any split of a stream gives the same readings and answers."""
    unterminated, lines, remainder = stream
    whole = "".join([*unterminated, *lines, remainder if lines else ""]).encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    readings, responses = run(pieces)
    found_whole, answers_whole = run([whole])
    assert readings == found_whole
    assert "".join(responses).count("\n") == "".join(answers_whole).count("\n")
    # A bad line that is the first is refused as far as it has come; its other pieces may be refused too.
    if not lines or lines[0].strip(parser.PADDING + "\n") in READINGS:
        assert "".join(responses) == "".join(answers_whole)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_arbitrary_bytes_are_bounded(pieces: list[bytes]) -> None:
    """Arbitrary bytes never raise, and never buffer more than the limit."""
    framer = Framer(OPEN, set(messages.KNOWN_UNITS))
    for piece in pieces:
        events = framer.feed(piece)
        if any(isinstance(event, Bad) and event.fatal for event in events):
            return
        assert len(framer.rest) <= messages.MAX_LINE_BYTES


def test_reading_byte_by_byte() -> None:
    """A reading that arrives byte by byte is one reading."""
    raw = READINGS[0].encode()
    assert run([raw[index : index + 1] for index in range(len(raw))]) == ([READINGS[0]], ["ok"])


def test_readings_in_one_packet() -> None:
    """Readings in one packet are one event each."""
    assert run(["".join(READINGS).encode()]) == (READINGS, ["ok"] * 4)


def test_late_newline_makes_it_native() -> None:
    """A newline after a legacy reading ends its answer and makes the connection native."""
    assert run([READINGS[0].encode(), b"\r", b"\n", READINGS[1].encode(), b"\n"]) == (
        READINGS[:2],
        ["ok", "\n", "ok\n"],
    )


def test_native_line_with_an_unknown_unit() -> None:
    """A native line may have a unit that the server does not know."""
    assert run([b"Patio - Pressao: 1013.2hPa\n"]) == (["Patio - Pressao: 1013.2hPa"], ["ok\n"])


def test_malformed_line_spares_its_neighbours() -> None:
    """A malformed line is rejected in its place; the lines around it are readings."""
    readings, responses = run([f"{READINGS[0]}\nnada\n{READINGS[1]}\n{READINGS[2]}\n".encode()])
    assert readings == READINGS[:3]
    assert responses == ["ok\n", f"{messages.INVALID} False\n", "ok\n", "ok\n"]


def test_line_in_another_encoding() -> None:
    """A line that is no UTF-8 is rejected as such."""
    assert run([b"frota\n", READINGS[0].encode("latin-1") + b"\n"])[1][1] == f"{messages.NOT_UTF8} False\n"


def test_first_line_in_another_encoding() -> None:
    """A first line that is no UTF-8 is rejected, and the next one is read."""
    readings, responses = run([READINGS[0].encode("latin-1") + b"\n" + READINGS[1].encode() + b"\n"])
    assert readings == READINGS[1:2]
    assert responses == [f"{messages.NOT_UTF8} False\n", "ok\n"]


def test_endless_line_is_rejected() -> None:
    """A line without an end is rejected at the limit."""
    readings, responses = run([b"x" * 65536] * 48)
    assert readings == []
    assert responses == [f"{messages.TOO_LONG} True"]


def test_control_lines() -> None:
    """Control lines are commands; a sensor may still be called frota."""
    readings, responses = run([b"frota hello a-b\nfrota skip 7\nfrota tail - U: 5%\n"])
    assert responses == ["hello a-b\n", "skip 7\n", "ok\n"]
    assert readings == ["frota tail - U: 5%"]


@pytest.mark.parametrize("between", ["\0", "\r", "\ufeff", " ", "\t", "\0\r \ufeff", "\u00a0"])
def test_padding_between_readings(between: str) -> None:
    """Padding between readings is ignored, with newlines and without."""
    whole = between.join(["", *READINGS, ""])
    assert run([whole.encode()]) == (READINGS, ["ok"] * 4)
    assert run([bytes([byte]) for byte in whole.encode()]) == (READINGS, ["ok"] * 4)
    lines = f"{between}\n{between}".join(["", *READINGS, ""]).encode()
    assert run([b"frota hello a\n" + lines[lines.index(b"\n") + 1 :]])[0] == READINGS


def test_padding_at_the_end_is_complete() -> None:
    """Padding at the end is no incomplete reading."""
    for stream in (READINGS[0] + "\0\r", READINGS[0] + "\n\0", "\ufeff", ""):
        framer = Framer(OPEN, set(messages.KNOWN_UNITS))
        framer.feed(stream.encode())
        assert framer.why_unfinished() == ""


def test_hopeless_reading_is_rejected_at_once() -> None:
    """A legacy reading that cannot become valid is rejected at once, and the next is read."""
    bad = "leitura inválida: o separador decimal é o ponto, não a vírgula"
    readings, responses = run(["Sensor1 - Temperatura: 21,5°C".encode(), READINGS[0].encode()])
    assert readings == READINGS[:1]
    assert responses == [f'{bad}: "21,5°C" False', "ok"]


def test_newline_after_a_rejected_reading() -> None:
    """The newline behind a rejected legacy reading ends the answer to it."""
    readings, responses = run(["Sensor1 - Temperatura: 21,5°C".encode(), b"\n", READINGS[0].encode() + b"\n"])
    assert readings == READINGS[:1]
    assert responses[1:] == ["\n", "ok\n"]


@pytest.mark.parametrize(
    ("remainder", "reason"),
    [
        ("Sensor1 - Temperatura: 21.5C", 'a unidade "C" só vale com uma nova linha no fim; "°C"? sem ela: %, °C'),
        ("Sensor1 - pH: 7.2", "falta a unidade (%, °C), ou uma nova linha no fim"),
        ("Sensor1 - Temp", "leitura incompleta"),
        ("Sensor1 - Temperatura: 21.", "leitura incompleta"),
    ],
)
def test_incomplete_reading_names_what_is_missing(remainder: str, reason: str) -> None:
    """The error of an incomplete reading says what is missing."""
    framer = Framer(OPEN, set(messages.KNOWN_UNITS))
    assert framer.feed(remainder.encode()) == []
    assert reason in framer.why_unfinished()
    assert framer.feed(b"m\n")  # it could have become a line


def test_half_a_character_is_incomplete() -> None:
    """Half of a character at the end is an incomplete reading."""
    framer = Framer(OPEN, set(messages.KNOWN_UNITS))
    assert framer.feed(READINGS[0].encode()[:-2]) == []
    assert framer.why_unfinished() == messages.INCOMPLETE


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_without_a_unit(end: str) -> None:
    """A native line needs no unit."""
    assert run([f"Aquario - pH: 7.2{end}".encode()]) == (["Aquario - pH: 7.2"], ["ok\n"])
    assert run([f"{READINGS[0]}{end}Aquario - pH: 7.2{end}".encode()])[1] == ["ok\n", "ok\n"]


@pytest.mark.parametrize("blank", ["", "\r", " ", "\0"])
def test_blank_line_is_ignored(blank: str) -> None:
    """A blank line is no event."""
    lines = f"{READINGS[0]}\n{blank}\n{blank}\n{READINGS[1]}\n{blank}\n".encode()
    assert run([lines]) == (READINGS[:2], ["ok\n", "ok\n"])
    assert run([READINGS[0].encode(), b"\n", f"{blank}\n".encode()]) == (READINGS[:1], ["ok", "\n"])


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("size", [64, 1024, 4096])
def test_nul_padding_is_ignored(end: str, size: int) -> None:
    """A fixed-size buffer filled up with NUL is one reading."""
    packets = [f"{text}{end}".encode().ljust(size, b"\0") for text in READINGS]
    responses = [f"ok{end}"] * 4
    assert run(packets) == (READINGS, responses)
    assert run([b"".join(packets)]) == (READINGS, responses)
    whole = b"".join(packets)
    assert run([whole[:50], whole[50:]]) == (READINGS, responses)


def test_control_line_with_a_byte_order_mark() -> None:
    """A control line may begin with a byte order mark."""
    assert run(["\ufefffrota hello a\n".encode()]) == ([], ["hello a\n"])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "refused",
    [
        "Sensor1 - Temp: 5e°C",
        "Sensor1 - Temp: 21,5°C",
        "Sensor1 - Temp: infinity°C",
        "Sensor1 - Temp: infinityºC",
        "2026-01-31 12:00:00 Sensor1 - Temp: 21.5°C",
        "José's Sensor - T: 5%",
        "[info] Sensor1 - T: 5%",
    ],
)
def test_rest_of_a_rejected_reading_is_no_name(refused: str, size: int) -> None:
    """The rest of a rejected reading is not read as the next sensor's name."""
    sent, framer = f"{refused}Sensor1 - Temp: 6°C".encode(), Framer(OPEN, set(messages.KNOWN_UNITS))
    events = [event for at in range(0, len(sent), size) for event in framer.feed(sent[at : at + size])]
    assert [type(event) for event in events] == [Bad, Batch]
    assert events[0].text == refused  # type: ignore[union-attr] # it is Bad, see above
    assert [parts[:2] for parts in events[1].readings] == [("Sensor1", "Temp")]  # type: ignore[union-attr] # as above


def test_invalid_text_without_a_unit_waits() -> None:
    """Invalid text without a unit is rejected when its end has come."""
    framer = Framer(OPEN, set(messages.KNOWN_UNITS))
    assert framer.feed(b"Sensor1 - Temp: inf") == []
    assert "não é um número finito" in framer.why_unfinished()
