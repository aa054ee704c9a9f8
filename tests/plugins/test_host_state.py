"""What a run compares before it leaves a system out: nothing that a role would mend may go unseen."""

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
_DAY = 86400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with a file, a folder in it, and a link."""
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/key").write_text("secret")
    (tmp_path / "settings.env").write_text("A=1\n")
    (tmp_path / "current").symlink_to("releases/1")
    return tmp_path


class Record:
    """A record of one system, in a file beside the folder that it tells of."""

    def __init__(self, folder: Path, **system: Any) -> None:
        self.file = folder.parent / f"{folder.name}.json"
        self.system = {"inputs": "1", "paths": [f"{folder}/**"], **system}
        self.call("recorded")

    def call(self, state: str, **options: Any) -> dict[str, Any]:
        common = {"systems": {"one": self.system}, "found": {}, "days_left": 30, "check_mode": False}
        result: dict[str, Any] = host_state.run({**common, "state": state, "file": str(self.file), **options})
        return result

    def differences(self, **options: Any) -> list[str]:
        found: list[str] = self.call("compared", **options)["differences"]["one"]
        return found


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


def _same_size_and_time(folder: Path) -> None:
    file = folder / "settings.env"
    before = file.stat()
    file.write_text("A=2\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _another_link(folder: Path) -> None:
    (folder / "current").unlink()
    (folder / "current").symlink_to("releases/2")


def _a_folder(folder: Path) -> None:
    (folder / "current").unlink()
    (folder / "current").mkdir()


def _replaced(folder: Path) -> None:
    (folder / "new").write_text("A=1\n")
    (folder / "new").replace(folder / "settings.env")


_CHANGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a byte": (lambda folder: (folder / "settings.env").write_text("A=2\n"), "settings.env has changed"),
    "a byte, its time set back": (_same_size_and_time, "settings.env has changed"),
    "a file replaced by an equal one": (_replaced, "settings.env has changed"),
    "a mode": (lambda folder: (folder / "settings.env").chmod(0o640), "settings.env has changed"),
    "a folder's mode": (lambda folder: (folder / "inside").chmod(0o700), "inside has changed"),
    "a link": (_another_link, "current has changed"),
    "a link that leads nowhere": (lambda folder: (folder / "current").unlink(), "current is gone"),
    "a key": (lambda folder: (folder / "inside/key").unlink(), "inside/key is gone"),
    "a time": (lambda folder: os.utime(folder / "settings.env"), "settings.env has changed"),
    "a further file": (lambda folder: (folder / "inside/other").touch(), "inside/other is new"),
    "a folder in a link's place": (_a_folder, "current has changed"),
}


@pytest.mark.parametrize("change", _CHANGES)
def test_change_is_reported(folder: Path, change: str) -> None:
    """Every kind of change to a file, link or folder is reported with its path."""
    record = Record(folder)
    do, expected = _CHANGES[change]
    do(folder)
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
    words = ["sh", "-c", f"cat {folder}/settings.env; test ! -e {folder}/fail"]
    record = Record(folder, paths=[], commands=[words])
    assert record.differences() == []
    (folder / "fail").touch()
    assert record.differences() == [f"{' '.join(words)} ended with 1: A=1"]


def test_command_output_may_be_binary(folder: Path) -> None:
    """The output of a command is compared even if it is not text."""
    words = ["cat", f"{folder}/settings.env"]
    (folder / "settings.env").write_bytes(b"\xff\n")
    record = Record(folder, paths=[], commands=[words])
    assert record.differences() == []
    (folder / "settings.env").write_bytes(b"\xff\xff\n")
    assert record.differences() == [f"{' '.join(words)} has changed"]


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
    record.call("recorded", found={"one": "1 stack"})
    assert record.differences(found={"one": "1 stack"}) == []
    assert record.differences(found={"one": "2 stacks"}) == ["the state found on the control node has changed"]
    assert record.differences() == ["the state found on the control node is gone"]


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
    words = ["cat", f"{folder}/inside/key"]
    record = Record(folder, commands=[words], probes=[{"code": "", "call": "'sec' + 'ret'"}])
    assert "secret" not in record.file.read_text()


def test_unknown_state_is_not_recorded(folder: Path) -> None:
    """A state that cannot be determined is not recorded."""
    for unknown in ({"commands": [["false"]]}, {"probes": [{"code": "", "call": "nothing()"}]}):
        with pytest.raises(host_state.UnknownError):
            Record(folder, paths=[], **unknown)


def test_number_of_differences_is_limited(folder: Path) -> None:
    """At most five differences are listed; the others are counted."""
    record = Record(folder)
    for number in range(7):
        (folder / str(number)).touch()
    found = record.differences()
    assert len(found) == 6
    assert found[-1] == "and 2 more"


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
    assert abs(ends - time.time() - 40 * _DAY) < _DAY
    assert record.differences(days_left=30) == []
    assert record.differences(days_left=41) == [f"{certificate} expires within 41 days"]


def test_invalid_certificate(folder: Path) -> None:
    """A file that is no certificate is a difference on every run."""
    (folder / "one.crt").write_text("rubbish")
    record = Record(folder, certificates=[f"{folder}/*.crt"])
    assert record.differences() == [f"{folder}/one.crt expires within 30 days"]


def test_forgotten_system(folder: Path) -> None:
    """A system that was removed from the record differs; the others do not."""
    record = Record(folder)
    both = {"one": record.system, "two": record.system}
    record.call("recorded", systems=both)
    record.call("forgotten")
    found = record.call("compared", systems=both)["differences"]
    assert found["two"] == []
    assert found["one"] != []


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
