"""What travels reads back as it was written, and what is none of ours is said to be so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.images import messages
from frota.images.messages import BadMessage, Event, Ticket, death_of, metadata, result_keys

ID, SHA, TRACE = "0123456789abcdef" * 2, "ab" * 32, "fedcba9876543210" * 2
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


def ticket(name: str = "photo.jpg", upload: str = "") -> Ticket:
    return Ticket(ID, name, TRACE, SHA, 1234, upload)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("photo.jpg", ("photo_gray.jpg", "photo_gray-abababababababab.jpg")),
        ("a.b.PNG", ("a.b_gray.PNG", "a.b_gray-abababababababab.PNG")),
        ("photo", ("photo_gray", "photo_gray-abababababababab")),
        (".hidden", (".hidden_gray", ".hidden_gray-abababababababab")),
        ("..x", ("..x_gray", "..x_gray-abababababababab")),
        ("foto de férias.jpeg", ("foto de férias_gray.jpeg", "foto de férias_gray-abababababababab.jpeg")),
    ],
)
def test_the_key_of_a_result_is_the_originals_and_another_one_where_that_is_taken(
    name: str, keys: tuple[str, str]
) -> None:
    assert result_keys(name, SHA) == keys


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", messages.NO_NAME),
        ("../../x.jpg", messages.PATH_NAME),
        ("C:\\x.jpg", messages.PATH_NAME),
        ("..", messages.PATH_NAME),
        ("a\nPRIORITY=0.jpg", messages.ODD_NAME),
        ("a\x1b[2J.jpg", messages.ODD_NAME),
        ("gpj.\u202eexe", messages.ODD_NAME),
        ("é" * 128 + ".jpg", messages.LONG_NAME),
    ],
)
def test_a_name_that_is_no_plain_file_name_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(BadMessage) as error:
        messages.check_name(name)
    assert str(error.value) == reason


@given(names)
def test_a_name_is_taken_as_it_is_or_refused(name: str) -> None:
    try:
        assert messages.check_name(name) == name
    except BadMessage:
        return
    assert not set(name) & set("/\\\n\r\x00")
    assert len(result_keys(name, SHA)[1].encode()) < 1024
    assert all(value.isascii() for value in metadata(ticket(name), 1, 1).values())


@pytest.mark.parametrize("upload", ["", f"uploads/{ID}"])
def test_a_ticket_reads_back_from_the_headers_that_it_wrote(upload: str) -> None:
    assert Ticket.read(ID, ticket(upload=upload).headers()) == ticket(upload=upload)


@pytest.mark.parametrize(
    ("message_id", "changed"),
    [
        (None, {}),
        ("photo", {}),
        (ID, {"filename": "../x"}),
        (ID, {"traceparent": "00-" + "0" * 32 + "-" + "1" * 16 + "-01"}),
        (ID, {"sha256": "xyz"}),
        (ID, {"size": "many"}),
        (ID, {"size": None}),
    ],
)
def test_headers_that_are_none_of_ours_are_told_from_a_ticket(
    message_id: str | None, changed: dict[str, object]
) -> None:
    with pytest.raises(BadMessage):
        Ticket.read(message_id, ticket().headers() | changed)


def test_a_message_without_headers_is_no_ticket() -> None:
    with pytest.raises(BadMessage):
        Ticket.read(ID, None)


@pytest.mark.parametrize("state", messages.EVENT_STATES)
def test_an_event_reads_back_as_it_was_written(state: str) -> None:
    event = Event(ID, state, "férias.png", TRACE, SHA, "worker-1", "férias_gray.png", "results", "por quê")
    assert Event.read(event.encode()) == event


@given(st.binary(max_size=200) | st.sampled_from([b"[]", b"{}", b'"x"', b'{"id": 1, "state": "done"}', b"null"]))
def test_what_is_no_event_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(BadMessage):
        Event.read(body)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"reason": "imagem truncada", "reason-code": "truncated"}, "truncated"),
        ({"x-death": [{"reason": "delivery_limit", "queue": "images"}]}, "delivery_limit"),
        ({"x-death": [{"reason": "maxlen"}]}, "maxlen"),
        ({"x-death": "odd"}, "unknown"),
        ({}, "unknown"),
        (None, "unknown"),
    ],
)
def test_why_a_message_is_dead_is_what_its_worker_said_or_else_the_broker(
    headers: dict[str, object] | None, code: str
) -> None:
    assert death_of(headers).code == code


@pytest.mark.parametrize(
    ("text", "trace"),
    [
        (f"00-{TRACE}-{'1' * 16}-01", TRACE),
        (f"00-{TRACE.upper()}-{'1' * 16}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{'0' * 32}-{'1' * 16}-01", ""),
        (f"00-{TRACE}-{'1' * 16}-01\n", ""),
        ("", ""),
    ],
)
def test_a_trace_is_taken_only_from_a_valid_traceparent(text: str, trace: str) -> None:
    assert messages.trace_of(text) == trace
