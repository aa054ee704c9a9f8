"""Hosts, units, alerts and the image pipeline's figures, from one query of Prometheus.

The API is that of prometheus.io/docs/prometheus/latest/querying/api. Its answers are bounded and checked.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp
import orjson

_MAX_ANSWER_BYTES = 16 << 20
_TIMEOUT_S = 10.0
_MAX_SERIES = 20_000
_MAX_LABEL_CHARACTERS = 200
_NAMES = (
    "up|ALERTS|frota_build_info|process_start_time_seconds|process_resident_memory_bytes|rabbitmq_queue_messages_ready|"
    "rabbitmq_queue_messages_unacked|frota_images_producer_images_accepted_total|frota_images_worker_images_in_flight|"
    "frota_images_worker_images_converted_total|frota_images_worker_images_dead_lettered_total|"
    "frota_images_worker_storage_available"
)
_QUERY = f'{{__name__=~"{_NAMES}"}}'
_UNIT_VALUES = {"process_start_time_seconds": "since", "process_resident_memory_bytes": "memory"}
_WORKER_VALUES = {
    "frota_images_worker_images_in_flight": "working",
    "frota_images_worker_images_converted_total": "converted",
    "frota_images_worker_images_dead_lettered_total": "dead",
    "frota_images_worker_storage_available": "storage",
}
_QUEUE, _DEAD_QUEUE = "images", "images.dead"
Series = tuple[dict[str, str], float]


class PrometheusUnavailable(OSError):
    """Prometheus does not answer, or not as Prometheus does: says why."""


class Prometheus:
    """A client of one server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def query(self, expression: str) -> list[Series]:
        """Return the labels and the value of each series at this moment. Raises PrometheusUnavailable."""
        self._session = self._session or aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))
        try:
            async with self._session.get(f"{self._url}/api/v1/query", params={"query": expression}) as answer:
                body = await answer.content.read(_MAX_ANSWER_BYTES + 1)
                while len(body) <= _MAX_ANSWER_BYTES and (more := await answer.content.read(_MAX_ANSWER_BYTES)):
                    body += more
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise PrometheusUnavailable(f"no Prometheus at {self._url}: {reason}") from None
        return self._parse(body)

    async def close(self) -> None:
        """Close the connection."""
        if self._session:
            await self._session.close()

    def _parse(self, body: bytes) -> list[Series]:
        try:
            answer: Any = orjson.loads(body) if len(body) <= _MAX_ANSWER_BYTES else None
            if answer["status"] != "success":
                raise PrometheusUnavailable(f"Prometheus at {self._url}: {str(answer.get('error'))[:200]}")
            series = answer["data"]["result"][:_MAX_SERIES]
            return [(_labels(one["metric"]), float(one["value"][1])) for one in series]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            raise PrometheusUnavailable(f"{self._url} does not answer as Prometheus does") from None


class Fleet:
    """The source of the topic `fleet`."""

    name, topic = "prometheus", "fleet"
    interval_s = 2.0

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self._latest: dict[str, Any] | None = None

    async def poll(self) -> dict[str, Any] | None:
        """Query Prometheus; return the fleet if it has changed."""
        content = fleet(await self._prometheus.query(_QUERY))
        changed = content != self._latest
        self._latest = content
        return content if changed else None

    def latest(self) -> dict[str, Any] | None:
        """Return the fleet."""
        return self._latest


def fleet(series: Iterable[Series]) -> dict[str, Any]:
    """Return hosts with their units, firing alerts, and the image pipeline."""
    hosts: dict[str, dict[str, dict[str, Any]]] = {}
    alerts: list[dict[str, str]] = []
    pipeline: dict[str, Any] = {"queue": None, "working": None, "dead": None, "accepted": None, "workers": {}}
    for labels, value in series:
        name = labels.pop("__name__", "")
        if name == "ALERTS":
            if labels.get("alertstate") == "firing":
                alerts.append(labels)
        elif math.isfinite(value):
            _note_unit(hosts, name, labels, value)
            _note_pipeline(pipeline, name, labels, value)
    for units in hosts.values():
        for unit in units.values():
            unit.setdefault("state", "unknown")
    return {"hosts": hosts, "alerts": sorted(alerts, key=_by_name), "pipeline": pipeline}


def _note_unit(hosts: dict[str, Any], name: str, labels: Mapping[str, str], value: float) -> None:
    host, unit = labels.get("host"), labels.get("unit")
    if not host or not unit or name not in ("up", "frota_build_info", *_UNIT_VALUES):
        return
    fields = hosts.setdefault(host, {}).setdefault(unit, {"system": labels.get("system", "")})
    if name == "up":
        fields["state"] = "up" if value == 1 else "down"
    elif name == "frota_build_info":
        fields["release"] = labels.get("release") or labels.get("version", "")
    else:
        fields[_UNIT_VALUES[name]] = round(value)


def _note_pipeline(pipeline: dict[str, Any], name: str, labels: Mapping[str, str], value: float) -> None:
    if name in _WORKER_VALUES:
        worker = pipeline["workers"].setdefault(f"{labels.get('host', '?')} {labels.get('instance', '')}".strip(), {})
        worker[_WORKER_VALUES[name]] = worker.get(_WORKER_VALUES[name], 0) + value
        return
    queue = labels.get("queue", _QUEUE)  # without it, the broker's metrics are sums over all queues
    key = {
        ("rabbitmq_queue_messages_ready", _QUEUE): "queue",
        ("rabbitmq_queue_messages_unacked", _QUEUE): "working",
        ("rabbitmq_queue_messages_ready", _DEAD_QUEUE): "dead",
        ("frota_images_producer_images_accepted_total", _QUEUE): "accepted",
    }.get((name, queue))
    if key:
        pipeline[key] = (pipeline[key] or 0) + value


def _labels(metric: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value)[:_MAX_LABEL_CHARACTERS] for name, value in metric.items()}


def _by_name(alert: Mapping[str, str]) -> tuple[str, str]:
    return alert.get("alertname", ""), alert.get("host", "")
