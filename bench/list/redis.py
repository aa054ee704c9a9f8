"""Redis as the peer: its server, its benchmark, and what it stored."""

import csv
import resource
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from bench.core.build import BUILD
from bench.core.errors import CannotRunError, InvalidRunError
from bench.core.load import Stats, run_pinned
from bench.core.process import LOOK_AGAIN_SECONDS

KEY = "mylist"  # where redis-benchmark pushes to
PROBED = 2000  # requests that warm up, and tell how many are to be measured
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Programs:
    """Redis' own server and benchmark."""

    server: str
    bench: str

    def serve(self, port: int, state: Path) -> list[str]:
        """Return how the server is started: each answer after its fsync, no snapshots."""
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        return [self.server, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(state), *durable]


def find() -> Programs:
    """Return the programs. Raises CannotRunError where Redis is not installed."""
    server, bench = shutil.which("redis-server") or _server_of_tools(), shutil.which("redis-benchmark")
    if server is None or bench is None:
        raise CannotRunError(
            "there is no Redis here to compare with: install it (Debian: apt-get install redis-tools); "
            "it need not run, the benchmark starts one of its own"
        )
    return Programs(server, bench)


def _server_of_tools() -> str | None:
    """Return the server by way of Debian's redis-tools, which starts no daemon when it is installed.

    Server and redis-check-rdb are one program, which goes by the name it is called by.
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
    """Push for about `seconds`, at most `limit` times; return the statistics as load.h does. Raises InvalidRunError."""
    probed = _push(programs, port, clients, PROBED, seconds)
    count = max(PROBED, min(limit, int(float(probed["rps"]) * seconds)))
    busy_from, start = _children_seconds(), time.monotonic()
    row = _push(programs, port, clients, count, seconds)
    busy = (_children_seconds() - busy_from) / (time.monotonic() - start)
    rate = float(row["rps"])
    percentiles = {f"{name}_ms": float(row[f"{name}_latency_ms"]) for name in ("p50", "p99", "max")}
    figures = {"count": count, "seconds": count / rate, "rate": rate, "load_busy": busy}
    return {**figures, **percentiles, "acknowledged": [PROBED + count]}


def length(port: int) -> int:
    """Return the length of the list, as soon as the server has loaded it. Raises InvalidRunError."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (answer := _ask(port, f"LLEN {KEY}")).startswith("-LOADING") and time.monotonic() < deadline:
        time.sleep(LOOK_AGAIN_SECONDS)  # Redis does not tell when it has
    if not answer.startswith(":"):
        raise InvalidRunError(f"Redis answered {answer!r}")
    return int(answer[1:])


def _push(programs: Programs, port: int, clients: int, count: int, seconds: float) -> dict[str, str]:
    where = ["-h", "127.0.0.1", "-p", str(port)]
    what = ["-t", "rpush", "-P", "1", "-c", str(clients), "-n", str(count), "--csv"]
    output, complaint = run_pinned([programs.bench, *where, *what], seconds)
    rows = list(csv.DictReader(output.splitlines()))
    if len(rows) != 1:
        raise InvalidRunError(f"redis-benchmark printed no result: {output[:200]!r} {complaint}")
    return rows[0]


def _ask(port: int, command: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(f"{command}\r\n".encode())
        return connection.makefile(encoding="utf-8").readline().strip()


def _children_seconds() -> float:
    """CPU time of the processes that have ended: of the load, as the server still runs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
