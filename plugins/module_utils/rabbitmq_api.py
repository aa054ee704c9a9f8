"""The management API of the RabbitMQ node on this host, for modules that run there."""

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
TIMEOUT_S = 120  # for a broker that hangs; a response takes milliseconds
HASHING_ALGORITHM = "rabbit_password_hashing_sha256"
LISTEN_STATE = "0A"  # proc_pid_net(5), the column `st`


class ApiFault(Exception):
    """The API is unreachable or rejects a request; the text is the module's error message."""


class NoListenerError(ApiFault):
    """No process listens on the API's port."""


class UnknownUserError(ApiFault):
    """The broker rejects the user: unknown, wrong password or missing permissions."""


def password_of(cookie: bytes) -> str:
    """Return the user's password, derived from the Erlang cookie, which every node has and root can read."""
    return hmac.new(cookie, b"management API", sha256).hexdigest()


def hash_of(password: str) -> str:
    """Return the password hash of RabbitMQ definitions, 4 bytes of salt and a SHA-256 digest. Deterministic."""
    salt = sha256(password.encode()).digest()[:4]
    return base64.b64encode(salt + sha256(salt + password.encode()).digest()).decode()


def listener_uid(port: int, table: str) -> int | None:
    """Return the user id of the listener on 127.0.0.1:port, from the text of /proc/net/tcp; None if there is none."""
    for line in table.splitlines()[1:]:
        columns = line.split()
        if columns[1] == f"0100007F:{port:04X}" and columns[3] == LISTEN_STATE:
            return int(columns[7])
    return None


class Api:
    """The API on a port of 127.0.0.1; `cookie` is the Erlang cookie's file. Every method raises ApiFault."""

    def __init__(self, port: int, cookie: Path = COOKIE) -> None:
        self._port, self._cookie = port, cookie

    def user(self) -> dict[str, Any]:
        """Return the user in the format of definitions: an administrator without permissions in any virtual host."""
        hashed = {"password_hash": hash_of(self._password()), "hashing_algorithm": HASHING_ALGORITHM}
        return {"name": USER, **hashed, "tags": ["administrator"]}

    def get(self, *path: str, **query: str) -> Any:
        """Return the content of a resource."""
        return json.loads(self._request("GET", path, query, None))

    def post(self, *path: str, body: Any) -> None:
        """Send a body as JSON to a resource."""
        self._request("POST", path, {}, body)

    def delete(self, *path: str) -> None:
        """Delete a resource; a missing one is no error."""
        self._request("DELETE", path, {}, None)

    def _password(self) -> str:
        try:
            return password_of(self._cookie.read_bytes())
        except OSError as error:
            text = f"{self._cookie}: {error.strerror}. The management API requires it"
            raise ApiFault(text) from error

    def _verify_listener(self) -> None:
        """Verify that the broker owns the port before the password is sent: any process can listen while it is down."""
        broker_uid = self._cookie.stat().st_uid
        uid = listener_uid(self._port, Path("/proc/net/tcp").read_text())
        address = f"127.0.0.1:{self._port}, the port of the broker's management API"
        if uid is None:
            raise NoListenerError(f"nothing listens at {address}: see journalctl -u rabbitmq-server")
        if uid not in (broker_uid, os.geteuid()):
            raise ApiFault(f"a process of user {uid} listens at {address}: stop it, then start rabbitmq-server")

    def _request(self, method: str, path: tuple[str, ...], query: dict[str, str], body: Any) -> bytes:
        token = base64.b64encode(f"{USER}:{self._password()}".encode()).decode()
        self._verify_listener()
        url = "/api/" + "/".join(quote(part, safe="") for part in path) + (f"?{urlencode(query)}" if query else "")
        headers = {"authorization": f"Basic {token}", "content-type": "application/json"}
        connection = HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        try:
            connection.request(method, url, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            raise ApiFault(f"{method} {url}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        return checked(method, url, response.status, content)


def checked(method: str, url: str, status: int, content: bytes) -> bytes:
    """Return the content of a successful response. Status 503 of a health check is a success, too. Raises ApiFault."""
    if status == 401:
        raise UnknownUserError(f"the broker rejects the user {USER}")
    is_health_check = status == 503 and url.startswith("/api/health/")
    if status < 300 or is_health_check or (status == 404 and method == "DELETE"):
        return content
    raise ApiFault(f"{method} {url}: {status} {content.decode(errors='replace').strip()}")
