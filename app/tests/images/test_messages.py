"""Messages are read back as written, and foreign ones are invalid."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.core.errors import MalformedMessage
from frota.images import messages
from frota.images.messages import QueuedImage, StatusEvent, dead_letter_reason, result_keys, result_metadata

ID, SHA, TRACE = "0123456789abcdef" * 2, "ab" * 32, "fedcba9876543210" * 2
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


def image(name: str = "photo.jpg", upload: str = "") -> QueuedImage:
    return QueuedImage(ID, name, TRACE, SHA, 1234, upload)


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
def test_result_key_equals_the_legacy_one(name: str, keys: tuple[str, str]) -> None:
    """The first key of a result is the legacy one, the second contains a hash."""
    assert result_keys(name, SHA) == keys


LONG = [
    "a" * 251 + ".jpg",
    "é" * 125 + ".png",
    "\N{FAMILY}" * 62 + ".webp",
    "e\u0301" * 83 + ".tiff",
    "\N{WOMAN}\u200d\N{PERSONAL COMPUTER}" * 22 + ".gif",
    "\N{REGIONAL INDICATOR SYMBOL LETTER B}\N{REGIONAL INDICATOR SYMBOL LETTER R}" * 31 + ".jpg",
    "\N{WAVING HAND SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}" * 31 + ".jpg",
    "ก็" * 41 + ".jpeg",
    "a" * 255,
    "a." + "b" * 253,
    "\u0301" * 127,
]


@pytest.mark.parametrize("name", LONG, ids=range(len(LONG)))
def test_result_key_has_a_maximum_length(name: str) -> None:
    """The key of a result is never longer than a file name."""
    assert messages.check_name(name) == name
    first, second = result_keys(name, SHA)
    end = messages.extension(name) if len(messages.extension(name)) < 9 else ""
    assert first.endswith(f"_gray{end}")
    assert second.endswith(f"_gray-{SHA[:16]}{end}")
    for key in (first, second):
        assert 200 < len(key.encode()) <= 255 or name.startswith("\u0301")
        stem = key.partition("_gray")[0]
        assert name.startswith(stem)
        assert unicodedata.normalize("NFC", name).startswith(unicodedata.normalize("NFC", stem)), "half a character"


@pytest.mark.parametrize(
    ("text", "shortened"),
    [
        ("abc", "abc"),
        ("abcdef", "abcd"),
        ("abcé", "abc"),
        ("abe\u0301", "ab"),
        ("ab\N{WAVING HAND SIGN}", "ab"),
        ("\N{REGIONAL INDICATOR SYMBOL LETTER B}\N{REGIONAL INDICATOR SYMBOL LETTER R}", ""),
        ("\u0301\u0301\u0301", ""),
    ],
)
def test_text_is_cut_between_graphemes(text: str, shortened: str) -> None:
    """A text is cut between grapheme clusters."""
    assert messages.shortened(text, 4) == shortened


def test_shortened_names_differ_by_hash() -> None:
    """Names that become equal by shortening differ in their second key."""
    first, second = result_keys("a" * 250 + "1.jpg"[:5], SHA), result_keys("a" * 250 + "2.jpg", "cd" * 32)
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_metadata_has_the_media_type() -> None:
    """The metadata has the media type, whatever the extension."""
    metadata = result_metadata(image("photo.webp"), 3, 2, "image/jpeg")
    assert (metadata["media-type"], metadata["width"], metadata["height"]) == ("image/jpeg", "3", "2")


@pytest.mark.parametrize("name", ["-rf.jpg", "...", " ", "a b.jpg", "\u200f\u05e9\u05dc\u05d5\u05dd.jpg", "con.jpg"])
def test_unusual_name_is_accepted(name: str) -> None:
    """An unusual but valid name is accepted."""
    assert messages.check_name(name) == name
    assert all("_gray" in key for key in result_keys(name, SHA))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", messages.EMPTY_NAME),
        ("../../x.jpg", messages.PATH_NAME),
        ("C:\\x.jpg", messages.PATH_NAME),
        ("..", messages.PATH_NAME),
        ("..\\..\\x.jpg", messages.PATH_NAME),
        (".", messages.PATH_NAME),
        ("/", messages.PATH_NAME),
        ("a\nPRIORITY=0.jpg", messages.CONTROL_CHARACTER.format("U+000A")),
        ("a\x1b[2J.jpg", messages.CONTROL_CHARACTER.format("U+001B")),
        ("a\0.jpg", messages.CONTROL_CHARACTER.format("U+0000")),
        ("a\u2028.jpg", messages.CONTROL_CHARACTER.format("U+2028")),
        ("gpj.\u202eexe", messages.BIDI_NAME.format("U+202E")),
        ("\u2066a.jpg", messages.BIDI_NAME.format("U+2066")),
        ("f\udce9rias.jpg", messages.NOT_UTF8_NAME),
        ("\udcff\n.jpg", messages.NOT_UTF8_NAME),
        ("é" * 128 + ".jpg", messages.LONG_NAME),
    ],
)
def test_invalid_name_is_rejected(name: str, reason: str) -> None:
    """An invalid name is rejected with the reason."""
    with pytest.raises(MalformedMessage) as error:
        messages.check_name(name)
    assert str(error.value) == reason


@given(names)
def test_name_is_unchanged_or_rejected(name: str) -> None:
    """A name is accepted unchanged, or rejected."""
    try:
        assert messages.check_name(name) == name
    except MalformedMessage:
        return
    assert not set(name) & set("/\\\n\r\x00")
    assert len(result_keys(name, SHA)[1].encode()) < 1024
    assert all(value.isascii() for value in result_metadata(image(name), 1, 1, "image/png").values())


@pytest.mark.parametrize("upload", ["", f"uploads/{ID}"])
def test_headers_round_trip(upload: str) -> None:
    """A queued image is read back from its headers."""
    assert QueuedImage.read(ID, image(upload=upload).headers()) == image(upload=upload)


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
def test_foreign_headers_are_invalid(message_id: str | None, changed: dict[str, object]) -> None:
    """Foreign headers raise MalformedMessage."""
    with pytest.raises(MalformedMessage):
        QueuedImage.read(message_id, image().headers() | changed)


def test_missing_headers_are_invalid() -> None:
    """A message without headers raises MalformedMessage."""
    with pytest.raises(MalformedMessage):
        QueuedImage.read(ID, None)


@pytest.mark.parametrize("state", messages.EVENT_STATES)
def test_event_round_trip(state: str) -> None:
    """A status event is read back as written."""
    event = StatusEvent(ID, state, "férias.png", TRACE, SHA, "worker-1", "férias_gray.png", "results", "por quê")
    assert StatusEvent.read(event.encode()) == event


@given(st.binary(max_size=200) | st.sampled_from([b"[]", b"{}", b'"x"', b'{"id": 1, "state": "done"}', b"null"]))
def test_malformed_event_is_invalid(body: bytes) -> None:
    """A malformed event raises MalformedMessage."""
    with pytest.raises(MalformedMessage):
        StatusEvent.read(body)


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
def test_dead_letter_reason_prefers_the_worker(headers: dict[str, object] | None, code: str) -> None:
    """The reason of a dead letter is the worker's, else the broker's."""
    assert dead_letter_reason(headers).code == code


def test_size_of_headers_is_constant() -> None:
    """A message is read back whatever its image id."""
    image = QueuedImage("0" * 32, "a.jpg", TRACE, "a" * 64, 1)
    assert QueuedImage.read(image.id, image.headers()) == image
