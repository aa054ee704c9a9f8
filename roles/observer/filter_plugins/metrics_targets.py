"""The services that Prometheus scrapes, from what the inventory says of each host."""

from collections.abc import Iterator, Mapping
from typing import Any

Service = Mapping[str, Any]


def ports_of(unit: str, service: Service) -> Iterator[tuple[str, int]]:
    """Yield the units of a service with their ports: one, instances by their names, or a number of them."""
    if "instances" in service:
        for name, settings in service["instances"].items():
            yield f"{unit}@{name}", int(settings.get("metrics_port", 0))
    elif "count" in service:
        for number in range(int(service["count"])):
            yield f"{unit}@{number + 1}", int(service["port"]) and int(service["port"]) + number
    else:
        yield unit, int(service["port"])


def metrics_targets(hosts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return targets for Prometheus's file_sd; what has no port, or port 0, is none.

    `hosts` has the address of each host and its services: unit to system and `port`, with `count` the port of the first
    of several instances, or `instances`, the settings of each by its name.
    """
    return [
        {
            "targets": [f"{host['address']}:{port}"],
            "labels": {"host": name, "system": service["system"], "unit": instance},
        }
        for name, host in sorted(hosts.items())
        for unit, service in sorted(host["services"].items())
        for instance, port in ports_of(unit, service)
        if port
    ]


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"metrics_targets": metrics_targets}
