"""Redis: its server, its benchmark, and the length of the stored list."""

import csv
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from bench.core.build import BUILD
from bench.core.errors import CannotRunError, InvalidRunError
from bench.core.load import Stats, run_pinned
from bench.core.process import POLL_INTERVAL_S, children_cpu_seconds

KEY = "mylist"  # the list of redis-benchmark
PROBE_REQUESTS = 2000  # the warm-up, which determines the number of requests to measure
RESPONSE_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Programs:
    """The paths of the server and the benchmark of Redis."""

    server: str
    bench: str

    def serve(self, port: int, state: Path) -> list[str]:
        """Return the command of the server, which fsyncs before each response and writes no snapshots."""
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        return [self.server, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(state), *durable]


def find() -> Programs:
    """Return the programs. Raises CannotRunError if Redis is not installed."""
    server, bench = shutil.which("redis-server") or _server_from_tools(), shutil.which("redis-benchmark")
    if server is None or bench is None:
        raise CannotRunError(
            "there is no Redis to compare with: install it (Debian: apt-get install redis-tools); "
            "the benchmark starts a server of its own"
        )
    return Programs(server, bench)


def _server_from_tools() -> str | None:
    """Return the server from Debian's redis-tools, which does not start a daemon at installation.

    redis-check-rdb is the same program as the server; the name of the file selects the function.
    """
    program = shutil.which("redis-check-rdb")
    if program is None:
        return None
    BUILD.mkdir(exist_ok=True)
    link = BUILD / "redis-server"
    link.unlink(missing_ok=True)
    link.symlink_to(program)
    return str(link)


def benchmark(programs: Programs, port: int, clients: int, seconds: float, limit: int) -> Stats:
    """Push for about `seconds`, at most `limit` times; return the same statistics as load.h. Raises InvalidRunError."""
    probe = _push(programs, port, clients, PROBE_REQUESTS, seconds)
    count = max(PROBE_REQUESTS, min(limit, int(float(probe["rps"]) * seconds)))
    busy_from, start = children_cpu_seconds(), time.monotonic()
    row = _push(programs, port, clients, count, seconds)
    busy = (children_cpu_seconds() - busy_from) / (time.monotonic() - start)
    rate = float(row["rps"])
    percentiles = {f"{name}_ms": float(row[f"{name}_latency_ms"]) for name in ("p50", "p99", "max")}
    figures = {"count": count, "seconds": count / rate, "rate": rate, "load_busy": busy}
    return {**figures, **percentiles, "acknowledged": [PROBE_REQUESTS + count]}


def length(port: int) -> int:
    """Wait until the server has loaded the list, and return its length. Raises InvalidRunError."""
    deadline = time.monotonic() + RESPONSE_TIMEOUT_S
    while (response := _send_command(port, f"LLEN {KEY}")).startswith("-LOADING") and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)
    if not response.startswith(":"):
        raise InvalidRunError(f"Redis responded {response!r}")
    return int(response[1:])


def _push(programs: Programs, port: int, clients: int, count: int, seconds: float) -> dict[str, str]:
    address = ["-h", "127.0.0.1", "-p", str(port)]
    options = ["-t", "rpush", "-P", "1", "-c", str(clients), "-n", str(count), "--csv"]
    output, message = run_pinned([programs.bench, *address, *options], seconds)
    rows = list(csv.DictReader(output.splitlines()))
    if len(rows) != 1:
        raise InvalidRunError(f"redis-benchmark printed no result: {output[:200]!r} {message}")
    return rows[0]


def _send_command(port: int, command: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=RESPONSE_TIMEOUT_S) as connection:
        connection.sendall(f"{command}\r\n".encode())
        return connection.makefile(encoding="utf-8").readline().strip()
