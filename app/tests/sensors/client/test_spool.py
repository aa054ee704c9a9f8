"""The client's spool: in order, bounded, each number once."""

from pathlib import Path

from frota.sensors.client.spool import Spool


def test_restart_keeps_the_spool(tmp_path: Path) -> None:
    """Undelivered readings keep their numbers over a restart."""
    spool = Spool(tmp_path, 10)
    client = spool.client
    for text in "abc":
        spool.append(text)
    spool.delivered(1, 1)
    spool.close()
    spool = Spool(tmp_path, 10)
    assert spool.client == client
    assert spool.waiting == 2
    assert spool.after(0, 9) == [(2, "b"), (3, "c")]
    assert spool.after(2, 9) == [(3, "c")]
    spool.close()


def test_numbers_are_never_reused(tmp_path: Path) -> None:
    """No number is used twice, even if the spool was empty."""
    spool = Spool(tmp_path, 10)
    spool.append("a")
    spool.delivered(1, 1)
    spool.close()
    spool = Spool(tmp_path, 10)
    spool.append("b")
    assert spool.after(0, 9) == [(2, "b")]
    spool.close()


def test_full_spool_drops_the_oldest(tmp_path: Path) -> None:
    """A full spool drops its oldest reading."""
    spool = Spool(tmp_path, 2)
    assert [spool.append(text) for text in "abcd"] == [0, 0, 1, 1]
    assert spool.after(0, 9) == [(3, "c"), (4, "d")]
    assert spool.waiting == 2
    spool.close()


def test_old_folder_continues_the_numbers(tmp_path: Path) -> None:
    """A restored folder continues behind the server's last number."""
    spool = Spool(tmp_path, 9)
    spool.append("a")
    spool.continue_after(7)
    spool.append("b")
    spool.continue_after(3)
    spool.append("c")
    assert spool.after(0, 9) == [(1, "a"), (8, "b"), (9, "c")]
    assert spool.waiting == 3
    spool.close()
