"""The hosts of the running fleet, over SSH, and what their units, journals and readings say."""

import json
import os
import select
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_MOMENT = 0.2  # seconds between two questions: each costs both sides the start of some processes
PATIENCE = 180.0  # seconds until a test gives up, for what hangs; none passes by waiting so long
RECALL = 900.0  # the same for an embedded AWS that starts: it does again all that it ever did
SERVICES = "'frota-*.service' 'embedded-aws*.service'"
UNITS = f"{SERVICES} 'frota-*.socket'"


def call(
    command: list[str], seconds: float = PATIENCE, cwd: Path | None = None, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end and keep what it printed.

    It has nothing to read: ssh would leave an inherited standard input non-blocking, which Ansible refuses.
    """
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=cwd,
        env=env,
        check=False,
    )


@dataclass(frozen=True)
class Host:
    """One host of the fleet; `ssh` are the words that reach it."""

    name: str
    address: str
    instance: str
    ssh: tuple[str, ...]

    def run(self, script: str, seconds: float = PATIENCE) -> str:
        """Run a shell script as root and return what it printed; if it fails, so does the test."""
        done = self._run(script, seconds)
        assert done.returncode == 0, f"{self.name}: {script!r} ended with {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout

    def run_as_admin(self, script: str) -> str:
        """Run a shell script as the person who logs in, and return what it printed; if it fails, so does the test."""
        done = call([*self.ssh, script])
        assert done.returncode == 0, f"{self.name}: {script!r} ended with {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout

    def try_to_run(self, script: str) -> str:
        """Run a shell script as root and return what it printed, nothing if it failed or the host cannot be reached."""
        done = self._run(script)
        return "" if done.returncode else done.stdout

    def start(self, script: str) -> "subprocess.Popen[str]":
        """Start a shell script as root that is spoken with over its standard input and output."""
        return subprocess.Popen(self._root(script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def _run(self, script: str, seconds: float = PATIENCE) -> "subprocess.CompletedProcess[str]":
        return call(self._root(script), seconds)

    def _root(self, script: str) -> list[str]:
        return [*self.ssh, f"sudo sh -euc {shlex.quote(script)}"]

    def show(self, *properties: str, units: str = UNITS) -> dict[str, dict[str, str]]:
        """Return properties of our loaded units, by unit."""
        printed = self.run(f"systemctl show --property={','.join(['Id', *properties])} {units}")
        blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in printed.strip().split("\n\n")]
        return {block["Id"]: block for block in blocks if block.get("Id")}

    def services(self) -> list[str]:
        """Return the services of ours that run here."""
        return list(self.show(units=SERVICES))

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Return the records of the journal that match, with their fields."""
        return [json.loads(line) for line in self.run(f"journalctl --output=json {shlex.join(matches)}").splitlines()]

    def wait_for_record(self, *matches: str, since: float) -> dict[str, Any]:
        """Wait for the first matching record of the journal since a time and return its fields."""
        words = ["journalctl", "--follow", "--lines=all", f"--since=@{since:.6f}", "--output=json", *matches]
        # The host's own limit ends the reading of its output, if nothing else does.
        with self.start(f"timeout {PATIENCE} {shlex.join(words)}") as following:
            assert following.stdout is not None
            line = following.stdout.readline()
            following.kill()
        assert line, f"{self.name}: nothing in the journal matched {matches} within {PATIENCE} s"
        found: dict[str, Any] = json.loads(line)
        return found

    @contextmanager
    def dial(self, address: str, port: int) -> Iterator["Dialogue"]:
        """Open a TCP connection from this host to another, ended with the block."""
        command = [*self.ssh[:-1], "-W", f"{address}:{port}", self.ssh[-1]]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
            try:
                yield Dialogue(process)
            finally:
                process.kill()


class Dialogue:
    """A connection that was opened from a host."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._in, self._out = process, process.stdin, process.stdout.fileno()

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self._in.write(data)

    def hear(self, count: int) -> bytes:
        """Return so many bytes, or fewer when the peer ends."""
        received = b""
        while len(received) < count:
            assert select.select([self._out], [], [], PATIENCE)[0], (
                f"nothing more within {PATIENCE} s than {received!r}"
            )
            piece = os.read(self._out, count - len(received))
            if not piece:
                break
            received += piece
        return received

    def ask(self, data: bytes) -> bytes:
        """Send bytes, end our side, and return everything that comes back until the peer ends."""
        return self._process.communicate(data, PATIENCE)[0]


def until(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Ask again and again, with a moment in between, until the answer is something."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(_MOMENT)
    return answer
