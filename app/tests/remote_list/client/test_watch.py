"""Watching a list: every change once and in order, whatever is lost between the server and those who watch."""

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

from frota.remote_list import keys
from frota.remote_list.client.client import Response
from frota.remote_list.client.watch import ChangeSequence
from support import PATIENCE, frota
from support.fake_list_server import CUT, answered, fake
from support.legacy_list_server import original_server
from support.list_clients import client
from support.zmq_server import list_server


def change(version: int) -> dict[str, Any]:
    return {"list": "default", "version": version, "text": f"{version}", "time": "2026-01-31T12:00:00Z"}


def remembered(version: int, since: int, most: int) -> Response:
    """Return what a server at a version that remembers so many changes answers to `changes`."""
    first = max(since, version - most) + 1
    return Response({"ok": True, "version": version, "changes": [change(one) for one in range(first, version + 1)]})


@given(st.data())
def test_whatever_is_lost_or_comes_twice_every_change_is_shown_once_in_order_or_counted(data: st.DataObject) -> None:
    told: list[str] = []
    shown: list[int] = []
    begin = data.draw(st.integers(0, 3), "version at which watching begins")
    most = data.draw(st.sampled_from([0, 1, 2, 4, 99]), "changes that the server remembers")
    sequence, version = ChangeSequence(begin, told.append), begin

    def look(found: Iterator[dict[str, Any]] | None) -> None:
        if found is None:
            found = sequence.apply_response(remembered(version, sequence.version, most))
        shown.extend(one["version"] for one in found)

    for event in data.draw(st.lists(st.sampled_from(["made", "lost", "twice", "asked"]), max_size=20)):
        if event == "asked":
            look(None)
            continue
        version += 1
        for _ in range({"made": 1, "lost": 0, "twice": 2}[event]):
            look(sequence.apply_published(change(version)))
    look(None)
    assert shown == sorted(set(shown))
    assert sequence.version == version
    counted = sum(int(text.split()[5]) for text in told)
    assert len(shown) + counted == version - begin
    assert most < 99 or not told


def test_a_list_that_begins_anew_is_told_and_followed_from_its_beginning() -> None:
    told: list[str] = []
    sequence = ChangeSequence(7, told.append)
    assert not sequence.restarted(remembered(7, 7, 9))
    assert sequence.restarted(remembered(2, 0, 9))
    assert [one["version"] for one in sequence.apply_response(remembered(2, sequence.version, 9))] == [1, 2]
    assert told == ["the list began anew: it is at version 2, and was at 7"]


def test_what_is_no_change_among_changes_is_left_out_and_counted() -> None:
    told: list[str] = []
    wrong: list[Any] = [change(1), {"version": "2"}, None, change(3)]
    answer = Response({"ok": True, "version": 3, "changes": wrong})
    assert [one["version"] for one in ChangeSequence(0, told.append).apply_response(answer)] == [1, 3]
    assert told == ["the server no longer remembers 1 change"]


class Watch:
    """`frota list watch` in a process of its own."""

    def __init__(self, *flags: object) -> None:
        self.process = frota("list", "watch", *flags, stdout=-1, stderr=-1)

    def line(self) -> str:
        assert self.process.stdout
        return str(self.process.stdout.readline().decode())

    def versions(self, count: int) -> list[int]:
        return [int(json.loads(self.line())["version"]) for _ in range(count)]

    def interrupt(self) -> "subprocess.CompletedProcess[bytes]":
        self.process.send_signal(signal.SIGINT)
        said, errors = self.process.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess([], self.process.returncode, said, errors)


def test_the_last_changes_are_shown_then_new_ones_of_this_list_alone_until_ctrl_c(tmp_path: Path) -> None:
    with list_server(tmp_path) as server, client(server.port) as one:
        for value in ("a", "b", "\x1b[2J"):
            one.ask("append", value=value)
        watch = Watch("--port", server.port, "--last", 2)
        shown = [watch.line(), watch.line()]
        one.ask("append", value="elsewhere", list="default2")
        one.ask("clear")
        shown.append(watch.line())
        done = watch.interrupt()
    assert [line.split(maxsplit=2)[1:] for line in shown] == [
        ["2", "Elemento 'b' adicionado.\n"],
        ["3", "Elemento '\\x1b[2J' adicionado.\n"],
        ["4", "Lista limpa.\n"],
    ]
    assert all(line.startswith("20") and line[19:].startswith((".", "Z")) for line in shown)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_json_is_the_published_change(tmp_path: Path) -> None:
    with list_server(tmp_path) as server, client(server.port) as one:
        one.ask("append", value="ç")
        watch = Watch("--port", server.port, "--last", 1, "--json")
        assert json.loads(watch.line())["value"] == "ç"
        one.ask("insert", position=0, value="first")
        told = json.loads(watch.line())
        watch.interrupt()
    assert (told["op"], told["value"], told["position"], told["length"]) == ("insert", "first", 0, 2)


def test_restarts_and_kills_of_the_server_hide_no_change(tmp_path: Path) -> None:
    with list_server(tmp_path) as server, client(server.port) as one:
        one.ask("append", value="1")
        watch = Watch("--port", server.port, "--last", 1, "--json")
        assert watch.versions(1) == [1]
        for end, version in ((server.kill, 2), (server.stop, 4)):
            one.ask("append", value="while it watches")
            end()
            server.start()  # changes are published on another port now
            one.ask("append", value="while it does not")
            assert watch.versions(2) == [version, version + 1]
        done = watch.interrupt()
    assert done.returncode == 0
    assert done.stdout == b""


def test_a_server_that_lost_its_lists_is_followed_from_their_beginning(tmp_path: Path) -> None:
    with list_server(tmp_path) as server, client(server.port) as one:
        for _ in range(3):
            one.ask("append", value="x")
        watch = Watch("--port", server.port, "--last", 1, "--json")
        assert watch.versions(1) == [3]
        server.kill()
        shutil.rmtree(server.state)
        server.start()
        one.ask("append", value="y")
        assert watch.versions(1) == [1]
        done = watch.interrupt()
    # Which of both it is depends on who asks first.
    assert re.search(rb"frota: the list began anew: it is at version [01], and was at 3\n", done.stderr)


def test_changes_are_watched_over_curve(tmp_path: Path) -> None:
    secret, ours = tmp_path / "server.key", tmp_path / "client.key"
    access: dict[str, Any] = {"server_key": keys.generate(secret), "key_file": ours}
    allowed = f"us={keys.generate(ours)}"
    with (
        list_server(tmp_path, "--key-file", secret, "--clients", allowed) as server,
        client(server.port, **access) as one,
    ):
        one.ask("append", value="x")
        flags = ["--key-file", ours, "--server-key", access["server_key"]]
        watch = Watch("--port", server.port, "--last", 1, "--json", *flags)
        assert watch.versions(1) == [1]
        for version in range(2, 40):  # by asking alone it would take minutes
            one.ask("append", value="y")
            assert watch.versions(1) == [version]
        watch.interrupt()


def test_the_subscription_is_made_anew_when_the_connection_for_questions_was() -> None:
    asked: list[str] = []
    again = threading.Event()

    def handle(request: bytes) -> list[bytes]:
        asked.append(json.loads(request)["op"])
        if asked.count("info") == 2:
            again.set()
        lost = asked == ["info", "changes"]
        return [CUT] if lost else [answered(request, watch_port=1, changes=[])]

    with fake(handle) as server:
        watch = Watch("--port", server.port)
        assert again.wait(PATIENCE)
        watch.interrupt()
    assert asked[:4] == ["info", "changes", "changes", "info"]


def test_a_server_that_publishes_nothing_is_said() -> None:
    with fake(lambda request: [answered(request, watch_port=0)]) as server:
        done = Watch("--port", server.port).process
        _, errors = done.communicate(timeout=PATIENCE)
    assert (done.returncode, errors.decode()) == (
        1,
        f"frota: the server at 127.0.0.1:{server.port} has no port for those who watch\n",
    )
    with original_server() as (port, _):
        done = Watch("--port", port).process
        _, errors = done.communicate(timeout=PATIENCE)
    assert (done.returncode, errors.decode()) == (
        1,
        f"frota: the server at 127.0.0.1:{port} is one of the original's: it knows no 'info'\n",
    )
