"""Filters for the comparison of all hosts with the last recorded state."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # PyYAML carries no types

Differences = Mapping[str, list[str]]


def unchanged_systems(
    by_host: Mapping[str, Differences], members: Mapping[str, list[str]], needs: Mapping[str, list[str]]
) -> list[str]:
    """Return the systems without differences on their own hosts and on those of all systems that they depend on.

    `by_host` has the differences of each host that answered, by system; a host that did not answer counts as different.
    A system is configured on all its hosts or on none, because their configurations depend on each other.
    """
    unchanged = {
        name for name, hosts in members.items() if all(by_host.get(host, {}).get(name) == [] for host in hosts)
    }
    while affected := {name for name in unchanged if not unchanged.issuperset(needs.get(name, ()))}:
        unchanged -= affected
    return sorted(unchanged)


def host_differences(hostvars: Mapping[str, Any], hosts: Iterable[str], result: str) -> dict[str, Differences]:
    """Return the differences of each host that answered; `result` is the registered variable."""
    results = {host: hostvars[host].get(result) or {} for host in hosts}
    return {host: response["differences"] for host, response in results.items() if "differences" in response}


def settings_of_roles(root: str) -> dict[str, list[str]]:
    """Return each role of a checkout with its settings, as its argument specs name them."""
    settings: dict[str, list[str]] = {}
    for file in sorted(Path(root, "roles").glob("*/meta/argument_specs.yml")):
        specs = yaml.safe_load(file.read_text(encoding="utf-8"))["argument_specs"]
        settings[file.parts[-3]] = sorted({name for spec in specs.values() for name in spec.get("options", ())})
    return settings


def difference_lines(by_host: Mapping[str, Differences]) -> list[str]:
    """Return a line for each difference, with the hosts that have it."""
    hosts_of: dict[tuple[str, str], list[str]] = {}
    for host, differences in by_host.items():
        for name, texts in differences.items():
            for text in texts:
                hosts_of.setdefault((name, text), []).append(host)
    return [f"{name}: {text} ({', '.join(hosts)})" for (name, text), hosts in sorted(hosts_of.items())]


class FilterModule:
    """Registers the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        filters = (host_differences, unchanged_systems, settings_of_roles, difference_lines)
        return {function.__name__: function for function in filters}
