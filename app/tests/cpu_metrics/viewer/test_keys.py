"""Keys: from bytes to names, and what they change of what is looked at."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from frota.cpu_metrics.viewer.host_status import SORTS, Host
from frota.cpu_metrics.viewer.keys import Decoder
from frota.cpu_metrics.viewer.view import View
from support.viewer import host


def view_of(*names: str) -> View:
    view = View()
    view.take([Host(host(name), b"") for name in names])
    return view


def press(view: View, *keys: str) -> View:
    for key in keys:
        view.press(key)
    return view


def names(view: View) -> list[str]:
    return [one.name for one in view.shown]


def selected(view: View) -> Any:
    return view.selected and view.selected.name


def test_keys_of_all_kinds_of_terminals_have_names() -> None:
    typed = b"q\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[H\x1bOF\x1b[1~\x1b[4~\x1b[1;5A\r\n\x7f\xc3\xa9"
    moves = ["up", "down", "page up", "page down", "home", "end", "home", "end", "up"]
    assert Decoder().feed(typed) == ["q", *moves, "enter", "enter", "backspace", "é"]


def test_a_key_may_come_in_pieces() -> None:
    decoder = Decoder()
    assert [decoder.feed(bytes([one])) for one in b"\x1b[5~x"] == [[], [], [], ["page up"], ["x"]]


def test_an_escape_is_a_key_by_itself_when_nothing_follows() -> None:
    decoder = Decoder()
    assert decoder.feed(b"\x1b") == []
    assert decoder.waits
    assert decoder.flush() == ["escape"]
    assert not decoder.waits
    assert decoder.feed(b"\x1b\x1b[A") == ["escape", "up"]


def test_unknown_sequences_are_nothing() -> None:
    assert Decoder().feed(b"\x1b[200~\x1bx\x1b[31;5u\x1b[Z\x01\x00s") == ["s"]


def test_a_sequence_without_an_end_is_given_up() -> None:
    decoder = Decoder()
    assert decoder.feed(b"\x1b[" + b"1" * 100 + b"q")[-1] == "q"
    assert not decoder.waits


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_whatever_is_typed_keys_are_names_and_nothing_is_kept_for_ever(pieces: list[bytes]) -> None:
    decoder = Decoder()
    for piece in pieces:
        assert all(key.isprintable() and key for key in decoder.feed(piece))
        assert len(decoder._begun) <= 33
    decoder.flush()
    assert decoder.feed(b"q")[-1] == "q"


def test_s_goes_through_all_orders_and_r_reverses_them() -> None:
    view = view_of("b", "a")
    assert [press(view, "s").sort for _ in SORTS] == ["cpu", "memory", "disk", "network", "state", "name"]
    assert names(view) == ["a", "b"]
    assert names(press(view, "r")) == ["b", "a"]


def test_the_selected_host_stays_selected_wherever_it_gets_to() -> None:
    view = press(view_of("a", "b", "c"), "down", "down")
    assert (selected(view), view.index) == ("c", 2)
    press(view, "r")
    assert (selected(view), view.index) == ("c", 0)
    view.take([Host(host(name), b"") for name in ("x", "c")])
    assert selected(view) == "c"
    view.take([Host(host("x"), b"")])
    assert selected(view) == "x"


def test_at_the_top_one_stays_at_the_top_whoever_gets_there() -> None:
    view = view_of("b", "c")
    view.take([Host(host(name), b"") for name in "abc"])
    assert selected(view) == "a"
    press(view, "down", "home")
    view.take([Host(host(name), b"") for name in "0abc"])
    assert selected(view) == "0"


def test_a_filter_is_taken_while_it_is_typed_kept_by_enter_and_given_up_by_escape() -> None:
    view = press(view_of("web-1", "web-2", "db-1"), "/", "W", "e", "b", "q", "backspace")
    assert names(view) == ["web-1", "web-2"]
    assert not view.over
    press(view, "enter", "/", "z", "z")
    assert names(view) == []
    assert selected(press(view, "down", "enter")) is None
    press(view, "/", "escape")
    assert view.wanted == "Webzz"
    press(view, "/", *["backspace"] * 9, "d", "escape")
    assert view.wanted == "Webzz"
    assert names(press(view, "/", *["backspace"] * 9, "enter")) == ["db-1", "web-1", "web-2"]


def test_details_stay_with_their_host_and_end_with_it() -> None:
    view = press(view_of("a", "b"), "enter")
    view.take([Host(host(name), b"") for name in ("0", "a")])
    assert (view.page, selected(view)) == ("details", "a")
    view.take([Host(host("0"), b"")])
    assert (view.page, selected(view)) == ("", "0")


def test_enter_escape_and_the_question_mark_turn_pages_and_q_ends() -> None:
    view = view_of("a")
    pages = [press(view, key).page for key in ("enter", "enter", "enter", "escape", "?", "?", "?", "escape")]
    assert pages == ["details", "", "details", "", "help", "", "help", ""]
    assert press(view_of(), "enter").page == ""
    assert press(view, "?", "q").over


def test_c_hides_the_cores() -> None:
    assert not press(view_of("a"), "c").cores
    assert press(view_of("a"), "c", "c").cores
