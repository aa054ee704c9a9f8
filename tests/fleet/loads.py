"""Clients that run on a host of the fleet while something happens to it."""

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .hosts import Host

ENOUGH = 200  # acknowledged requests, on each host, between two blows


class Load:
    """Clients as `load.py`, `list_load.py`, `image_load.py` or `knock.py` runs them on one host."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def wait_for_more(self, more: int = ENOUGH) -> None:
        """Wait until requests are being acknowledged (again)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{more}\n")
        assert self._process.stdout.readline(), "the load ended: see its error above"

    def stop(self) -> dict[str, Any]:
        """Stop, and return what was acknowledged and which errors there were."""
        report: dict[str, Any] = json.loads(self._process.communicate(timeout=600)[0])
        return report


@contextmanager
def load(host: Host, script: str, *words: str, python: str = "python3") -> Iterator[Load]:
    """Run a script of this folder on a host until the block ends."""
    text = shlex.quote((Path(__file__).parent / script).read_text(encoding="utf-8"))
    with host.start(f"exec timeout 3000 {python} -c {text} {shlex.join(words)}") as process:
        try:
            yield Load(process)
        finally:
            process.kill()
