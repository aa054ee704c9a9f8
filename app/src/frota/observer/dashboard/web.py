"""The HTTP interface of the page: files, login, the stream of events, and the actions of operators."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from frota import __version__
from frota.core.errors import MalformedMessage, RequestRejected, StateError
from frota.core.settings import SettingsError
from frota.core.threads import Threads
from frota.images.client.files import BadFile
from frota.logs import log
from frota.logs.rate_limit import RateLimiter
from frota.observer.dashboard import assets, guard, journal
from frota.observer.dashboard.guard import Guard, Refused
from frota.observer.dashboard.journal import Filter
from frota.observer.dashboard.journal_reader import JournalReader, TraceUnavailable
from frota.observer.dashboard.sessions import Session
from frota.observer.dashboard.sources.images import MAX_IMAGE_BYTES, Images, ResultUnavailable, log_sent
from frota.observer.dashboard.sources.lists import ListPart
from frota.observer.dashboard.viewers import TOPICS, Viewer, Viewers, event

_MAX_JSON_BYTES = 16 << 10
_MAX_FILTER_CHARACTERS = 200
_BODY_TIMEOUT_S, _UPLOAD_TIMEOUT_S = 10.0, 120.0
_MAX_UPLOADS = 4  # at the same time
_NO_STORE = {"cache-control": "no-store"}
_FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
Endpoint = Callable[[Request], Awaitable[Response]]


class Shown(NamedTuple):
    """What the routes show; a part is None where it is not configured."""

    viewers: Viewers
    journals: JournalReader
    list: ListPart | None
    images: Images | None


class Web:
    """The routes; `abort` ends the connection of a client's address, `uploads` is a folder for images."""

    def __init__(self, guard_: Guard, shown: Shown, abort: Callable[[Any], None], uploads: Path) -> None:
        self._guard, self._abort, self._uploads = guard_, abort, uploads
        self._viewers, self._journals, self._list, self._images = shown
        self._assets = assets.load()
        self._hashing = Threads(1, "scrypt")
        self._refusals = RateLimiter("refusals_suppressed", "refused requests")
        self._sending = asyncio.Semaphore(_MAX_UPLOADS)

    def app(self) -> guard.Shield:
        """Return the ASGI application."""
        routes = [
            Route("/api/session", self._guarded(self._session), methods=["GET"]),
            Route("/api/login", self._guarded(self._login), methods=["POST"]),
            Route("/api/logout", self._guarded(self._logout), methods=["POST"]),
            Route("/api/trace/{trace}", self._guarded(self._trace), methods=["GET"]),
            Route("/api/list", self._guarded(self._change_list), methods=["POST"]),
            Route("/api/images", self._guarded(self._send_image), methods=["POST"]),
            Route("/api/images/{image}/result", self._guarded(self._result), methods=["GET"]),
            Route("/events", self._guarded(self._events), methods=["GET"]),
            Route("/{path:path}", self._guarded(self._file), methods=["GET"]),
        ]
        return guard.Shield(Starlette(routes=routes), self._guard)

    def sweep(self) -> None:
        """Refill the log's rate limit; call it once a second."""
        self._refusals.refill()
        self._refusals.report()

    def close(self) -> None:
        """End the thread that computes hashes."""
        self._hashing.close()

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint whose errors are answers with a sentence."""

        async def respond(request: Request) -> Response:
            try:
                return await endpoint(request)
            except Refused as refused:
                self._guard.refused_total += 1
                if refused.status != 401 and self._refusals.allow():
                    guard.log_refused(request, refused)
                return _json({"error": str(refused)}, refused.status, refused.headers)
            except (MalformedMessage, BadFile) as error:
                return _json({"error": str(error)}, 400)
            except RequestRejected as error:
                return _json({"error": str(error), "hint": error.hint}, 422)
            except ClientDisconnect:
                return Response(status_code=400)
            except (OSError, StateError, SettingsError) as error:
                return _json({"error": str(error)}, 503)

        return respond

    async def _file(self, request: Request) -> Response:
        path = request.path_params.get("path") or "index.html"
        asset = self._assets.get(path)
        if asset is None:
            raise Refused(404, "no such page")
        headers = {"etag": asset.tag, "vary": "accept-encoding", "cache-control": "no-cache"}
        headers |= _FOREVER if path.startswith("assets/") else {}
        if request.headers.get("if-none-match") == asset.tag:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            return Response(asset.compressed, media_type=asset.media_type, headers=headers)
        return Response(asset.content, media_type=asset.media_type, headers=headers)

    async def _session(self, request: Request) -> Response:
        """Return who the viewer is; without a session, that a login is needed."""
        try:
            session = self._guard.session(request)
        except Refused:
            return _json({"login": True, "version": __version__})
        return _json(self._described(session))

    def _described(self, session: Session) -> dict[str, Any]:
        return {
            "login": False, "user": session.user, "role": session.role, "csrf": session.csrf, "version": __version__,
            "accounts": self._guard.users is not None,
        }  # fmt: skip

    async def _login(self, request: Request) -> Response:
        self._guard.check_origin(request)
        users = self._guard.users
        if users is None:
            raise Refused(404, "no login is configured")
        if not self._guard.logins.allow(guard.address_of(request)) or not self._guard.all_logins.allow(""):
            raise Refused(429, "too many attempts to log in: wait a minute", **{"retry-after": "30"})
        fields = await _json_body(request)
        name, password = (str(fields.get(key, ""))[:2000] for key in ("name", "password"))
        loop = asyncio.get_running_loop()
        user = await loop.run_in_executor(self._hashing, users.authenticate, name, password)
        if user is None:
            self._guard.logins_failed_total += 1
            text = f"a login as {log.printable(name[:64])} has failed"
            log.record("WARNING", "login_failed", text, PEER=guard.client_of(request))
            raise Refused(401, "the name or the password is wrong")
        token, session = self._guard.sessions.create(user)
        log.record("INFO", "login", f"{user.name} has logged in as {user.role}", PEER=guard.client_of(request))
        response = _json(self._described(session))
        guard.set_cookie(request, response, token)
        return response

    async def _logout(self, request: Request) -> Response:
        session = self._guard.session(request)
        self._guard.check_action(request, session, session.role)
        self._guard.sessions.end(self._guard.token(request))
        log.record("INFO", "logout", f"{session.user} has logged out", PEER=guard.client_of(request))
        response = _json({})
        guard.delete_cookie(request, response)
        return response

    async def _events(self, request: Request) -> Response:
        session = self._guard.session(request)
        asked = request.query_params
        topics = [topic for topic in asked.get("topics", "").split(",") if topic in TOPICS]
        client = request.scope.get("client")
        viewer = Viewer(session, topics, _filter(asked), lambda: self._abort(client))
        try:
            self._viewers.add(viewer)
        except OverflowError:
            limit = self._viewers.limit
            raise Refused(
                503, f"{limit} pages are open, which is the limit: close some", **{"retry-after": "10"}
            ) from None
        if "journal" in viewer.topics:
            records = [record.shown for record in self._journals.recent(viewer.records)]
            viewer.put(event("journal", {"records": records, "skipped": 0, "first": True}))
        return _Stream(viewer, self._viewers, lambda: self._guard.sessions.is_valid(session))

    async def _trace(self, request: Request) -> Response:
        self._guard.session(request)
        trace = request.path_params["trace"]
        if not journal.is_trace(trace):
            raise Refused(400, "a trace id has 32 hexadecimal digits")
        self._check_question(request)
        try:
            records = await self._journals.trace(trace)
        except TraceUnavailable as error:
            raise Refused(503, str(error)) from None
        return _json({"trace": trace, "records": [record.shown for record in records]})

    async def _change_list(self, request: Request) -> Response:
        session = self._guard.session(request)
        self._guard.check_action(request, session)
        if self._list is None:
            raise Refused(404, "the list is not configured")
        fields = await _json_body(request)
        answer = await self._list.change(fields)
        text = f"{session.user}: {fields['op']} {log.printable(str(fields['value'])[:100])}"
        log.record("INFO", "list_changed", text, USER=session.user, PEER=guard.client_of(request))
        return _json(answer)

    async def _send_image(self, request: Request) -> Response:
        session = self._guard.session(request)
        self._guard.check_action(request, session)
        if self._images is None:
            raise Refused(404, "the images are not configured")
        if self._sending.locked():
            raise Refused(503, "other images are being sent: try again", **{"retry-after": "2"})
        name = unquote(request.headers.get("x-file-name", ""), errors="replace")
        async with self._sending:
            with tempfile.NamedTemporaryFile(dir=self._uploads, buffering=0) as file:
                size = await _save(request, file.write)
                image = await self._images.send(Path(file.name), name, size, session.user)
        log_sent(session.user, image)
        return _json(image, 202)

    async def _result(self, request: Request) -> Response:
        self._guard.session(request)
        if self._images is None:
            raise Refused(404, "the images are not configured")
        self._check_question(request)
        try:
            result = await self._images.result(request.path_params["image"])
        except ResultUnavailable as error:
            raise Refused(404, str(error)) from None
        headers = {"content-security-policy": "default-src 'none'; sandbox", **_NO_STORE}
        return Response(result.data, media_type=result.media_type, headers=headers)

    def _check_question(self, request: Request) -> None:
        if not self._guard.questions.allow(guard.address_of(request)):
            raise Refused(429, "too many requests: wait a moment", **{"retry-after": "2"})


class _Stream(Response):
    """The response of a viewer: events until one of both ends it."""

    def __init__(self, viewer: Viewer, viewers: Viewers, is_valid: Callable[[], bool]) -> None:
        headers = {"x-accel-buffering": "no", **_NO_STORE}
        super().__init__(media_type="text/event-stream", headers=headers)
        del self.headers["content-length"]
        self._viewer, self._viewers, self._is_valid = viewer, viewers, is_valid

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 -- ASGI's signature
        """Send events."""
        gone = asyncio.ensure_future(_disconnected(receive))
        gone.add_done_callback(lambda _: self._viewer.close("gone"))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while (data := await self._viewer.next()) and self._is_valid():
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            self._viewers.remove(self._viewer)


async def _disconnected(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _save(request: Request, write: Callable[[bytes], object]) -> int:
    """Write the body of a request; return its size. Raises Refused, OSError."""
    size = 0
    try:
        async with asyncio.timeout(_UPLOAD_TIMEOUT_S):
            async for piece in request.stream():
                size += len(piece)
                if size > MAX_IMAGE_BYTES:
                    raise Refused(413, f"an image must have at most {MAX_IMAGE_BYTES >> 20} MiB", connection="close")
                write(piece)
    except TimeoutError:
        raise Refused(408, "the image has not arrived in time") from None
    return size


async def _json_body(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request. Raises Refused."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused(415, "the content must be JSON")
    body = b""
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for piece in request.stream():
                body += piece
                if len(body) > _MAX_JSON_BYTES:
                    raise Refused(413, f"the content must have at most {_MAX_JSON_BYTES} bytes", connection="close")
        fields = orjson.loads(body)
    except TimeoutError:
        raise Refused(408, "the content has not arrived in time") from None
    except ValueError:
        raise Refused(400, "the content is not valid JSON") from None
    if not isinstance(fields, dict):
        raise Refused(400, "the content must be a JSON object")
    return fields


def _filter(asked: Any) -> Filter:
    """Return the filter of a query. Raises Refused."""
    texts = {name: str(asked.get(name, ""))[:_MAX_FILTER_CHARACTERS] for name in ("host", "unit", "text", "trace")}
    priority = str(asked.get("priority", "7"))
    if priority not in list("01234567"):
        raise Refused(400, "priority must be from 0 to 7")
    return Filter(texts["host"], texts["unit"], int(priority), texts["text"], texts["trace"])


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    data = orjson.dumps(content)
    return Response(data, status, {**_NO_STORE, **(headers or {})}, media_type="application/json")
