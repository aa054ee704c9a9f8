#!/usr/bin/python3
"""Compare the state of a host with the record of the last whole run, system by system."""

import calendar
import glob
import hashlib
import json
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

DOCUMENTATION = """
module: host_state
short_description: Compare the state of a host with the record of the last whole run
description:
  - After a whole run every host has a record for each of its systems. It consists of the system's inputs (a digest) and
    its state on the host (files with owner, mode and times; units with their states; the output of commands). A later
    run compares the state with the record and skips systems without differences.
  - Runs as one command over the connection, without other modules' files and imports, because a run without changes
    consists of little else. It detects changed files by their times, including the ctime, and does not read them.
  - Check mode neither writes nor removes records.
options:
  systems:
    type: dict
    required: true
    description:
      - System to its C(inputs) (text), C(paths) (patterns of files and folders), C(units) (patterns), C(commands)
        (lists of words, whose output is compared), C(probes) (a Python expression C(call) in the namespace of the
        source C(code), whose result is compared) and C(certificates) (patterns).
  control_node_state:
    type: dict
    default: {}
    description: System to additional state, which was collected on the control node (text).
  state:
    type: str
    default: compared
    choices: [compared, recorded, forgotten]
    description: Compare with the record, write it, or remove systems from it before they change.
  days_left:
    type: int
    default: 30
    description: Remaining validity in days below which a certificate counts as a difference.
  file: {type: path, default: /var/lib/frota/applied.json, description: File of the record.}
author: frota
"""

EXAMPLES = """
- host_state:
    systems:
      sensors: {inputs: 9f86d081, paths: [/etc/frota/frota-sensor-*], units: [frota-sensor-*]}
"""

RETURN = """
differences:
  type: dict
  returned: when compared
  description: System to descriptions of its differences; an empty list if there are none.
"""

UNIT_PROPERTIES = ("ActiveState", "UnitFileState", "NeedDaemonReload")
COMMAND_TIMEOUT_S = 30
MAX_DIFFERENCES = 5
RECORD_KEYS = ("inputs", "state", "ends")
State = dict[str, dict[str, str]]


class UnknownStateError(Exception):
    """The state of a system cannot be determined: the run configures the system and does not record it."""


def state_of(system: dict[str, Any]) -> State:
    """Return the state of a system on this host: kind -> name -> a text that identifies the state.

    Raises UnknownStateError.
    """
    control_node = system["control_node_state"]
    return {
        "files": {path: text for pattern in system.get("paths", ()) for path, text in files(pattern)},
        "units": units(system.get("units", ())),
        "commands": {" ".join(command): digest(output_of(command)) for command in system.get("commands", ())},
        "probes": {probe["call"]: digest(probe_result(probe)) for probe in system.get("probes", ())},
        "control_node": {"the state on the control node": digest(control_node)} if control_node else {},
    }


def files(pattern: str) -> Iterator[tuple[str, str]]:
    """Yield each file, link and folder that matches a pattern; `**` matches any number of folders."""
    for path in matching_paths(pattern):
        with suppress(FileNotFoundError):  # deleted meanwhile
            status = os.lstat(path)
            text = f"{status.st_mode:o} {status.st_uid}:{status.st_gid}"
            # A folder's times change with files of other systems in it.
            yield path, text if stat.S_ISDIR(status.st_mode) else f"{text} {file_text(path, status)}"


def matching_paths(pattern: str) -> list[str]:
    """Return the paths that match a pattern."""
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 -- Path.glob takes no absolute pattern


def file_text(path: str, status: os.stat_result) -> str:
    """Return size and times of a file, and the target of a link."""
    target = Path(path).readlink() if stat.S_ISLNK(status.st_mode) else ""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {target}"


def units(patterns: list[str]) -> dict[str, str]:
    """Return active state, enablement and pending reload of each unit."""
    if not patterns:
        return {}
    properties = ",".join(["Id", *UNIT_PROPERTIES])
    output = output_of(["systemctl", "show", "--all", f"--property={properties}", *patterns])
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in output.strip().split("\n\n")]
    texts = {block["Id"]: ", ".join(block.get(key, "") for key in UNIT_PROPERTIES) for block in blocks if "Id" in block}
    # A template unit has no state.
    return {name: text for name, text in texts.items() if "@." not in name}


def digest(text: str) -> str:
    """Return the digest of a text, which may be long or confidential."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def output_of(command: list[str]) -> str:
    """Return a command's output. Raises UnknownStateError if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnknownStateError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        text = f"{' '.join(command)} ended with {done.returncode}: {done.stderr or done.stdout}"
        raise UnknownStateError(text.strip())
    return done.stdout


def probe_result(probe: dict[str, str]) -> str:
    """Return the result of a probe as canonical JSON. Raises UnknownStateError."""
    names: dict[str, Any] = {}
    try:
        exec(probe["code"], names)  # noqa: S102 -- code of the same checkout
        return canonical(eval(probe["call"], names))  # noqa: S307 -- as above
    except Exception as error:
        raise UnknownStateError(f"{probe['call']}: {type(error).__name__}: {error}") from error


def canonical(value: Any) -> str:
    """Return a value as JSON with sorted keys and lists."""
    if isinstance(value, dict):
        pairs = sorted(f"{json.dumps(key)}:{canonical(each)}" for key, each in value.items())
        return f"{{{','.join(pairs)}}}"
    return f"[{','.join(sorted(map(canonical, value)))}]" if isinstance(value, list) else json.dumps(value)


def certificates(patterns: list[str]) -> dict[str, float]:
    """Return the end of validity of each certificate, in seconds since 1970."""
    return {path: expiry_of(path) for pattern in patterns for path in matching_paths(pattern)}


def expiry_of(certificate: str) -> float:
    """Return the end of validity of a certificate, in seconds since 1970; 0 for an invalid file."""
    try:
        text = output_of(["openssl", "x509", "-enddate", "-noout", "-dateopt", "iso_8601", "-in", certificate])
        return calendar.timegm(time.strptime(text.strip(), "notAfter=%Y-%m-%d %H:%M:%SZ"))
    except (UnknownStateError, ValueError):
        return 0


def differences(before: State, now: State) -> Iterator[str]:
    """Yield a description of each difference between two states."""
    for kind in sorted({*before, *now}):
        old, new = before.get(kind, {}), now.get(kind, {})
        for name in sorted({*old, *new}):
            if name not in new:
                yield f"{name} is gone"
            elif name not in old:
                yield f"{name} is new"
            elif old[name] != new[name]:
                yield f"{name} is {new[name]}" if kind == "units" else f"{name} has changed"


def compared(system: dict[str, Any], record: dict[str, Any] | None, days_left: int, now: float) -> list[str]:
    """Return descriptions of the first differences from the record of a system; empty if there are none."""
    if record is None:
        return ["no whole run is recorded since the last change"]
    limit = now + days_left * 86400
    texts = [f"{path} expires within {days_left} days" for path, end in record["ends"].items() if end < limit]
    try:
        texts += differences(record["state"], state_of(system))
    except UnknownStateError as error:
        texts.append(str(error))
    if record["inputs"] != system["inputs"]:
        texts.append("the description has changed")
    omitted = len(texts) - MAX_DIFFERENCES
    return texts[:MAX_DIFFERENCES] + ([f"and {omitted} more"] if omitted > 0 else [])


def recorded(system: dict[str, Any]) -> dict[str, Any]:
    """Return a record of the current state of a system. Raises UnknownStateError."""
    ends = certificates(system.get("certificates", ()))
    return {"inputs": system["inputs"], "state": state_of(system), "ends": ends}


def read(file: Path) -> dict[str, Any]:
    """Return all records; none if the file is missing or damaged, so that the run configures everything."""
    try:
        records = dict(json.loads(file.read_text(encoding="utf-8")))
        return {name: {key: record[key] for key in RECORD_KEYS} for name, record in records.items()}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def write(file: Path, records: dict[str, Any]) -> None:
    """Replace the file atomically and sync it; only root can read it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.unfinished")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as new:
        json.dump(records, new)
        new.flush()
        os.fsync(new.fileno())
    temporary.replace(file)


def run(options: dict[str, Any]) -> dict[str, Any]:
    """Run the module with its options and return its result."""
    file, state, control_node = Path(options["file"]), options["state"], options["control_node_state"]
    systems = {
        name: {**system, "control_node_state": control_node.get(name, "")}
        for name, system in options["systems"].items()
    }
    records = read(file)
    if state == "compared":
        days, now = options["days_left"], time.time()
        return {
            "differences": {name: compared(system, records.get(name), days, now) for name, system in systems.items()}
        }
    new_records = {name: record for name, record in records.items() if name not in systems}
    if state == "recorded":
        new_records |= {name: recorded(system) for name, system in systems.items()}
    if new_records != records and not options["check_mode"]:
        write(file, new_records)
    return {}
