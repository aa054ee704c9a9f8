"""The files of the page, built by tools/front_end from app/dashboard, in memory and compressed once."""

import gzip
import hashlib
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).with_name("static")
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml", ".json": "application/json", ".webmanifest": "application/manifest+json",
}  # fmt: skip
_MISSING = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>frota</title>
<p>The page is not built. In the checkout, run: make venv</p></html>"""


class Asset(NamedTuple):
    """A file: its content, compressed too, and its entity tag."""

    media_type: str
    content: bytes
    compressed: bytes
    tag: str


def load(folder: Path = FOLDER) -> dict[str, Asset]:
    """Return the files by their path below the folder; a page that says what to do if there are none."""
    found = {
        str(file.relative_to(folder)): _asset(file.suffix, file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.suffix in _MEDIA_TYPES
    }
    return found if "index.html" in found else {"index.html": _asset(".html", _MISSING)}


def _asset(suffix: str, content: bytes) -> Asset:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return Asset(_MEDIA_TYPES[suffix], content, gzip.compress(content, 9, mtime=0), tag)
