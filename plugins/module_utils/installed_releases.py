"""The releases on a host, for modules that install, list and switch them."""

from pathlib import Path


def installed(home: Path) -> list[Path]:
    """Return the folders of the releases that are whole, the last installed first."""
    ready = sorted(home.glob("releases/*/ready"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent for path in ready]
