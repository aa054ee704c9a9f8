"""Which release a fleet goes back to."""

from typing import Any


def former_release(hosts: list[dict[str, Any]]) -> str:
    """Return the release before the newest one in use; empty if none was installed before it.

    Each of `hosts` is what the module `releases` says there. After an upgrade that came to an end half way some hosts
    still run the former one: they are to stay there.
    """
    newest = min(hosts, key=lambda host: (host["releases"].index(host["current"]), -len(host["releases"])))
    before = newest["releases"][newest["releases"].index(newest["current"]) + 1 :]
    return before[0] if before else ""


class FilterModule:
    def filters(self) -> dict:
        return {"former_release": former_release}
