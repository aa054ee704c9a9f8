"""How client commands find their server."""

import argparse
from pathlib import Path

import pytest

from frota.core.settings import SettingsError
from frota.net import arguments


def address(folder: Path, *words: str) -> tuple[str, int]:
    """Return the server of a command line on a host with these env files."""
    parser = argparse.ArgumentParser()
    arguments.add_server(parser, 5000)
    args = parser.parse_args(words)
    return arguments.server(args, 5000, "TEST_", "frota-test-server", "frota-test-client@*", folder=folder)


@pytest.mark.parametrize(
    ("words", "server"),
    [
        ((), ("127.0.0.1", 5000)),
        (("--port", "7"), ("127.0.0.1", 7)),
        (("--host", "a"), ("a", 5000)),
        (("--host", "a:6"), ("a", 6)),
        (("--host", "a:6", "--port", "7"), ("a", 7)),
        (("--host", "[::1]:6"), ("::1", 6)),
        (("--host", "::1"), ("::1", 5000)),
    ],
)
def test_command_line(tmp_path: Path, words: tuple[str, ...], server: tuple[str, int]) -> None:
    """Without env files, the server is that of the command line, or on this host."""
    assert address(tmp_path, *words) == server


def test_clients_of_the_fleet_reach_its_server(tmp_path: Path) -> None:
    """A host with a client's env file uses that client's server, unless the command line names another."""
    (tmp_path / "frota-test-client@x.env").write_text('TEST_HOST="10.0.0.9"\nTEST_PORT="6000"\nTEST_OTHER=1\n')
    assert address(tmp_path) == ("10.0.0.9", 6000)
    assert address(tmp_path, "--port", "7") == ("10.0.0.9", 7)
    assert address(tmp_path, "--host", "a") == ("a", 5000)


def test_host_of_the_server_reaches_itself(tmp_path: Path) -> None:
    """On the server's host, whose env file has the port alone, it is reached on 127.0.0.1, whatever else runs there."""
    (tmp_path / "frota-test-server.env").write_text('TEST_PORT="6000"\n')
    (tmp_path / "frota-test-client@x.env").write_text('TEST_HOST="10.0.0.9"\nTEST_PORT="6001"\n')
    assert address(tmp_path) == ("127.0.0.1", 6000)


@pytest.mark.parametrize("line", ["TEST_PORT=x", "TEST_PORT=70000", "TEST_HOST=[::1", "nonsense"])
def test_invalid_env_file_is_named(tmp_path: Path, line: str) -> None:
    """An env file that names no server is a SettingsError that names the file."""
    file = tmp_path / "frota-test-server.env"
    file.write_text(f"{line}\n")
    with pytest.raises(SettingsError, match=f"^{file}"):
        address(tmp_path)


@pytest.mark.parametrize("text", ["", "a:0", "a:70000", "[::1", "[::1]:x"])
def test_invalid_host_ends_with_usage(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A host that cannot be one is rejected by the command line."""
    with pytest.raises(SystemExit):
        address(tmp_path, "--host", text)
    assert "argument --host" in capsys.readouterr().err
