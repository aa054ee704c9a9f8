"""The release that a rollback switches to."""

from typing import Any


def former_release(hosts: list[dict[str, Any]]) -> str:
    """Return the release installed before the newest current one; empty if there is none.

    `hosts` are the results of the module `releases`, one per host. After an interrupted upgrade some hosts still run
    the former release; they keep it.
    """
    in_use = {host["current"] for host in hosts}
    # Of two releases in use, the newer one is known from a host that has both. The number of releases on a host does
    # not matter, because the oldest ones are removed.
    candidates = [[release for release in host["releases"] if release in in_use] for host in hosts]
    older = {release for releases in candidates for release in releases[1:]}
    newest = max(hosts, key=lambda host: (host["current"] not in older, len(host["releases"])))
    before = newest["releases"][newest["releases"].index(newest["current"]) + 1 :]
    return before[0] if before else ""


class FilterModule:
    def filters(self) -> dict:
        return {"former_release": former_release}
