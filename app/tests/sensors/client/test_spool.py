"""The client's spool: in order, bounded, each number once."""

from pathlib import Path

from frota.sensors.client.spool import Spool


def test_what_was_not_delivered_is_there_after_a_restart_under_the_same_numbers(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10)
    client = spool.client
    for text in "abc":
        spool.add(text)
    spool.delivered(1, 1)
    spool.close()
    spool = Spool(tmp_path, 10)
    assert spool.client == client
    assert spool.waiting == 2
    assert spool.after(0, 9) == [(2, "b"), (3, "c")]
    assert spool.after(2, 9) == [(3, "c")]
    spool.close()


def test_a_number_is_never_given_twice_even_when_everything_is_delivered(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10)
    spool.add("a")
    spool.delivered(1, 1)
    spool.close()
    spool = Spool(tmp_path, 10)
    spool.add("b")
    assert spool.after(0, 9) == [(2, "b")]
    spool.close()


def test_beyond_its_limit_the_oldest_goes(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 2)
    assert [spool.add(text) for text in "abcd"] == [0, 0, 1, 1]
    assert spool.after(0, 9) == [(3, "c"), (4, "d")]
    assert spool.waiting == 2
    spool.close()


def test_a_folder_older_than_what_the_server_knows_goes_on_behind_the_servers_number(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 9)
    spool.add("a")
    spool.not_before(7)
    spool.add("b")
    spool.not_before(3)
    spool.add("c")
    assert spool.after(0, 9) == [(1, "a"), (8, "b"), (9, "c")]
    assert spool.waiting == 3
    spool.close()
