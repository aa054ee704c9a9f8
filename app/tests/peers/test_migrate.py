"""`frota peers migrate`."""

from pathlib import Path

from support import run_frota


def migrate(*flags: object) -> str:
    done = run_frota("peers", "migrate", *flags)
    return "" if done.returncode == 0 else done.stderr


def test_migrate_forward_and_back(tmp_path: Path) -> None:
    """The schema can be made, made again, and dropped; an unknown revision is an error."""
    flags = ("--state-dir", tmp_path / "new")
    assert [migrate(*flags, "--examples"), migrate(*flags), migrate(*flags, "--to", "base")] == ["", "", ""]
    assert "Revision '9'" in migrate(*flags, "--to", "9")
