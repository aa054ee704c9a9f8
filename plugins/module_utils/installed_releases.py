"""The installed releases of a host, for modules that install, list and switch them."""

from pathlib import Path


def installed(home: Path) -> list[Path]:
    """Return the folders of the completely installed releases, newest first."""
    markers = sorted(home.glob("releases/*/ready"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent for path in markers]
