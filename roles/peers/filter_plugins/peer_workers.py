"""The workers of a host and their own servers."""

from typing import Any

CERTIFICATE = "/etc/frota/certificates/peer_worker.crt"


def peer_workers(
    addresses: list[str], count: int | str, host: str, metrics_port: int | str
) -> dict[str, dict[str, str]]:
    """Return the settings of each worker of a host, by its number.

    They take turns in having each server, of those at `addresses`, as their own one: a host with as many workers as
    servers works for all of them. `metrics_port` is that of the first worker, 0 for none.
    """
    return {
        str(number): {
            "name": f"{host}:{number}",
            "host": addresses[(number - 1) % len(addresses)],
            "metrics_port": str(int(metrics_port) and int(metrics_port) + number - 1),
            **files(number),
        }
        for number in range(1, int(count) + 1)
    }


def files(number: int) -> dict[str, str]:
    """Return the certificate of all workers, and the credential of one, for servers and database."""
    files = {"cert_file": CERTIFICATE, "key_file": f"/run/credentials/frota-peer-worker@{number}.service/key"}
    return {**files, **{f"database_{name}": file for name, file in files.items()}}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"peer_workers": peer_workers}
