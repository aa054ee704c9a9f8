"""Submits UPDATEs to the servers of the peers, each with a balance that no other one has.

    /opt/frota/current/bin/python peers_load.py INTERVAL CPF,CPF,… ADDRESS:PORT…

Each account has a client, which submits to one server after the other, and waits INTERVAL seconds between two batches.
Each line of standard input is a number N: the script waits for N further accepted tasks, and prints the total. At the
end of the input it prints one JSON object: the id and the balance of each accepted task by account, the number of
balances that were sent, and errors.
"""

import json
import sys
import threading
from collections.abc import Sequence
from decimal import Decimal
from itertools import cycle
from pathlib import Path

from frota.core.errors import ServerUnavailable, StateError
from frota.peers.client.connection import PeersClient
from frota.peers.client_settings import ClientSettings
from frota.peers.protocol.messages import UPDATE, Task

_BATCH = 5
_TIMEOUT_S = 180.0
_CERTIFICATE, _AUTHORITY = Path("/etc/frota/certificates/peer_client.crt"), Path("/etc/frota/certificates/ca.crt")
_KEY = Path("/etc/frota/credentials/peer_client.key")


class Client(threading.Thread):
    """Changes the balance of one account, to 0.01, 0.02 and so on."""

    def __init__(self, cpf: str, servers: Sequence[str], interval_s: float, changed: threading.Condition) -> None:
        super().__init__(daemon=True)
        self.cpf, self._interval_s, self._changed = cpf, interval_s, changed
        self._servers, self.stopped = cycle(servers), threading.Event()
        self.accepted: dict[str, str] = {}  # id to balance
        self.sent = 0
        self.errors: set[str] = set()

    def run(self) -> None:
        """Submit batches, whatever the servers do, until the load is stopped."""
        while not self.stopped.wait(self._interval_s):
            server = next(self._servers)
            try:
                client = PeersClient(
                    ClientSettings(host=server, cert_file=_CERTIFICATE, key_file=_KEY, ca_file=_AUTHORITY)
                )
                self._submit(client)
                client.close()
            except (ServerUnavailable, StateError) as error:
                self.errors.add(str(error))

    def _submit(self, client: PeersClient) -> None:
        tasks = [Task(UPDATE, self.cpf, Decimal(self.sent + number).scaleb(-2)) for number in range(1, _BATCH + 1)]
        self.sent += _BATCH  # also if the answer is lost: it is unknown then whether they were accepted
        outcome = client.submit(tasks)
        with self._changed:
            for one, task in zip(outcome, tasks, strict=True):
                if isinstance(one, str):
                    self.accepted[one] = str(task.balance)
                else:
                    self.errors.add(one.reason)
            self._changed.notify_all()


def main(interval_s: str, cpfs: str, *servers: str) -> None:
    """Run the clients until standard input ends."""
    changed = threading.Condition()
    clients = [Client(cpf, servers, float(interval_s), changed) for cpf in cpfs.split(",")]
    for client in clients:
        client.start()

    def total() -> int:
        return sum(len(client.accepted) for client in clients)

    for line in sys.stdin:
        goal = total() + int(line)
        with changed:
            while total() < goal:
                if not changed.wait(_TIMEOUT_S):
                    raise TimeoutError(f"only {total()} of {goal} were accepted")
        print(total(), flush=True)
    for client in clients:
        client.stopped.set()
    for client in clients:
        client.join(_TIMEOUT_S)
    accepted = {client.cpf: client.accepted for client in clients}
    sent = {client.cpf: client.sent for client in clients}
    errors = sorted({error for client in clients for error in client.errors})
    print(json.dumps({"accepted": accepted, "sent": sent, "errors": errors}))


if __name__ == "__main__":
    main(*sys.argv[1:])
