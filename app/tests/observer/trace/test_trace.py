"""`frota trace`, with hosts that a real shell stands for, and with a real journal."""

import json
import lzma
import shutil
from pathlib import Path
from typing import Any

import pytest

from frota import cli
from frota.observer.trace import sources
from support.remote import Hosts

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OTHER = "1" * 32
# Written by systemd-journald 252, for records that this test knows.
RECORDED = Path(__file__).with_name("fleet.journal.xz")
CONTROL = "\x1b[2J\u202e\x9b"


@pytest.fixture(autouse=True)
def no_collected_journals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Collect no journals on this machine, whatever it is."""
    monkeypatch.setattr(sources, "COLLECTED", tmp_path / "collected")
    return tmp_path / "collected"


def entry(time_us: int, unit: str, event: str, message: Any = "", **fields: Any) -> str:
    fixed = {"__REALTIME_TIMESTAMP": str(1_764_335_000_000_000 + time_us), "_SYSTEMD_UNIT": f"{unit}.service"}
    return json.dumps(fixed | {"FROTA_EVENT": event, "MESSAGE": message, "TRACE_ID": TRACE, "_HOSTNAME": "x"} | fields)


def add(hosts: Hosts, name: str, *entries: str, status: int = 0) -> None:
    hosts.add(name, journalctl=hosts.recording(name, "journalctl", "\n".join(entries), status))


def test_timeline_over_all_hosts(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    """The records of all hosts are one timeline; the slowest hop is marked."""
    add(hosts, "image-worker-1", entry(40_000, "frota-image-worker", "image_done", "s3://x", DURATION_MS="25.5"))
    add(hosts, "image-producer", entry(0, "frota-image-producer", "image_queued", "a.jpg", DURATION_MS="3"))
    add(hosts, "list-server")
    assert cli.main(["trace", TRACE.upper()]) == 0
    out, err = capsys.readouterr()
    heading, _, queued, done, slowest = out.splitlines()
    assert heading == f"trace {TRACE}: 2 records of 2 hosts in 43.000 ms, the journals of 3 hosts over SSH"
    assert " 3.000  image-producer  frota-image-producer  image_queued  a.jpg" in queued
    assert done.startswith("> ")
    assert "40.000  image-worker-1  frota-image-worker    image_done    s3://x  (25.500 ms by the service)" in done
    assert slowest == "slowest: 40.000 ms until image_done of frota-image-worker on image-worker-1"
    assert err == ""
    assert hosts.called("list-server", "journalctl")[-2:] == ["--", f"TRACE_ID={TRACE}"]


def test_json(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints an object for each hop, with all fields of the service."""
    add(
        hosts, "a", entry(1, "frota-list-server", "request", LIST="tasks"), entry(3001, "frota-list-server", "response")
    )
    assert cli.main(["trace", TRACE, "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["trace_id"], first["host"], first["unit"], first["event"]) == (
        TRACE,
        "a",
        "frota-list-server",
        "request",
    )
    assert (first["time"], first["took_ms"], first["fields"]) == (
        "2025-11-28T13:03:20.000001+00:00",
        None,
        {"LIST": "tasks"},
    )
    assert (second["took_ms"], second["slowest"]) == (3.0, False)


def test_host_that_does_not_respond(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    """A host that does not respond is named and makes the status 1; the rest is shown, incomplete output too."""
    add(hosts, "good", entry(0, "u", "first"))
    add(hosts, "broken", entry(1, "u", "second"), status=1)
    hosts.add("down", up=False)
    assert cli.main(["trace", TRACE, "--json"]) == 1
    out, err = capsys.readouterr()
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["first", "second"]
    assert err.splitlines() == [
        "frota: broken: exit status 1",
        "frota: down: ssh: connect to host down port 22: No route to host",
    ]


def test_unknown_trace(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    """A trace without a record is an error that says where was searched."""
    add(hosts, "a")
    assert cli.main(["trace", TRACE]) == 1
    assert capsys.readouterr() == ("", f"frota: no record of trace {TRACE} in the journals of 1 host over SSH\n")
    assert cli.main(["trace", "--last", "peers"]) == 1
    assert capsys.readouterr() == ("", "frota: no trace of peers in the journals of 1 host over SSH\n")


@pytest.mark.parametrize("words", [["--json"], []])
def test_untrusted_text_cannot_control_the_terminal(
    hosts: Hosts, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """Control characters in any field of a record are escaped."""
    bad = {"_SYSTEMD_UNIT": CONTROL, "FROTA_EVENT": f"{CONTROL}\n", "FILENAME": CONTROL, "DURATION_MS": CONTROL}
    add(hosts, "a", entry(0, "u", "", f"{CONTROL}\r\nforged", **bad), entry(1, "u", "", list(CONTROL.encode())))
    assert cli.main(["trace", TRACE, *words]) == 0
    out, _ = capsys.readouterr()
    assert "forged" in out
    assert [character for character in out if not character.isprintable() and character != "\n"] == []
    assert len(out.splitlines()) == (2 if words else 4)


def test_recent_traces(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    """--last lists the last traces of a system, oldest first."""
    one, two = "1" * 32, "2" * 32
    add(hosts, "a", entry(5, "u", "image_queued", "a.jpg", TRACE_ID=two), entry(1, "u", "image_queued", TRACE_ID=one))
    add(hosts, "b", entry(9, "u", "image_done", TRACE_ID=two))
    assert cli.main(["trace", "--last", "images", "7", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(item["trace_id"], item["event"]) for item in listed] == [(one, "image_queued"), (two, "image_done")]
    called = hosts.called("a", "journalctl")
    assert {"--reverse", "--lines=28", "FROTA_SYSTEM=images", "FROTA_EVENT=image_done"} <= set(called)
    assert cli.main(["trace", "--last", "images", "1"]) == 0
    (_, line) = capsys.readouterr().out.splitlines()
    assert f"{two}  b  " in line


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "one of the arguments ID --last is required"),
        ([TRACE[1:]], "expected 32 hexadecimal digits"),
        ([TRACE, "--last", "images"], "not allowed with"),
        (["--last", "pictures"], "must be one of images, list, peers, sensors, cpu"),
        (["--last", "images", "0"], "N must be from 1 to 1000"),
        (["--last", "images", "1", "2"], "N must be from 1 to 1000"),
        ([TRACE, "--ssh-config", "x", "--journal-dir", "y"], "not allowed with"),
    ],
)
def test_wrong_usage(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage is rejected with what would be right, and status 2."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["trace", *words])
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


def test_collected_journals_are_preferred(
    hosts: Hosts, no_collected_journals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Journals that were collected are read instead of the hosts' own, unless the user names an SSH configuration."""
    hosts.add("a")
    choose = sources.choose
    assert choose(None, None) == sources.Source(ssh_config=hosts.ssh_config)
    no_collected_journals.mkdir()
    assert choose(None, None) == sources.Source(no_collected_journals)
    assert choose(None, hosts.ssh_config) == sources.Source(ssh_config=hosts.ssh_config)
    no_collected_journals.rmdir()
    monkeypatch.chdir("/")
    assert choose(None, None) == sources.Source()


def test_missing_folder_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that does not exist is an error that names it."""
    assert cli.main(["trace", TRACE, "--journal-dir", str(tmp_path / "missing")]) == 1
    assert "missing: no such folder" in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("journalctl"), reason="journalctl, of systemd, is not installed")
def test_journal_of_systemd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real journal is read: text that looks like a field, a trace id of several, bytes that are no text."""
    (tmp_path / "fleet.journal").write_bytes(lzma.decompress(RECORDED.read_bytes()))
    where = ("--json", "--journal-dir", str(tmp_path))
    assert cli.main(["trace", TRACE, *where]) == 0
    queued, done, batch, binary = map(json.loads, capsys.readouterr().out.splitlines())
    assert (queued["host"], queued["unit"], queued["duration_ms"]) == ("fleet-host", "frota-image-producer", 12.5)
    assert (queued["message"], queued["fields"]) == (f"a\nTRACE_ID={OTHER}\n.jpg", {"FILENAME": "a=b.jpg"})
    assert [hop["event"] for hop in (queued, done, batch, binary)] == [
        "image_queued",
        "image_done",
        "tasks_done",
        "binary",
    ]
    assert binary["message"] == "\ufffd\x00\x1b[2J"
    assert queued["time"] < done["time"] < batch["time"] < binary["time"]
    assert cli.main(["trace", OTHER, *where]) == 0
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == ["tasks_done", "request"]
    assert cli.main(["trace", "--last", "images", *where]) == 0
    (image,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (image["trace_id"], image["event"]) == (TRACE, "image_done")
