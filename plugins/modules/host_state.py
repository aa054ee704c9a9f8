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
  found: {type: dict, default: {}, description: System to further state, collected on the control node (text).}
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
COMMAND_SECONDS = 30
MOST_SHOWN = 5
PARTS = ("inputs", "state", "ends")  # keys of a record
State = dict[str, dict[str, str]]


class UnknownError(Exception):
    """The state of a system cannot be determined: the run configures the system and does not record it."""


def state_of(system: dict[str, Any]) -> State:
    """Return the state of a system on this host: kind -> name -> a text that identifies the state.

    Raises UnknownError.
    """
    return {
        "files": {path: text for pattern in system.get("paths", ()) for path, text in files(pattern)},
        "units": units(system.get("units", ())),
        "commands": {" ".join(words): digest(printed(words)) for words in system.get("commands", ())},
        "probes": {probe["call"]: digest(probed(probe)) for probe in system.get("probes", ())},
        "found": {"the state found on the control node": digest(system["found"])} if system["found"] else {},
    }


def files(pattern: str) -> Iterator[tuple[str, str]]:
    """Yield each file, link and folder that matches a pattern; `**` matches any number of folders."""
    for path in matching(pattern):
        with suppress(FileNotFoundError):  # deleted meanwhile
            found = os.lstat(path)
            text = f"{found.st_mode:o} {found.st_uid}:{found.st_gid}"
            # A folder's times change with files of other systems in it.
            yield path, text if stat.S_ISDIR(found.st_mode) else f"{text} {of_file(path, found)}"


def matching(pattern: str) -> list[str]:
    """Return the paths that match a pattern."""
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 -- Path.glob takes no absolute pattern


def of_file(path: str, found: os.stat_result) -> str:
    """Return size and times of a file, and the target of a link."""
    target = Path(path).readlink() if stat.S_ISLNK(found.st_mode) else ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {target}"


def units(patterns: list[str]) -> dict[str, str]:
    """Return active state, enablement and pending reload of each unit."""
    if not patterns:
        return {}
    wanted = ",".join(["Id", *UNIT_PROPERTIES])
    shown = printed(["systemctl", "show", "--all", f"--property={wanted}", *patterns])
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in shown.strip().split("\n\n")]
    texts = {block["Id"]: ", ".join(block.get(key, "") for key in UNIT_PROPERTIES) for block in blocks if "Id" in block}
    # A template unit has no state.
    return {name: text for name, text in texts.items() if "@." not in name}


def digest(text: str) -> str:
    """Return the digest of a text, which may be long or confidential."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def printed(words: list[str]) -> str:
    """Return a command's output. Raises UnknownError if it fails."""
    try:
        done = subprocess.run(
            words, capture_output=True, encoding="utf-8", errors="replace", timeout=COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnknownError(f"{' '.join(words)}: {error}") from error
    if done.returncode:
        raise UnknownError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr or done.stdout}".strip())
    return done.stdout


def probed(probe: dict[str, str]) -> str:
    """Return the result of a probe as canonical JSON. Raises UnknownError."""
    names: dict[str, Any] = {}
    try:
        exec(probe["code"], names)  # noqa: S102 -- code of the same checkout
        return canonical(eval(probe["call"], names))  # noqa: S307 -- as above
    except Exception as error:
        raise UnknownError(f"{probe['call']}: {type(error).__name__}: {error}") from error


def canonical(value: Any) -> str:
    """Return a value as JSON with sorted keys and lists."""
    if isinstance(value, dict):
        pairs = sorted(f"{json.dumps(key)}:{canonical(each)}" for key, each in value.items())
        return f"{{{','.join(pairs)}}}"
    return f"[{','.join(sorted(map(canonical, value)))}]" if isinstance(value, list) else json.dumps(value)


def certificates(patterns: list[str]) -> dict[str, float]:
    """Return the end of validity of each certificate, in seconds since 1970."""
    return {path: end_of(path) for pattern in patterns for path in matching(pattern)}


def end_of(certificate: str) -> float:
    """Return the end of validity of a certificate, in seconds since 1970; 0 for an invalid file."""
    try:
        text = printed(["openssl", "x509", "-enddate", "-noout", "-dateopt", "iso_8601", "-in", certificate])
        return calendar.timegm(time.strptime(text.strip(), "notAfter=%Y-%m-%d %H:%M:%SZ"))
    except (UnknownError, ValueError):
        return 0


def differences(before: State, now: State) -> Iterator[str]:
    """Yield a description of each difference between two states."""
    for kind in sorted({*before, *now}):
        was, is_ = before.get(kind, {}), now.get(kind, {})
        for name in sorted({*was, *is_}):
            if name not in is_:
                yield f"{name} is gone"
            elif name not in was:
                yield f"{name} is new"
            elif was[name] != is_[name]:
                yield f"{name} is {is_[name]}" if kind == "units" else f"{name} has changed"


def compared(system: dict[str, Any], record: dict[str, Any] | None, days_left: int, now: float) -> list[str]:
    """Return descriptions of the first differences from the record of a system; empty if there are none."""
    if record is None:
        return ["no whole run is recorded since the last change"]
    soonest = now + days_left * 86400
    found = [f"{path} expires within {days_left} days" for path, end in record["ends"].items() if end < soonest]
    try:
        found += differences(record["state"], state_of(system))
    except UnknownError as unknown:
        found.append(str(unknown))
    if record["inputs"] != system["inputs"]:
        found.append("the description has changed")
    return found[:MOST_SHOWN] + ([f"and {len(found) - MOST_SHOWN} more"] if len(found) > MOST_SHOWN else [])


def recorded(system: dict[str, Any]) -> dict[str, Any]:
    """Return a record of the current state of a system. Raises UnknownError."""
    ends = certificates(system.get("certificates", ()))
    return {"inputs": system["inputs"], "state": state_of(system), "ends": ends}


def read(file: Path) -> dict[str, Any]:
    """Return all records; none if the file is missing or damaged, so that the run configures everything."""
    try:
        records = dict(json.loads(file.read_text(encoding="utf-8")))
        return {name: {part: record[part] for part in PARTS} for name, record in records.items()}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def write(file: Path, records: dict[str, Any]) -> None:
    """Replace the file atomically and sync it; only root can read it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as new:
        json.dump(records, new)
        new.flush()
        os.fsync(new.fileno())
    unfinished.replace(file)


def run(options: dict[str, Any]) -> dict[str, Any]:
    """Run the module with its options and return its result."""
    place, systems, state = Path(options["file"]), options["systems"], options["state"]
    systems = {name: {**system, "found": options["found"].get(name, "")} for name, system in systems.items()}
    records = read(place)
    if state == "compared":
        days, now = options["days_left"], time.time()
        found = {name: compared(system, records.get(name), days, now) for name, system in systems.items()}
        return {"differences": found}
    kept = {name: record for name, record in records.items() if name not in systems}
    if state == "recorded":
        kept |= {name: recorded(system) for name, system in systems.items()}
    if kept != records and not options["check_mode"]:
        write(place, kept)
    return {}
