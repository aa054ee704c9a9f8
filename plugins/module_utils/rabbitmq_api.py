"""The management API of the broker's node on this host, for modules that run there."""

import base64
import hmac
import json
import os
from hashlib import sha256
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

USER = "ansible"
COOKIE = Path("/var/lib/rabbitmq/.erlang.cookie")
TIMEOUT_SECONDS = 120  # for a broker that hangs; an answer takes milliseconds
HASHING = "rabbit_password_hashing_sha256"
LISTENING = "0A"  # proc_pid_net(5), the column `st`


class ApiFault(Exception):
    """The API does not answer, or refuses; the text is for people."""


class NobodyListensError(ApiFault):
    """The API is not at the port."""


class UnknownUserError(ApiFault):
    """The broker does not know our user, or by another password, or without its rights."""


def password_of(cookie: bytes) -> str:
    """Return the password of our user, derived from the cluster's secret: every node has that, and root can read it."""
    return hmac.new(cookie, b"management API", sha256).hexdigest()


def hash_of(password: str) -> str:
    """Return a password as definitions have it: four bytes of salt, and the digest of both. The same each time."""
    salt = sha256(password.encode()).digest()[:4]
    return base64.b64encode(salt + sha256(salt + password.encode()).digest()).decode()


def listener(port: int, table: str) -> int | None:
    """Return the user id of who listens at a port of 127.0.0.1, by a table as /proc/net/tcp; None for nobody."""
    for line in table.splitlines()[1:]:
        columns = line.split()
        if columns[1] == f"0100007F:{port:04X}" and columns[3] == LISTENING:
            return int(columns[7])
    return None


class Api:
    """The API at a port of 127.0.0.1; `cookie` is the file of the secret. Every method raises ApiFault."""

    def __init__(self, port: int, cookie: Path = COOKIE) -> None:
        self._port, self._cookie = port, cookie

    def user(self) -> dict[str, Any]:
        """Return our user as definitions have it: it may define everything, and has no part in any virtual host."""
        digest = hash_of(self._password())
        return {"name": USER, "password_hash": digest, "hashing_algorithm": HASHING, "tags": ["administrator"]}

    def get(self, *path: str, **query: str) -> Any:
        """Return what a resource holds."""
        return json.loads(self._request("GET", path, query, None))

    def post(self, *path: str, body: Any) -> None:
        self._request("POST", path, {}, body)

    def delete(self, *path: str) -> None:
        """Delete a resource; one that is gone already is no fault."""
        self._request("DELETE", path, {}, None)

    def _password(self) -> str:
        try:
            return password_of(self._cookie.read_bytes())
        except OSError as error:
            text = f"{self._cookie}: {error.strerror}. Without it there is no way into the management API"
            raise ApiFault(text) from error

    def _refuse_others(self) -> None:
        """Refuse to tell the password to anybody but the broker: while it is down, its port is there to be taken."""
        owner = self._cookie.stat().st_uid
        found = listener(self._port, Path("/proc/net/tcp").read_text())
        where = f"127.0.0.1:{self._port}, where the broker's management API should be"
        if found is None:
            raise NobodyListensError(f"nothing listens at {where}: see journalctl -u rabbitmq-server")
        if found not in (owner, os.geteuid()):
            raise ApiFault(f"a process of user {found} listens at {where}: end it, then start rabbitmq-server")

    def _request(self, method: str, path: tuple[str, ...], query: dict[str, str], body: Any) -> bytes:
        token = base64.b64encode(f"{USER}:{self._password()}".encode()).decode()
        self._refuse_others()
        url = "/api/" + "/".join(quote(part, safe="") for part in path) + (f"?{urlencode(query)}" if query else "")
        headers = {"authorization": f"Basic {token}", "content-type": "application/json"}
        connection = HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, url, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, HTTPException) as error:
            raise ApiFault(f"{method} {url}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        return checked(method, url, response.status, answer)


def checked(method: str, url: str, status: int, answer: bytes) -> bytes:
    """Return an answer that is none of a fault. A failed health check is an answer too."""
    if status == 401:
        raise UnknownUserError(f"the broker does not let the user {USER} in")
    is_health_check = status == 503 and url.startswith("/api/health/")
    if status < 300 or is_health_check or (status == 404 and method == "DELETE"):
        return answer
    raise ApiFault(f"{method} {url}: {status} {answer.decode(errors='replace').strip()}")
