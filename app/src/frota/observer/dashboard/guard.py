"""What protects the page: headers of every response, the Host header, sessions, CSRF tokens and rate limits."""

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response

from frota.logs import log
from frota.net.addresses import endpoint
from frota.observer.dashboard.sessions import ANONYMOUS, RateLimit, Session, Sessions, has_token
from frota.observer.dashboard.users import OPERATOR, Users

Scope = MutableMapping[str, Any]
Handler = Callable[[Request, Session], Awaitable[Response]]
COOKIE, SECURE_COOKIE = "frota", "__Host-frota"  # a browser accepts the second one over TLS only
CSRF_HEADER = "x-csrf-token"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Refused(Exception):
    """A request is refused: the status, and a sentence for the user."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status, self.headers = status, headers


class Guard:
    """Who may do what; `users` is None where no login is configured, which is on loopback only."""

    def __init__(self, users: Users | None, host: str) -> None:
        self.users, self._host = users, host
        self.sessions = Sessions()
        self.logins = RateLimit(10, 10)  # of a client's address
        self.all_logins = RateLimit(60, 30)  # each costs 0.1 s of CPU time
        self.actions = RateLimit(120, 30)  # of a user
        self.questions = RateLimit(120, 30)  # of a client's address: what starts a process or a transfer
        self.refused_total = self.logins_failed_total = 0

    def session(self, request: Request) -> Session:
        """Return the session of a request. Raises Refused without one."""
        if self.users is None:
            return ANONYMOUS
        session = self.sessions.find(self.token(request))
        if session is None:
            raise Refused(401, "log in first")
        return session

    def token(self, request: Request) -> str:
        """Return the token that the browser sent, "" for none."""
        return request.cookies.get(cookie_name(request), "")

    def check_action(self, request: Request, session: Session, role: str = OPERATOR) -> None:
        """Check that a request may change something. Raises Refused."""
        self.check_origin(request)
        if not has_token(session, request.headers.get(CSRF_HEADER, "")):
            raise Refused(403, "this page is out of date: load it again")
        if role == OPERATOR and session.role != OPERATOR:
            raise Refused(403, "only operators may do this")
        if not self.actions.allow(session.user):
            raise Refused(429, "too many actions: wait a moment", **{"retry-after": "2"})

    def check_origin(self, request: Request) -> None:
        """Check that a request is from a page of ours. Raises Refused."""
        origin = request.headers.get("origin", "")
        if origin and urlsplit(origin).netloc != request.headers.get("host", ""):
            raise Refused(403, "requests from other sites are refused")
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refused(403, "requests from other sites are refused")

    def check_host(self, headers: Headers) -> None:
        """Refuse names of other sites that resolve to this server (DNS rebinding). Raises Refused.

        With a login, the cookie is bound to the name; without one, only addresses and localhost are names of ours.
        """
        name = host_name(headers)
        if self.users is None and name not in (*_LOOPBACK_NAMES, self._host) and not _is_address(name):
            raise Refused(421, "this name is not one of this server: use http://localhost")


class Shield:
    """ASGI middleware: the headers of every response, and the check of the Host header."""

    def __init__(self, app: Any, guard: Guard) -> None:
        self._app, self._guard = app, guard

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve a request."""

        async def send_shielded(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            self._guard.check_host(Headers(scope=scope))
        except Refused as refused:
            await Response(str(refused), refused.status)(scope, receive, send_shielded)
            return
        await self._app(scope, receive, send_shielded)


def cookie_name(request: Request) -> str:
    """Return the name of the session's cookie."""
    return COOKIE if _is_loopback(request) else SECURE_COOKIE


def set_cookie(request: Request, response: Response, token: str) -> None:
    """Give a browser its session; a browser's connection to loopback needs no TLS, any other one does."""
    response.set_cookie(
        cookie_name(request), token, path="/", secure=not _is_loopback(request), httponly=True, samesite="strict"
    )


def delete_cookie(request: Request, response: Response) -> None:
    """Take a browser's session away."""
    response.delete_cookie(
        cookie_name(request), path="/", secure=not _is_loopback(request), httponly=True, samesite="strict"
    )


def client_of(request: Request) -> str:
    """Return the client's address as HOST:PORT."""
    return endpoint(*request.client) if request.client else "?"


def address_of(request: Request) -> str:
    """Return the client's address without its port."""
    return request.client.host if request.client else "?"


def host_name(headers: Headers) -> str:
    """Return the name in the Host header, without port and brackets."""
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def log_refused(request: Request, refused: Refused) -> None:
    """Log a refused action."""
    text = f"{request.method} {log.printable(request.url.path[:100])} refused: {refused}"
    log.record("WARNING", "request_refused", text, PEER=client_of(request), STATUS=refused.status)


def _is_loopback(request: Request) -> bool:
    return host_name(request.headers) in _LOOPBACK_NAMES


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
