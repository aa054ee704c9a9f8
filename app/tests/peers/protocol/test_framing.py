"""Framing: objects come out whole, in whichever packets their bytes arrive."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.core.errors import MalformedMessage
from frota.peers.protocol import framing
from frota.peers.protocol.framing import Bad, Frame, Framer

MAX_BYTES = 200

texts = st.text(alphabet=st.sampled_from('a"\\{}[]\n\u00e9\U0001f600 ,:'), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=4)
separators = st.sampled_from(["", "\n", "\r\n", " ", "\n\n\t"])
rubbish = st.sampled_from(['{"a": tru}', "{]", "GET / HTTP/1.1", "[1]", '{"a\n": 1}', "{" + " " * MAX_BYTES + "}", "}"])


@st.composite
def messages(draw: st.DrawFn) -> str:
    """Return an object as some program writes it."""
    text = json.dumps(draw(objects), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    return text + draw(separators)


streams = st.lists(messages() | st.tuples(rubbish, separators).map("".join), max_size=6).map("".join)


def run(pieces: list[bytes]) -> list[Any]:
    """Return the objects and errors of a stream that arrives in these pieces."""
    framer = Framer(MAX_BYTES)
    events = [event for piece in pieces for event in framer.feed(piece)]
    return [event.fields if isinstance(event, Frame) else event for event in events]


def split(whole: bytes, data: st.DataObject) -> list[bytes]:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=12)))
    return [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@given(streams, st.data())
def test_stream_in_any_packets(stream: str, data: st.DataObject) -> None:
    """Any split of a stream gives the same objects and the same errors."""
    whole = stream.encode()
    expected = run([whole])
    assert run(split(whole, data)) == expected
    assert run([whole[index : index + 1] for index in range(len(whole))]) == expected


@given(st.lists(st.tuples(objects, separators), max_size=6), st.data())
def test_objects_come_out_whole(sent: list[tuple[dict[str, Any], str]], data: st.DataObject) -> None:
    """Every object that was sent comes out, with braces, quotes and escapes in its strings."""
    short = [(fields, separator) for fields, separator in sent if len(json.dumps(fields)) <= MAX_BYTES]
    whole = "".join(json.dumps(fields) + separator for fields, separator in short).encode()
    assert run(split(whole, data)) == [fields for fields, _ in short]


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_arbitrary_bytes_are_bounded(pieces: list[bytes]) -> None:
    """Arbitrary bytes never raise, and never buffer more than the limit."""
    framer = Framer(MAX_BYTES)
    for piece in pieces:
        framer.feed(piece)
        assert framer.buffered_bytes <= MAX_BYTES


@pytest.mark.parametrize(
    ("stream", "event"),
    [
        (b"GET / HTTP/1.1", Bad("expected \"{\" of a JSON object, not b'G'", fatal=True)),
        (b"[1]", Bad("expected \"{\" of a JSON object, not b'['", fatal=True)),
        (b"\xff", Bad("expected \"{\" of a JSON object, not b'\\xff'", fatal=True)),
        (b'{"a": NaN}', Bad("not JSON: unexpected character, expected a JSON value, at 'NaN}'", fatal=False)),
        (b'{"a": 1e400}', Bad("not JSON: number is infinity when parsed as double, at '1e400}'", fatal=False)),
        (b'{"a": "\xff"}', Bad("not JSON: str is not valid UTF-8: surrogates not allowed, at ''", fatal=False)),
        (b'{"a', None),
        (b'{"a\n', Bad("control character 0x0a in a string", fatal=True)),
        (b'{"a": ' * 2000, Bad("nested too deeply: at most 1024 levels", fatal=True)),
        (b'{"a": ' + b"[" * 10_000, Bad("nested too deeply: at most 1024 levels", fatal=True)),
        (
            b'{"a": "' + b"x" * framing.MAX_MESSAGE_BYTES,
            Bad("the message is too long: at most 1048576 bytes", fatal=True),
        ),
    ],
)
def test_malformed_streams(stream: bytes, event: Bad | None) -> None:
    """What is no JSON object is rejected with the reason, and ends the connection if its end is unknown."""
    assert Framer().feed(stream) == ([event] if event else [])


def test_depth_limit() -> None:
    """Objects are accepted and rejected at the same depth, whichever path parses them."""
    deepest = b'{"a":' * framing.MAX_DEPTH + b"1" + b"}" * framing.MAX_DEPTH
    too_deep = b'{"a":' + deepest + b"}"
    for pieces in ([deepest], [deepest[:1], deepest[1:]]):
        framer = Framer()
        assert [type(event) for piece in pieces for event in framer.feed(piece)] == [Frame]
    assert Framer().feed(too_deep) == [Bad("nested too deeply: at most 1024 levels", fatal=True)]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_length_limit(end: bytes) -> None:
    """A message may be as long as the limit, without the white space around it."""
    longest = b'{"a": "' + b"x" * (MAX_BYTES - 9) + b'"}'
    assert len(longest) == MAX_BYTES
    for pieces in ([longest + end], [b"\n", longest + end], [longest[:50], longest[50:] + end]):
        framer = Framer(MAX_BYTES)
        assert [type(event) for piece in pieces for event in framer.feed(piece)] == [Frame]
    longer = longest.replace(b"x", b"xx", 1) + end
    for pieces in ([longer], [longer[:50], longer[50:]]):
        framer = Framer(MAX_BYTES)
        events = [event for piece in pieces for event in framer.feed(piece)]
        assert events == [Bad("the message is too long: at most 200 bytes", fatal=True)]


def test_nothing_after_a_fatal_error() -> None:
    """After a fatal error all input is ignored, and nothing is buffered."""
    framer = Framer()
    assert [type(event) for event in framer.feed(b'{"a": 1}x{"b": 2}')] == [Frame, Bad]
    assert framer.feed(b'{"c": 3}') == []
    assert framer.buffered_bytes == 0


def test_newline_is_told() -> None:
    """A frame says whether a newline ended it; legacy dialects differ in it."""
    frames = Framer().feed(b'{"a": 1}\n{"b": 2} \r\n{"c": 3}')
    assert [frame.newline for frame in frames if isinstance(frame, Frame)] == [True, True, False]
    frames = Framer().feed(b'{"a":\n1}\n{"b":\n2}')  # the scanner's
    assert [frame.newline for frame in frames if isinstance(frame, Frame)] == [True, False]
    frames = Framer().feed(b'{"a": 1}\n') + Framer().feed(b'{"a": 1}')
    assert [frame.newline for frame in frames if isinstance(frame, Frame)] == [True, False]


@pytest.mark.parametrize("text", ["[1]", "1", "null", '"{}"', "{} {}", "", "{", b"\xff", "\ud800"])
def test_text_that_is_no_object(text: str | bytes) -> None:
    """The text of a WebSocket must be exactly one JSON object."""
    with pytest.raises(MalformedMessage):
        framing.parse(text)


def test_attempts_are_bounded() -> None:
    """A message in packets that each look like its end is parsed in vain three times, not once a packet."""
    framer = Framer()
    assert framer.feed(b'{"a": [{}') == []
    for _ in range(100):
        assert framer.feed(b',{"b":\n2},{}') == []
    assert framer._attempts == 3
    assert framer._scanner.position == framer.buffered_bytes
    assert [type(event) for event in framer.feed(b"]}")] == [Frame]
    assert framer._attempts == 0
