"""Which release a fleet goes back to."""

from typing import Any


def former_release(hosts: list[dict[str, Any]]) -> str:
    """Return the release before the newest one in use; empty if none was installed before it.

    Each of `hosts` is what the module `releases` says there. After an upgrade that came to an end half way some hosts
    still run the former one: they are to stay there.
    """
    in_use = {host["current"] for host in hosts}
    # Which of two is newer, a host that has both knows. How many it has tells nothing: the oldest are removed.
    known = [[release for release in host["releases"] if release in in_use] for host in hosts]
    older = {release for releases in known for release in releases[1:]}
    newest = max(hosts, key=lambda host: (host["current"] not in older, len(host["releases"])))
    before = newest["releases"][newest["releases"].index(newest["current"]) + 1 :]
    return before[0] if before else ""


class FilterModule:
    def filters(self) -> dict:
        return {"former_release": former_release}
