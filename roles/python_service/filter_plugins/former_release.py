"""The release that a rollback switches to."""

from typing import Any


def former_release(hosts: list[dict[str, Any]]) -> str:
    """Return the release installed before the newest current one; empty if there is none.

    `hosts` are the results of the module `releases`, one per host. After an interrupted upgrade some hosts still run
    the former release; they keep it.
    """
    newest = min(hosts, key=lambda host: (host["releases"].index(host["current"]), -len(host["releases"])))
    before = newest["releases"][newest["releases"].index(newest["current"]) + 1 :]
    return before[0] if before else ""


class FilterModule:
    def filters(self) -> dict:
        return {"former_release": former_release}
