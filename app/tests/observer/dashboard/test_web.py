"""Login, sessions, CSRF tokens, roles, limits and headers, over real sockets."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import read_all, run_frota, until
from support.dashboard import Browser, DashboardServer, dashboard


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DashboardServer]:
    with dashboard(tmp_path) as running:
        yield running


def test_page_is_served_with_a_strict_policy(server: DashboardServer) -> None:
    """The page is served to everybody, and its policy forbids scripts and styles inside of it."""
    answer = server.browser().get("/")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/../settings.py", "/%2e%2e/web.py", "/assets/../../web.py", "/.sources", "/api/x"])
def test_no_other_file_is_served(server: DashboardServer, path: str) -> None:
    """Only the files of the page are served."""
    assert server.browser().get(path).status == 404


def test_nothing_without_a_login(server: DashboardServer) -> None:
    """Without a session there are no data, and the page learns that a login is needed."""
    browser = server.browser()
    assert browser.get("/api/session").json["login"] is True
    for path in ("/events?topics=fleet", f"/api/trace/{'a' * 32}", "/api/images/x/result"):
        assert browser.get(path).status == 401
    assert browser.post("/api/list", {"op": "append", "value": "x"}).status == 401


def test_login_and_logout(server: DashboardServer) -> None:
    """A login lasts until the logout; the cookie is then worth nothing."""
    browser = server.browser().login("vera")
    session = browser.get("/api/session").json
    assert (session["user"], session["role"], session["login"]) == ("vera", "viewer", False)
    assert browser.post("/api/logout", {}).status == 200
    assert browser.get("/api/session").json["login"] is True
    server.wait_for("vera has logged out")


def test_cookie_of_a_loopback_page(server: DashboardServer) -> None:
    """The cookie is for this server alone, hidden from scripts, and not sent by other sites."""
    answer = server.browser().post("/api/login", {"name": "vera", "password": "correct horse battery"})
    attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert attributes == {"httponly", "samesite=strict", "path=/"}


def test_cookie_of_another_name_needs_tls(server: DashboardServer) -> None:
    """Under any other name than localhost, browsers send the cookie over TLS only."""
    browser = server.browser(Host="fleet.example")
    answer = browser.post("/api/login", {"name": "vera", "password": "correct horse battery"})
    assert answer.headers["set-cookie"].startswith("__Host-frota=")
    assert "; secure" in answer.headers["set-cookie"].lower()


def test_wrong_passwords_are_limited(server: DashboardServer) -> None:
    """Wrong passwords are rejected alike for known and unknown names, and logged; after some, all are refused."""
    browser = server.browser()
    texts = {
        browser.post("/api/login", {"name": name, "password": "wrong password"}).json["error"]
        for name in ("vera", "nobody")
    }
    assert texts == {"the name or the password is wrong"}
    statuses = [browser.post("/api/login", {"name": "x\n", "password": "x"}).status for _ in range(12)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    server.wait_for(r"a login as x\\n has failed")


def test_action_needs_its_token(server: DashboardServer) -> None:
    """An action without the session's CSRF token, or with that of another session, is refused."""
    one, other = server.operator(), server.operator()
    for token in ("", "x", other.csrf, "\xe9"):
        answer = one.post("/api/list", {"op": "append", "value": "x"}, **{"X-Csrf-Token": token})
        assert answer.status == 403, answer
    assert one.post("/api/list", {"op": "append", "value": "x"}).status == 404  # not configured


@pytest.mark.parametrize(
    "header", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_other_sites_are_refused(server: DashboardServer, header: dict[str, str]) -> None:
    """A request that a page of another site sends is refused, a login too."""
    operator = server.operator()
    assert operator.post("/api/list", {"op": "append", "value": "x"}, **header).status == 403
    login = server.browser().post("/api/login", {"name": "vera", "password": "correct horse battery"}, **header)
    assert login.status == 403


def test_own_origin_is_accepted(server: DashboardServer) -> None:
    """A request of the page itself is accepted."""
    operator = server.operator()
    answer = operator.post("/api/logout", {}, Origin=f"http://localhost:{server.port}")
    assert answer.status == 200


def test_viewers_change_nothing(server: DashboardServer) -> None:
    """A viewer may not change anything, even with a valid token."""
    viewer = server.browser().login("vera")
    for answer in (viewer.post("/api/list", {"op": "append", "value": "x"}), viewer.send_image("a.png", b"x")):
        assert answer.status == 403
        assert answer.json["error"] == "only operators may do this"


def test_actions_are_limited(server: DashboardServer) -> None:
    """A user who acts too often is asked to wait."""
    operator = server.operator()
    answers = [operator.post("/api/list", {"op": "append", "value": "x"}) for _ in range(40)]
    assert answers[0].status == 404
    assert answers[-1].status == 429
    assert answers[-1].headers["retry-after"]


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"{}", "text/plain", 415),
        (b"{", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b"x" * 20_000, "application/json", 413),
    ],
)
def test_malformed_requests(server: DashboardServer, body: bytes, media_type: str, status: int) -> None:
    """What is no JSON object of a reasonable size is rejected with the reason."""
    answer = server.browser().request("POST", "/api/login", body, {"Content-Type": media_type})
    assert answer.status == status
    assert answer.json["error"]


def test_malformed_trace_is_rejected(server: DashboardServer) -> None:
    """What is no trace id never reaches journalctl."""
    viewer = server.browser().login("vera")
    for trace in ("x", "--follow", "a" * 31, "A" * 32, "a" * 33):
        assert viewer.get(f"/api/trace/{trace}").status == 400
    assert viewer.get(f"/api/trace/{'a' * 32}").status == 503  # there are no journals


def test_silent_connection_costs_nothing_to_others(server: DashboardServer) -> None:
    """Many connections that send nothing, or half a request, keep nobody out."""
    connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    for connection in connections[::2]:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    assert server.browser().get("/").status == 200
    for connection in connections:
        connection.close()


def test_oversized_header_is_rejected(server: DashboardServer) -> None:
    """A request whose header is too large is rejected."""
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000)
        assert b" 400 " in read_all(connection).partition(b"\r\n")[0]


def test_reload_logs_changed_users_out(server: DashboardServer, tmp_path: Path) -> None:
    """After a reload, a user who is gone from the file is logged out, and the others are not."""
    vera, olga = server.browser().login("vera"), server.operator()
    file = tmp_path / "users"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if "vera" not in line))
    os.kill(server.process.pid, signal.SIGHUP)
    server.wait_for("configuration reloaded")
    assert vera.get("/api/session").json["login"] is True
    assert olga.get("/api/session").json["login"] is False


def test_without_users_everybody_may_look_on_loopback(tmp_path: Path) -> None:
    """Without a users file the page is read-only, which the log says."""
    with dashboard(tmp_path, login=False) as server:
        server.wait_for("no login: everybody on this host may look, nobody may change anything")
        browser = server.browser()
        session = browser.get("/api/session").json
        assert (session["login"], session["role"], session["accounts"]) == (False, "viewer", False)
        assert browser.post("/api/list", {"op": "append", "value": "x"}).status == 403
        assert browser.post("/api/login", {"name": "vera", "password": "x"}).status == 404


def test_without_users_other_names_are_refused(tmp_path: Path) -> None:
    """Without a login, a page of another site cannot reach the server under a name of its own (DNS rebinding)."""
    with dashboard(tmp_path, login=False) as server:
        for host in ("evil.example", f"evil.example:{server.port}", "localhost.evil.example", "", "[::1"):
            answer = server.browser(Host=host).get("/api/session")
            assert answer.status in (400, 421), host
        for host in ("localhost", "127.0.0.1:8080", "[::1]:8080", "10.42.16.9:8080"):
            assert server.browser(Host=host).get("/api/session").status == 200


def test_other_addresses_need_users(tmp_path: Path) -> None:
    """Without a users file the service refuses to listen on other addresses than loopback."""
    done = run_frota("dashboard", "serve", "--host", "0.0.0.0", "--port", 0, "--state-dir", tmp_path)
    assert done.returncode == 1
    assert "refusing to serve without a login on 0.0.0.0: set DASHBOARD_USERS_FILE" in done.stderr


def test_check_of_settings() -> None:
    """`--check` rejects an invalid setting with what would be valid."""
    done = run_frota("dashboard", "serve", "--sensors", "host", "--check")
    assert done.returncode == 78
    assert "--sensors 'host': 'host' must be HOST:PORT" in done.stderr


def test_stop_ends_streams(server: DashboardServer) -> None:
    """A stop ends the streams of pages, with exit status 0."""
    viewer: Browser = server.browser().login("vera")
    with viewer.events("fleet") as events:
        assert events.next("state")
        assert server.stop() == 0
        assert events.at_end()
    until(lambda: "stopped" in server.log(), "not stopped")
