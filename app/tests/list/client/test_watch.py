"""`frota list watch`: every change once and in order, whatever is lost between the server and subscribers."""

import json
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from frota.list import keys
from frota.list.client.client import Response
from frota.list.client.watch import ChangeSequence
from support import TIMEOUT_S, start_frota
from support.fake_list_server import DISCONNECT, fake_list_server, response_to
from support.legacy_list_server import legacy_server
from support.list_clients import client
from support.processes import read_until
from support.zmq_server import list_server


def change(version: int) -> dict[str, Any]:
    return {"list": "default", "version": version, "text": f"{version}", "time": "2026-01-31T12:00:00Z"}


def remembered(version: int, since: int, most: int) -> Response:
    """Return the response to `changes` of a server at a version that has the last `most` changes."""
    first = max(since, version - most) + 1
    return Response(
        {"ok": True, "version": version, "changes": [change(number) for number in range(first, version + 1)]}
    )


@given(st.data())
def test_changes_are_shown_once_in_order_or_counted(data: st.DataObject) -> None:
    """With lost and duplicate messages, each change is shown once and in order, or counted as skipped."""
    warnings: list[str] = []
    printed: list[int] = []
    begin = data.draw(st.integers(0, 3), "version at which watching begins")
    most = data.draw(st.sampled_from([0, 1, 2, 4, 99]), "changes that the server remembers")
    sequence, version = ChangeSequence(begin, warnings.append), begin

    def look(changes: Iterator[dict[str, Any]] | None) -> None:
        if changes is None:
            changes = sequence.apply_response(remembered(version, sequence.version, most))
        printed.extend(item["version"] for item in changes)

    for event in data.draw(st.lists(st.sampled_from(["made", "lost", "twice", "asked"]), max_size=20)):
        if event == "asked":
            look(None)
            continue
        version += 1
        for _ in range({"made": 1, "lost": 0, "twice": 2}[event]):
            look(sequence.apply_published(change(version)))
    look(None)
    assert printed == sorted(set(printed))
    assert sequence.version == version
    counted = sum(int(text.split()[0]) for text in warnings)
    assert len(printed) + counted == version - begin
    assert most < 99 or not warnings


def test_reset_list_is_shown_from_its_start() -> None:
    """A list whose versions restarted is reported, and shown from its first change."""
    warnings: list[str] = []
    sequence = ChangeSequence(7, warnings.append)
    assert not sequence.restarted(remembered(7, 7, 9))
    assert sequence.restarted(remembered(2, 0, 9))
    assert [item["version"] for item in sequence.apply_response(remembered(2, sequence.version, 9))] == [1, 2]
    assert warnings == ["the list was reset: it is at version 2, was at 7"]


def test_malformed_publishedis_skipped_and_counted() -> None:
    """A malformed change is skipped and counted."""
    warnings: list[str] = []
    wrong: list[Any] = [change(1), {"version": "2"}, None, change(3)]
    answer = Response({"ok": True, "version": 3, "changes": wrong})
    assert [item["version"] for item in ChangeSequence(0, warnings.append).apply_response(answer)] == [1, 3]
    assert warnings == ["1 change skipped, the server no longer has them"]


class Watch:
    """`frota list watch` in a process of its own."""

    def __init__(self, *flags: object) -> None:
        self.process = start_frota("list", "watch", *flags, stdout=-1, stderr=-1)

    def line(self) -> str:
        return read_until(self.process.stdout, b"\n").decode()

    def versions(self, count: int) -> list[int]:
        return [int(json.loads(self.line())["version"]) for _ in range(count)]

    def interrupt(self) -> "subprocess.CompletedProcess[bytes]":
        self.process.send_signal(signal.SIGINT)
        output, errors = self.process.communicate(timeout=TIMEOUT_S)
        return subprocess.CompletedProcess([], self.process.returncode, output, errors)


def test_watch_shows_last_and_new_changes(tmp_path: Path) -> None:
    """The last changes are shown, then new ones of this list alone, until Ctrl-C."""
    with list_server(tmp_path) as server, client(server.port) as user:
        for value in ("a", "b", "\x1b[2J"):
            user.ask("append", value=value)
        watch = Watch("--port", server.port, "--last", 2)
        printed = [watch.line(), watch.line()]
        user.ask("append", value="elsewhere", list="default2")
        user.ask("clear")
        printed.append(watch.line())
        done = watch.interrupt()
    assert [line.split(maxsplit=2)[1:] for line in printed] == [
        ["2", "Elemento 'b' adicionado.\n"],
        ["3", "Elemento '\\x1b[2J' adicionado.\n"],
        ["4", "Lista limpa.\n"],
    ]
    assert all(line.startswith("20") and line[19:].startswith((".", "Z")) for line in printed)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_json_is_the_published_change(tmp_path: Path) -> None:
    """With --json, each change is printed as published."""
    with list_server(tmp_path) as server, client(server.port) as user:
        user.ask("append", value="ç")
        watch = Watch("--port", server.port, "--last", 1, "--json")
        assert json.loads(watch.line())["value"] == "ç"
        user.ask("insert", position=0, value="first")
        published = json.loads(watch.line())
        watch.interrupt()
    assert (published["op"], published["value"], published["position"], published["length"]) == (
        "insert",
        "first",
        0,
        2,
    )


def test_watch_survives_restarts(tmp_path: Path) -> None:
    """Kills and restarts of the server hide no change."""
    with list_server(tmp_path) as server, client(server.port) as user:
        user.ask("append", value="1")
        watch = Watch("--port", server.port, "--last", 1, "--json")
        assert watch.versions(1) == [1]
        for end, version in ((server.kill, 2), (server.stop, 4)):
            user.ask("append", value="while it watches")
            end()
            server.start()  # changes are published on another port now
            user.ask("append", value="while it does not")
            assert watch.versions(2) == [version, version + 1]
        done = watch.interrupt()
    assert done.returncode == 0
    assert done.stdout == b""


def test_watch_survives_the_loss_of_the_state(tmp_path: Path) -> None:
    """If the server lost its state, the new list is shown from its first change."""
    with list_server(tmp_path) as server, client(server.port) as user:
        for _ in range(3):
            user.ask("append", value="x")
        watch = Watch("--port", server.port, "--last", 1, "--json")
        assert watch.versions(1) == [3]
        server.kill()
        shutil.rmtree(server.state)
        server.start()
        user.ask("append", value="y")
        assert watch.versions(1) == [1]
        done = watch.interrupt()
    # The version depends on whose request is first.
    assert re.search(rb"frota: the list was reset: it is at version [01], was at 3\n", done.stderr)


def test_watch_over_curve(tmp_path: Path) -> None:
    """Changes are published over CURVE too."""
    secret, client_key = tmp_path / "server.key", tmp_path / "client.key"
    access: dict[str, Any] = {"server_key": keys.generate(secret), "key_file": client_key}
    allowed = f"us={keys.generate(client_key)}"
    with (
        list_server(tmp_path, "--key-file", secret, "--clients", allowed) as server,
        client(server.port, **access) as user,
    ):
        user.ask("append", value="x")
        flags = ["--key-file", client_key, "--server-key", access["server_key"]]
        watch = Watch("--port", server.port, "--last", 1, "--json", *flags)
        assert watch.versions(1) == [1]
        for version in range(2, 40):  # by polling alone it would take minutes
            user.ask("append", value="y")
            assert watch.versions(1) == [version]
        watch.interrupt()


def test_lost_connection_renews_the_subscription() -> None:
    """A new connection for requests renews the subscription as well."""
    topics: list[str] = []
    resubscribed = threading.Event()

    def handle(request: bytes) -> list[bytes]:
        topics.append(json.loads(request)["op"])
        if topics.count("info") == 2:
            resubscribed.set()
        lost = topics == ["info", "changes"]
        return [DISCONNECT] if lost else [response_to(request, watch_port=1, changes=[])]

    with fake_list_server(handle) as server:
        watch = Watch("--port", server.port)
        assert resubscribed.wait(TIMEOUT_S)
        watch.interrupt()
    assert topics[:4] == ["info", "changes", "changes", "info"]


def test_server_without_publication_is_an_error() -> None:
    """A server that publishes no changes ends the command with the reason."""
    with fake_list_server(lambda request: [response_to(request, watch_port=0)]) as server:
        done = Watch("--port", server.port).process
        _, errors = done.communicate(timeout=TIMEOUT_S)
    assert (done.returncode, errors.decode()) == (
        1,
        f"frota: the server at 127.0.0.1:{server.port} publishes no changes\n",
    )
    with legacy_server() as (port, _):
        done = Watch("--port", port).process
        _, errors = done.communicate(timeout=TIMEOUT_S)
    assert (done.returncode, errors.decode()) == (
        1,
        f"frota: the server at 127.0.0.1:{port} is a legacy server: it has no operation 'info'\n",
    )
