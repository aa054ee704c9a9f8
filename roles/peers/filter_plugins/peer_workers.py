"""The workers of a host and their own servers."""

from typing import Any

CERTIFICATE = "/etc/frota/certificates/peer_worker.crt"

def peer_workers(addresses: list[str], count: int | str, metrics_port: int | str) -> dict[str, dict[str, str]]:
    """Return the settings of each worker, by its number: they take turns in having each server as their own one.

    `addresses` are those of all servers. So a host with as many workers as servers, or more, works for all of them.
    `metrics_port` is that of the first worker, 0 for none.
    """
    ports = {number: int(metrics_port) and int(metrics_port) + number - 1 for number in range(1, int(count) + 1)}
    return {str(number): {**settings(number, addresses), "metrics_port": str(port)} for number, port in ports.items()}


def settings(number: int, addresses: list[str]) -> dict[str, str]:
    """Return the settings of a worker that the others of its host do not share."""
    files = {"cert_file": CERTIFICATE, "key_file": f"/run/credentials/frota-peer-worker@{number}.service/key"}
    of_database = {f"database_{name}": file for name, file in files.items()}
    return {"host": addresses[(number - 1) % len(addresses)], **files, **of_database}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"peer_workers": peer_workers}
