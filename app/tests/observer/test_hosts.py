"""The hosts of a checkout's fleet."""

import os
from pathlib import Path

import pytest

from frota.core.errors import StateError
from frota.observer import hosts

CONFIG = """# Hosts
Host sensor-server
  HostName 10.42.16.5
  HostKeyAlias i-0123
host = list-client "cpu-server"
  HostName 10.42.16.6
Host image-worker-i-0123456789abcdef0 sensor-server
Host *
  User admin
Host !not *.example -oProxyCommand=true
"""


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    path = tmp_path / hosts.SSH_CONFIG
    path.parent.mkdir(parents=True)
    path.write_text(CONFIG, encoding="utf-8")
    path.chmod(0o600)
    return path


def test_hosts_of_a_configuration(config: Path) -> None:
    """Hosts have the order of the configuration; patterns, repetitions and options of ssh are no hosts."""
    names = ["sensor-server", "list-client", "cpu-server", "image-worker-i-0123456789abcdef0"]
    assert hosts.names_in(config) == names


@pytest.mark.parametrize("text", [None, "", "Host *\n  User admin\n"])
def test_configuration_without_hosts(tmp_path: Path, text: str | None) -> None:
    """A configuration that is missing or names no host is an error that names the file."""
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(StateError, match=f"^{path}: "):
        hosts.names_in(path)


def test_configuration_is_found_upwards(config: Path, tmp_path: Path) -> None:
    """The configuration is that of the checkout around the working directory."""
    below = tmp_path / "app" / "src"
    below.mkdir(parents=True)
    assert hosts.find_ssh_config(below) == hosts.find_ssh_config(tmp_path) == config
    assert hosts.find_ssh_config(Path("/")) is None


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_configuration_of_others_is_rejected(config: Path, tmp_path: Path, mode: int) -> None:
    """A configuration that others may write is not used unless it is named: it can run commands."""
    config.chmod(mode)
    with pytest.raises(StateError, match="others may write"):
        hosts.find_ssh_config(tmp_path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_configuration_of_another_user(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration of another user is used only by root under that user's sudo."""
    os.chown(config, 12345, 12345)
    with pytest.raises(StateError, match="others may write"):
        hosts.find_ssh_config(tmp_path)
    monkeypatch.setenv("SUDO_UID", "12345")
    assert hosts.find_ssh_config(tmp_path) == config
