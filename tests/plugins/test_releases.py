"""The module `releases` without a host: installed releases, and the units that run them."""

import os
from pathlib import Path

from .modules import load

_MODULE = load("releases")


def test_releases_are_listed_newest_first(tmp_path: Path) -> None:
    """Complete releases are listed, newest first; incomplete ones are not."""
    for age, name in enumerate(["newest", "used", "oldest"]):
        ready = tmp_path / "releases" / name / "ready"
        ready.parent.mkdir(parents=True)
        ready.touch()
        os.utime(ready, (1_000_000 - age,) * 2)
    (tmp_path / "releases" / "interrupted").mkdir()
    (tmp_path / "current").symlink_to(tmp_path / "releases" / "used")
    result = _MODULE.read_releases(tmp_path, tmp_path)
    assert (result["current"], result["releases"]) == ("used", ["newest", "used", "oldest"])


def test_bare_host(tmp_path: Path) -> None:
    """A bare host has no releases, no current one and no units."""
    result = _MODULE.read_releases(tmp_path, tmp_path)
    assert result == {"current": "", "releases": [], "units": []}


def test_units_have_a_release_in_their_env_file(tmp_path: Path) -> None:
    """Units are the env files with a release; env files of commands have none."""
    (tmp_path / "frota-b@left.env").write_text("# Ansible managed\nFROTA_RELEASE=1\n")
    (tmp_path / "frota-a.env").write_text("FROTA_RELEASE=1\n")
    (tmp_path / "frota-list-client.env").write_text('LIST_HOST="FROTA_RELEASE="\n')
    (tmp_path / "other.env").write_text("FROTA_RELEASE=1\n")
    assert _MODULE.units(tmp_path) == ["frota-a.service", "frota-b@left.service"]
