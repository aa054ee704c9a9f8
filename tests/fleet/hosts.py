"""The hosts of the running fleet over SSH: commands, units, journals and connections; and `until`."""

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
_POLL_INTERVAL_S = 0.2  # each poll starts some processes on both sides
TIMEOUT_S = 180.0  # for what may hang; no test passes by waiting so long
RECOVERY_TIMEOUT_S = 900.0  # for a start of the embedded AWS, which replays its journal
SERVICES = "'frota-*.service' 'embedded-aws*.service'"
UNITS = f"{SERVICES} 'frota-*.socket'"


def call(
    command: list[str], timeout_s: float = TIMEOUT_S, cwd: Path | None = None, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end and capture its output.

    Its standard input is empty: ssh would leave an inherited one non-blocking, which Ansible rejects.
    """
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=cwd,
        env=env,
        check=False,
    )


@dataclass(frozen=True)
class Host:
    """One host of the fleet; `ssh` is the command that logs in to it."""

    name: str
    address: str
    instance: str
    ssh: tuple[str, ...]

    def run(self, script: str, timeout_s: float = TIMEOUT_S) -> str:
        """Run a shell script as root and return its output; if it fails, the test fails."""
        done = self._run(script, timeout_s)
        assert done.returncode == 0, f"{self.name}: {script!r} ended with {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout

    def run_as_admin(self, script: str) -> str:
        """Run a shell script as the user who logs in and return its output; if it fails, the test fails."""
        done = call([*self.ssh, script])
        assert done.returncode == 0, f"{self.name}: {script!r} ended with {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout

    def try_to_run(self, script: str) -> str:
        """Run a shell script as root and return its output, or "" if it fails or the host is unreachable."""
        done = self._run(script)
        return "" if done.returncode else done.stdout

    def start(self, script: str) -> "subprocess.Popen[str]":
        """Start a shell script as root, with pipes to its standard input and output."""
        return subprocess.Popen(self._root(script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def _run(self, script: str, timeout_s: float = TIMEOUT_S) -> "subprocess.CompletedProcess[str]":
        return call(self._root(script), timeout_s)

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
        # The timeout on the host ends the output if no record matches.
        with self.start(f"timeout {TIMEOUT_S} {shlex.join(words)}") as following:
            assert following.stdout is not None
            line = following.stdout.readline()
            following.kill()
        assert line, f"{self.name}: nothing in the journal matched {matches} within {TIMEOUT_S} s"
        record: dict[str, Any] = json.loads(line)
        return record

    @contextmanager
    def connect(self, address: str, port: int) -> Iterator["Connection"]:
        """Open a TCP connection from this host to another for the time of a block."""
        command = [*self.ssh[:-1], "-W", f"{address}:{port}", self.ssh[-1]]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
            try:
                yield Connection(process)
            finally:
                process.kill()


class Connection:
    """A TCP connection that a host opened."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._in, self._out = process, process.stdin, process.stdout.fileno()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._in.write(data)

    def receive(self, count: int) -> bytes:
        """Return `count` bytes, or fewer at the end of the connection."""
        received = b""
        while len(received) < count:
            assert select.select([self._out], [], [], TIMEOUT_S)[0], (
                f"nothing more within {TIMEOUT_S} s than {received!r}"
            )
            piece = os.read(self._out, count - len(received))
            if not piece:
                break
            received += piece
        return received

    def exchange(self, data: bytes) -> bytes:
        """Send bytes, half-close the connection, and return the whole response."""
        return self._process.communicate(data, TIMEOUT_S)[0]


def until(condition: Callable[[], T], what: str, timeout_s: float = TIMEOUT_S) -> T:
    """Poll a condition until it is true, and return its value; fail with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(_POLL_INTERVAL_S)
    return value
