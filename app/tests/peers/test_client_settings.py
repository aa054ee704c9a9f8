"""Which server people's commands talk to, and with which certificate."""

import argparse
from pathlib import Path

import pytest

from frota.core import commands
from frota.core.settings import SettingsError
from frota.peers import client_settings
from frota.peers.client_settings import ClientSettings
from frota.peers.settings import PREFIX


def read(folder: Path, *words: str) -> ClientSettings:
    """Return the settings of a command line on a host with these files."""
    parser = argparse.ArgumentParser()
    commands.configurable(parser, ClientSettings, PREFIX)
    return client_settings.read(parser.parse_args(words), folder)


@pytest.mark.parametrize(
    ("words", "server"),
    [
        ((), ("127.0.0.1", 8765)),
        (("--port", "7"), ("127.0.0.1", 7)),
        (("--host", "a"), ("a", 8765)),
        (("--host", "a:6"), ("a", 6)),
        (("--host", "[::1]:6"), ("::1", 6)),
        (("--host", "::1", "--port", "7"), ("::1", 7)),
    ],
)
def test_command_line(tmp_path: Path, words: tuple[str, ...], server: tuple[str, int]) -> None:
    """Without files, the server is that of the command line, or on this host."""
    assert read(tmp_path, *words).address == server


def test_files_of_a_fleet_host(tmp_path: Path) -> None:
    """The file for clients counts before that of the host's server; the command line before both."""
    (tmp_path / "frota-peer-server.env").write_text("PEERS_PORT=6\nPEERS_DURABLE=no\n")
    assert read(tmp_path).address == ("127.0.0.1", 6)
    files = 'PEERS_CA_FILE="ca.crt"\nPEERS_CERT_FILE="c.crt"\nPEERS_KEY_FILE="c.key"\n'
    (tmp_path / "frota-peer-client.env").write_text(f'PEERS_HOST="10.0.0.9"\n{files}')
    config = read(tmp_path)
    assert (config.address, config.cert_file) == (("10.0.0.9", 8765), Path("c.crt"))
    assert read(tmp_path, "--host", "a:5").address == ("a", 5)
    assert read(tmp_path, "--ca-file", "", "--cert-file", "", "--key-file", "").cert_file is None


@pytest.mark.parametrize("line", ["PEERS_PORT=x", "PEERS_HOST=a:0", "nonsense"])
def test_invalid_file_is_named(tmp_path: Path, line: str) -> None:
    """A file that is no valid one is a SettingsError that names it."""
    (tmp_path / "frota-peer-client.env").write_text(f"{line}\n")
    with pytest.raises(SettingsError, match=f"^{tmp_path}"):
        read(tmp_path)
