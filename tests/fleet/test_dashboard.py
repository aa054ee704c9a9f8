"""The page of the fleet, on the observer's host: operators act on the real list and image pipeline."""

import json
import secrets
import shlex
from pathlib import Path

from .fleet import Fleet

_SESSION = Path(__file__).parent / "on_hosts" / "page_session.py"
_STATUSES = """
import http.client, json, sys
statuses = []
for method, path in json.loads(sys.argv[1]):
    connection = http.client.HTTPConnection("localhost", 8080, timeout=60)
    connection.request(method, path)
    statuses.append(connection.getresponse().status)
print(json.dumps(statuses))
"""
_PASSWORD = ".local/dashboard/password"


def test_operator_changes_the_list_and_sends_an_image(fleet: Fleet) -> None:
    """An operator's element is in the list of all clients; an image is converted, and its trace crosses the hosts."""
    value = f"page-{secrets.token_hex(4)}"
    script, password = shlex.quote(_SESSION.read_text(encoding="utf-8")), (fleet.root / _PASSWORD).read_text().strip()
    printed = fleet.observer.run(f"echo {shlex.quote(password)} | python3 -c {script} {value}", 180)
    session = json.loads(printed)
    assert {fleet.image_producer.name, fleet.observer.name} <= set(session["hosts"])
    assert {host.name for host in fleet.image_workers} & set(session["hosts"])
    assert session["forged"] == 403
    assert value in fleet.list_client.run_as_admin("frota list show").splitlines()
    fleet.list_client.run_as_admin(f"frota list remove {value}")


def test_nobody_acts_without_a_login(fleet: Fleet) -> None:
    """Without a session nothing is shown and nothing changes."""
    requests = [("GET", "/events"), ("GET", f"/api/trace/{32 * 'a'}"), ("POST", "/api/list"), ("POST", "/api/images")]
    statuses = fleet.observer.run(f"python3 -c {shlex.quote(_STATUSES)} {shlex.quote(json.dumps(requests))}")
    assert json.loads(statuses) == [401] * len(requests)


def test_page_is_on_loopback_only(fleet: Fleet) -> None:
    """No other host reaches the page."""
    address = fleet.observer.address
    closed = fleet.sensors[0].run(
        f"timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/8080' 2>&1 && echo open || echo closed"
    )
    assert closed.splitlines()[-1] == "closed"
