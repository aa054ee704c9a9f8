"""`frota peers migrate`."""

from contextlib import closing
from pathlib import Path
from sqlite3 import connect

from support import run_frota


def migrate(*flags: object) -> str:
    done = run_frota("peers", "migrate", *flags)
    return "" if done.returncode == 0 else done.stderr


def test_migrate_forward_and_back(tmp_path: Path) -> None:
    """The schema can be made, made again, and dropped; an unknown revision is an error."""
    flags = ("--state-dir", tmp_path / "new")
    assert [migrate(*flags, "--examples"), migrate(*flags), migrate(*flags, "--to", "base")] == ["", "", ""]
    assert "Revision '9'" in migrate(*flags, "--to", "9")


def test_migrate_says_what_it_did_and_creates_accounts(tmp_path: Path) -> None:
    """Playbooks read from the output whether anything was to be done; an account is created once."""
    flags = ("--state-dir", tmp_path, "--account", "00000000000:Ana")
    outputs = [run_frota("peers", "migrate", *flags).stdout for _ in range(2)]
    assert [output.split()[0] for output in outputs] == ["migrated", "the"]
    with closing(connect(tmp_path / "peers.db")) as database:
        assert database.execute("SELECT cpf, nome FROM users").fetchall() == [("00000000000", "Ana")]
    assert "must be CPF:NAME" in migrate("--account", "1:Ana")
