"""The CPU of every host over the last hour, from the metrics server."""

import time
from collections import deque
from typing import Any

from frota.core.errors import ServerUnavailable
from frota.cpu.viewer.host_status import Host, memory_share, number
from frota.cpu.viewer.query import Client
from frota.net.json_lines import Limits
from frota.observer.dashboard.sources.poller import Thread
from frota.observer.settings import Endpoint

COLUMNS, COLUMN_S = 120, 30.0  # an hour
_MAX_HOSTS = 500
_LIMITS = Limits(idle_timeout_s=10.0, max_line_bytes=8 << 20)


class Cpu:
    """The source of the topic `cpu`: a column of the heat map has COLUMN_S seconds, the mean of its samples."""

    name, topic = "cpu", "cpu"
    interval_s = 1.0

    def __init__(self, server: Endpoint) -> None:
        self._client, self._thread = Client(server.host, server.port, _LIMITS), Thread("cpu")
        self._rows: dict[str, Row] = {}
        self._published: list[dict[str, Any]] = []

    async def poll(self) -> dict[str, Any] | None:
        """Query all hosts; return them if a sample is new. Raises ServerUnavailable, WrongServer."""
        hosts = await self._thread.run(self._query)
        fresh = [_now(host) for host in hosts]
        if fresh == self._published:
            return None
        self._published = fresh
        return {"hosts": fresh, "column": int(time.time() // COLUMN_S)}

    def latest(self) -> dict[str, Any] | None:
        """Return the heat map: a row of percentages for each host, the newest last; null for no sample."""
        if not self._rows:
            return None
        column = int(time.time() // COLUMN_S)
        rows = {name: row.values(column) for name, row in self._rows.items()}
        return {"hosts": self._published, "column": column, "seconds": COLUMN_S, "rows": rows}

    def _query(self) -> list[Host]:
        hosts = self._client.hosts()[:_MAX_HOSTS]
        for host in hosts:
            if host.name not in self._rows:
                self._rows[host.name] = row = Row()
                self._read_history(host.name, row)
            if host.mean is not None and host.state == "connected":
                self._rows[host.name].add(time.time(), host.mean, _samples(host))
        for gone in self._rows.keys() - {host.name for host in hosts}:
            del self._rows[gone]
        return hosts

    def _read_history(self, name: str, row: "Row") -> None:
        """Read the last hour of a host; without it the row begins empty."""
        try:
            for chunk in self._client.history(name, COLUMNS * COLUMN_S):
                times, means = chunk.get("time"), chunk.get("mean")
                if isinstance(times, list) and isinstance(means, list):
                    for at, mean in zip(times, means, strict=False):
                        row.add(number(at) or 0.0, number(mean) or 0.0)
        except ServerUnavailable:
            return


class Row:
    """The columns of a host: the number of the column, the sum and the count of its samples."""

    def __init__(self) -> None:
        self._columns: deque[tuple[int, float, int]] = deque(maxlen=COLUMNS)
        self._samples = -1.0  # of the host, so that a sample counts once

    def add(self, at: float, mean: float, samples: float = -1.0) -> None:
        """Add a sample of a time in seconds since 1970; `samples` is the number of samples so far."""
        if samples >= 0 and samples == self._samples:
            return
        self._samples = samples
        column = int(at // COLUMN_S)
        if self._columns and self._columns[-1][0] == column:
            _, total, count = self._columns.pop()
            self._columns.append((column, total + mean, count + 1))
        elif not self._columns or column > self._columns[-1][0]:
            self._columns.append((column, mean, 1))

    def values(self, newest: int) -> list[float | None]:
        """Return the percentages of COLUMNS columns up to the newest."""
        means = {column: round(total / count, 1) for column, total, count in self._columns}
        return [means.get(column) for column in range(newest - COLUMNS + 1, newest + 1)]


def _samples(host: Host) -> float:
    return host.count("samples") or 0.0


def _now(host: Host) -> dict[str, Any]:
    return {
        "host": host.name,
        "state": host.state,
        "mean": host.mean,
        "cores": host.core_count,
        "memory": memory_share(host.memory),
        "alerts": host.alerts,
    }
