"""Load from clients on a host of the fleet, for the time of a test. The clients are scripts in on_hosts/."""

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .hosts import Host

MIN_REQUESTS = 200  # acknowledged requests on each host between two faults


class Load:
    """The running clients of one script on one host."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def wait_for_more(self, more: int = MIN_REQUESTS) -> None:
        """Wait until `more` further requests are acknowledged."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{more}\n")
        assert self._process.stdout.readline(), "the load script exited; see its error above"

    def stop(self) -> dict[str, Any]:
        """Stop the clients, and return the report of the script: what was acknowledged, and errors."""
        report: dict[str, Any] = json.loads(self._process.communicate(timeout=600)[0])
        return report


@contextmanager
def load(host: Host, script: str, *words: str, python: str = "python3") -> Iterator[Load]:
    """Run a script of on_hosts/ on a host for the time of a block."""
    text = shlex.quote((Path(__file__).parent / "on_hosts" / script).read_text(encoding="utf-8"))
    with host.start(f"exec timeout 3000 {python} -c {text} {shlex.join(words)}") as process:
        try:
            yield Load(process)
        finally:
            process.kill()
