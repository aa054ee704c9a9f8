"""Which release a fleet goes back to."""


def former_release(hosts: list[list[str]]) -> str:
    """Return the release before the newest one in use; empty if none was installed before it.

    Each of `hosts` is what releases.sh prints there: the release in use, then all on the host, the last installed
    first. After an upgrade that came to an end half way some hosts still run the former one: they are to stay there.
    """
    used, *installed = min(hosts, key=lambda host: (host[1:].index(host[0]), -len(host)))
    before = installed[installed.index(used) + 1 :]
    return before[0] if before else ""


class FilterModule:
    def filters(self) -> dict:
        return {"former_release": former_release}
