"""The users file, and the hashes of passwords."""

from pathlib import Path

import pytest

from frota.core.settings import SettingsError
from frota.observer.dashboard import users
from frota.observer.dashboard.users import Users
from support import run_frota
from support.dashboard import PASSWORD, users_file


def test_password_is_recognised_and_another_is_not(tmp_path: Path) -> None:
    """A user with the right password is found; a wrong password and an unknown name are not."""
    known = Users.read(users_file(tmp_path))
    assert (user := known.authenticate("olga", PASSWORD))
    assert user.role == "operator"
    assert known.authenticate("olga", PASSWORD + "x") is None
    assert known.authenticate("nobody", PASSWORD) is None
    assert known.authenticate("nobody", "") is None


def test_hash_has_a_salt() -> None:
    """Two users with the same password have different hashes, and both are recognised."""
    one, other = users.password_hash(PASSWORD), users.password_hash(PASSWORD)
    assert one != other
    assert users.is_right(PASSWORD, one)
    assert users.is_right(PASSWORD, other)


@pytest.mark.parametrize(
    "content",
    ["", "olga:operator", "olga:admin:$scrypt$", "ol ga:viewer:x", "olga:operator:plain", "olga:viewer:$scrypt$ln=30"],
)
def test_malformed_file_is_rejected(tmp_path: Path, content: str) -> None:
    """A malformed users file is rejected with its place, and its content is not quoted."""
    file = tmp_path / "users"
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(SettingsError) as rejected:
        Users.read(file)
    assert str(file) in str(rejected.value)
    assert "plain" not in str(rejected.value)
    assert "$scrypt$ln" not in str(rejected.value)


def test_user_twice_is_rejected(tmp_path: Path) -> None:
    """A user who has two lines is rejected."""
    file = users_file(tmp_path)
    file.write_text(file.read_text() * 2)
    with pytest.raises(SettingsError, match="vera has a line already"):
        Users.read(file)


def test_readable_file_is_rejected(tmp_path: Path) -> None:
    """A users file that everybody can read is rejected."""
    file = users_file(tmp_path)
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="everybody can read this secret"):
        Users.read(file)


def test_password_command_prints_a_line(tmp_path: Path) -> None:
    """`frota dashboard password` prints a line that the users file takes."""
    done = run_frota("dashboard", "password", "ana", "--role", "operator", stdin_data=b"a good password\n")
    assert done.returncode == 0
    file = tmp_path / "users"
    file.write_text(done.stdout)
    file.chmod(0o600)
    assert Users.read(file).authenticate("ana", "a good password")


def test_short_password_is_rejected() -> None:
    """A password of less than eight characters is rejected with the reason."""
    done = run_frota("dashboard", "password", "ana", stdin_data=b"short\n")
    assert done.returncode == 78
    assert "must have 8 to 1024" in done.stderr
