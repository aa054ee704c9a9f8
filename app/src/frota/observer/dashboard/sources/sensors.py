"""The sensors' readings, from one subscription to their server."""

import asyncio
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from frota.observer.dashboard.sources.poller import Thread
from frota.observer.settings import Endpoint
from frota.sensors.readings import Query
from frota.sensors.settings import ServerSettings
from frota.sensors.viewer.query import request

_FIRST_READINGS = 1000
_KEPT_READINGS = 600  # of a sensor
_MAX_SENSORS = 200
_MAX_WAITING = 5000  # between two polls; older ones are skipped
_MAX_NAME_CHARACTERS = 80
Key = tuple[str, str, str]  # sensor, kind, unit
Point = tuple[float, float, bool]  # seconds since 1970, value, in range


class Sensors:
    """The source of the topic `sensors`. The ranges are those that a sensor server has by default."""

    name, topic = "sensors", "sensors"
    interval_s = 0.2

    def __init__(self, server: Endpoint) -> None:
        self._server, self._thread = server, Thread("sensors")
        self._arrived: deque[dict[str, Any]] = deque(maxlen=_MAX_WAITING)
        self._sensors: dict[Key, deque[Point]] = {}
        self._reading: asyncio.Future[None] | None = None
        self._unseen = threading.Event()
        self._ranges = {(one.kind, one.unit): (one.low, one.high) for one in ServerSettings(port=0).ranges}

    async def poll(self) -> list[dict[str, Any]] | None:
        """Return the readings since the last poll. Raises ServerUnavailable, WrongServer."""
        self._unseen.clear()
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._thread.run(self._read))
        if self._reading.done():
            ended, self._reading = self._reading, None
            ended.result()
        fresh: dict[Key, list[Point]] = {}
        for _ in range(len(self._arrived)):
            self._keep(self._arrived.popleft(), fresh)
        return [self._shown(key, points) for key, points in fresh.items()] or None

    def latest(self) -> list[dict[str, Any]]:
        """Return all sensors with their last readings."""
        return [self._shown(key, points) for key, points in self._sensors.items()]

    def stop(self) -> None:
        """End the subscription at its next reading: nobody sees it."""
        self._unseen.set()

    def _read(self) -> None:
        """Subscribe, and take readings for ever."""
        for reading in self._readings():
            if self._unseen.is_set():
                return
            self._arrived.append(reading)

    def _readings(self) -> Iterator[dict[str, Any]]:
        return request(self._server.host, self._server.port, "tail", Query(last=_FIRST_READINGS), lambda _: None)

    def _keep(self, reading: dict[str, Any], fresh: dict[Key, list[Point]]) -> None:
        """Store a reading, unless it was stored before the server was lost, also among the fresh ones."""
        sensor, kind, unit = (str(reading.get(name, ""))[:_MAX_NAME_CHARACTERS] for name in ("sensor", "kind", "unit"))
        key, point = (sensor, kind, unit), (_seconds(reading["time"]), _value(reading), reading["in_range"])
        if key not in self._sensors and len(self._sensors) >= _MAX_SENSORS:
            del self._sensors[next(iter(self._sensors))]
        points = self._sensors.setdefault(key, deque(maxlen=_KEPT_READINGS))
        if not points or point[0] > points[-1][0]:
            points.append(point)
            fresh.setdefault(key, []).append(point)

    def _shown(self, key: Key, points: Iterable[Point]) -> dict[str, Any]:
        sensor, kind, unit = key
        known = self._ranges.get((kind, unit))
        return {"sensor": sensor, "kind": kind, "unit": unit, "points": list(points), "range": known}


def _value(reading: dict[str, Any]) -> float:
    value = reading.get("value")
    return float(value) if isinstance(value, int | float) else 0.0


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
