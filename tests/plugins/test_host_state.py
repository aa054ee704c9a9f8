"""Comparison of a host with its record: every change that a role would correct has to be detected."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .modules import load

host_state = load("host_state")
_DAY_S = 86400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a file, a folder and a link."""
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/key").write_text("secret")
    (tmp_path / "settings.env").write_text("A=1\n")
    (tmp_path / "current").symlink_to("releases/1")
    return tmp_path


class Record:
    """A record of one system, in a file beside the recorded folder."""

    def __init__(self, folder: Path, **system: Any) -> None:
        self.file = folder.parent / f"{folder.name}.json"
        self.system = {"inputs": "1", "paths": [f"{folder}/**"], **system}
        self.call("recorded")

    def call(self, state: str, **options: Any) -> dict[str, Any]:
        common = {"systems": {"one": self.system}, "control_node_state": {}, "days_left": 30, "check_mode": False}
        result: dict[str, Any] = host_state.run({**common, "state": state, "file": str(self.file), **options})
        return result

    def differences(self, **options: Any) -> list[str]:
        differences: list[str] = self.call("compared", **options)["differences"]["one"]
        return differences


def test_recorded_state_has_no_differences(folder: Path) -> None:
    """A state has no differences from its own record."""
    assert Record(folder).differences() == []


def test_missing_record(folder: Path) -> None:
    """Without a record a system is reported as not recorded."""
    record = Record(folder)
    record.file.unlink()
    assert record.differences() == ["no whole run is recorded since the last change"]


_DAMAGED = (b"", b"{", b"[]", b"\xff", b'{"one": {"inputs": "1"', b'{"one": 5}', b'{"one": {}}')


@pytest.mark.parametrize("damaged", _DAMAGED)
def test_damaged_record_counts_as_missing(folder: Path, damaged: bytes) -> None:
    """A damaged record counts as missing."""
    record = Record(folder)
    record.file.write_bytes(damaged)
    assert record.differences() == ["no whole run is recorded since the last change"]


def _change_content_only(folder: Path) -> None:
    file = folder / "settings.env"
    before = file.stat()
    file.write_text("A=2\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _change_link(folder: Path) -> None:
    (folder / "current").unlink()
    (folder / "current").symlink_to("releases/2")


def _replace_link_by_folder(folder: Path) -> None:
    (folder / "current").unlink()
    (folder / "current").mkdir()


def _replace_by_copy(folder: Path) -> None:
    (folder / "new").write_text("A=1\n")
    (folder / "new").replace(folder / "settings.env")


_CHANGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "content": (lambda folder: (folder / "settings.env").write_text("A=2\n"), "settings.env has changed"),
    "content with the same size and time": (_change_content_only, "settings.env has changed"),
    "a file replaced by a copy": (_replace_by_copy, "settings.env has changed"),
    "a mode": (lambda folder: (folder / "settings.env").chmod(0o640), "settings.env has changed"),
    "a folder's mode": (lambda folder: (folder / "inside").chmod(0o700), "inside has changed"),
    "a link": (_change_link, "current has changed"),
    "a removed link": (lambda folder: (folder / "current").unlink(), "current is gone"),
    "a removed file": (lambda folder: (folder / "inside/key").unlink(), "inside/key is gone"),
    "a time": (lambda folder: os.utime(folder / "settings.env"), "settings.env has changed"),
    "a new file": (lambda folder: (folder / "inside/other").touch(), "inside/other is new"),
    "a link replaced by a folder": (_replace_link_by_folder, "current has changed"),
}


@pytest.mark.parametrize("change", _CHANGES)
def test_change_is_reported(folder: Path, change: str) -> None:
    """Every kind of change to a file, link or folder is reported with its path."""
    record = Record(folder)
    make_change, expected = _CHANGES[change]
    make_change(folder)
    assert record.differences() == [f"{folder}/{expected}"]


def test_other_files_do_not_change_a_folder(folder: Path) -> None:
    """Other files in a folder are no difference of the folder."""
    record = Record(folder, paths=[f"{folder}/inside"])
    (folder / "inside/other").touch()
    assert record.differences() == []


def test_changed_inputs(folder: Path) -> None:
    """Changed inputs are a difference."""
    record = Record(folder)
    record.system["inputs"] = "2"
    assert record.differences() == ["the description has changed"]


def test_failed_command(folder: Path) -> None:
    """A command that fails is a difference."""
    command = ["sh", "-c", f"cat {folder}/settings.env; test ! -e {folder}/fail"]
    record = Record(folder, paths=[], commands=[command])
    assert record.differences() == []
    (folder / "fail").touch()
    assert record.differences() == [f"{' '.join(command)} ended with 1: A=1"]


def test_command_output_may_be_binary(folder: Path) -> None:
    """The output of a command is compared even if it is not text."""
    command = ["cat", f"{folder}/settings.env"]
    (folder / "settings.env").write_bytes(b"\xff\n")
    record = Record(folder, paths=[], commands=[command])
    assert record.differences() == []
    (folder / "settings.env").write_bytes(b"\xff\xff\n")
    assert record.differences() == [f"{' '.join(command)} has changed"]


def test_missing_command(folder: Path) -> None:
    """A command that no longer exists is a difference."""
    program = folder / "program"
    program.write_text("#!/bin/sh\necho 1\n")
    program.chmod(0o755)
    record = Record(folder, paths=[], commands=[[str(program)]])
    program.unlink()
    assert record.differences() == [f"{program}: [Errno 2] No such file or directory: {str(program)!r}"]


def test_state_of_the_control_node(folder: Path) -> None:
    """The state that was collected on the control node is compared."""
    record = Record(folder)
    record.call("recorded", control_node_state={"one": "1 stack"})
    assert record.differences(control_node_state={"one": "1 stack"}) == []
    assert record.differences(control_node_state={"one": "2 stacks"}) == ["the state on the control node has changed"]
    assert record.differences() == ["the state on the control node is gone"]


def test_probe_results_ignore_order(folder: Path) -> None:
    """Results of probes are compared regardless of order; an exception is a difference."""
    file = folder / "settings.json"
    file.write_text('{"users": [{"name": "b"}, {"name": "a"}], "limit": 1}')
    code = f"import json\ndef read():\n    return json.load(open({str(file)!r}))\n"
    record = Record(folder, paths=[], probes=[{"code": code, "call": "read()"}])
    file.write_text('{"limit": 1, "users": [{"name": "a"}, {"name": "b"}]}')
    assert record.differences() == []
    file.write_text('{"limit": 1, "users": [{"name": "a"}]}')
    assert record.differences() == ["read() has changed"]
    file.unlink()
    assert record.differences()[0].startswith("read(): FileNotFoundError")


def test_record_contains_digests_only(folder: Path) -> None:
    """The record contains no output of commands and no results of probes."""
    command = ["cat", f"{folder}/inside/key"]
    record = Record(folder, commands=[command], probes=[{"code": "", "call": "'sec' + 'ret'"}])
    assert "secret" not in record.file.read_text()


def test_unknown_state_is_not_recorded(folder: Path) -> None:
    """A state that cannot be determined is not recorded."""
    for unknown in ({"commands": [["false"]]}, {"probes": [{"code": "", "call": "nothing()"}]}):
        with pytest.raises(host_state.UnknownStateError):
            Record(folder, paths=[], **unknown)


def test_number_of_differences_is_limited(folder: Path) -> None:
    """At most five differences are listed; the others are counted."""
    record = Record(folder)
    for number in range(7):
        (folder / str(number)).touch()
    differences = record.differences()
    assert len(differences) == 6
    assert differences[-1] == "and 2 more"


def test_expiring_certificate(folder: Path) -> None:
    """A certificate that expires within `days_left` days is a difference."""
    certificate = folder / "one.crt"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "40",
    ]
    files = ["-subj", "/CN=one", "-keyout", str(folder / "one.key"), "-out", str(certificate)]
    subprocess.run([*command, *files], check=True, capture_output=True)
    record = Record(folder, certificates=[f"{folder}/*.crt"])
    ends = json.loads(record.file.read_text())["one"]["ends"][str(certificate)]
    assert abs(ends - time.time() - 40 * _DAY_S) < _DAY_S
    assert record.differences(days_left=30) == []
    assert record.differences(days_left=41) == [f"{certificate} expires within 41 days"]


def test_invalid_certificate(folder: Path) -> None:
    """A file that is no certificate is a difference on every run."""
    (folder / "one.crt").write_text("no certificate")
    record = Record(folder, certificates=[f"{folder}/*.crt"])
    assert record.differences() == [f"{folder}/one.crt expires within 30 days"]


def test_forgotten_system(folder: Path) -> None:
    """A system that was removed from the record differs; the others do not."""
    record = Record(folder)
    both = {"one": record.system, "two": record.system}
    record.call("recorded", systems=both)
    record.call("forgotten")
    differences = record.call("compared", systems=both)["differences"]
    assert differences["two"] == []
    assert differences["one"] != []


@pytest.mark.parametrize("state", ["recorded", "forgotten"])
def test_check_mode_keeps_the_record(folder: Path, state: str) -> None:
    """Check mode does not change the record."""
    record = Record(folder)
    before = record.file.read_bytes()
    record.system["inputs"] = "2"
    record.call(state, check_mode=True)
    assert record.file.read_bytes() == before


def test_record_is_private(folder: Path) -> None:
    """Only root can read the record."""
    record = Record(folder)
    assert record.file.stat().st_mode & 0o777 == 0o600
