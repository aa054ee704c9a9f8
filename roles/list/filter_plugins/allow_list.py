"""The allow-list of the remote list: client names and their public keys."""

SUFFIXES = ("", ".next")  # of the names of a client's current key and of its next key


def allow_list(clients: dict[str, list[str]], former: str) -> str:
    """Return NAME=KEY,NAME.next=KEY,… for the one or two keys of every client.

    A client without a known key, such as an unreachable host, keeps its keys in `former`, the current allow-list.
    """
    former_keys = dict(entry.split("=") for entry in former.split(",") if "=" in entry)
    allowed = {}
    for client, keys in sorted(clients.items()):
        names = [client + suffix for suffix in SUFFIXES]
        current_keys = {name: former_keys[name] for name in names if name in former_keys}
        allowed |= dict(zip(names, keys, strict=False)) or current_keys
    return ",".join(f"{name}={key}" for name, key in allowed.items())


class FilterModule:
    def filters(self) -> dict:
        return {"allow_list": allow_list}
