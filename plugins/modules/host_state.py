#!/usr/bin/python3
"""Say what of a host differs from what the last whole run left there, system by system."""

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
short_description: What of a host differs from what the last whole run left
description:
  - After a whole run every host keeps a record, for each system that it is part of, of the system's inputs (a digest)
    and of what the system has on the host (files with their owners, modes and times, units with their states, what
    commands print). Another run compares, and leaves out the systems of which nothing differs.
  - Runs as one command over the connection, without the files and the imports of other modules, since it is what a run
    that changes nothing consists of. Where a file was changed is seen by its times, also by the one (ctime) that
    nobody can set; no file is read.
  - In check mode nothing is recorded or forgotten.
options:
  systems:
    type: dict
    required: true
    description:
      - Each system's C(inputs) (text), C(paths) (patterns of files and folders), C(units) (patterns),
        C(commands) (lists of words, whose output is compared), C(probes) (a C(call) of what the C(code) of a Python
        file defines, whose result is compared) and C(certificates) (patterns).
  found: {type: dict, default: {}, description: What else is compared of a system, found by others (text).}
  state:
    type: str
    default: compared
    choices: [compared, recorded, forgotten]
    description: Compare with the record, write it, or remove the systems from it, before they are changed.
  days_left:
    type: int
    default: 30
    description: A certificate that ends within so many days is a difference.
  file: {type: path, default: /var/lib/frota/applied.json, description: Where the record is.}
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
  description: Each system's differences, in words; an empty list where there is none.
"""

UNIT_PROPERTIES = ("ActiveState", "UnitFileState", "NeedDaemonReload")
COMMAND_SECONDS = 30
MOST_SHOWN = 5
PARTS = ("inputs", "state", "ends")  # of a record
State = dict[str, dict[str, str]]


class UnknownError(Exception):
    """Something of a system cannot be looked at: a run goes through the system, and does not record it."""


def state_of(system: dict[str, Any]) -> State:
    """Return what a system has on this host: kind of thing -> its name -> a text that differs when it does.

    Raises UnknownError.
    """
    return {
        "files": {path: text for pattern in system.get("paths", ()) for path, text in files(pattern)},
        "units": units(system.get("units", ())),
        "commands": {" ".join(words): digest(printed(words)) for words in system.get("commands", ())},
        "probes": {probe["call"]: digest(probed(probe)) for probe in system.get("probes", ())},
        "found": {"what others found": digest(system["found"])} if system["found"] else {},
    }


def files(pattern: str) -> Iterator[tuple[str, str]]:
    """Yield each file, link and folder that a pattern names, `**` standing for any folders in between."""
    for path in matching(pattern):
        with suppress(FileNotFoundError):  # it has gone since
            found = os.lstat(path)
            text = f"{found.st_mode:o} {found.st_uid}:{found.st_gid}"
            # A folder's times tell of what other systems have in it.
            yield path, text if stat.S_ISDIR(found.st_mode) else f"{text} {of_file(path, found)}"


def matching(pattern: str) -> list[str]:
    """Return the paths that a pattern names."""
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 -- Path.glob takes no absolute pattern


def of_file(path: str, found: os.stat_result) -> str:
    """Return size and times of a file, of a link also where it leads."""
    target = Path(path).readlink() if stat.S_ISLNK(found.st_mode) else ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {target}"


def units(patterns: list[str]) -> dict[str, str]:
    """Return whether each unit runs, starts at boot, and is as its file says."""
    if not patterns:
        return {}
    wanted = ",".join(["Id", *UNIT_PROPERTIES])
    shown = printed(["systemctl", "show", "--all", f"--property={wanted}", *patterns])
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in shown.strip().split("\n\n")]
    texts = {block["Id"]: ", ".join(block.get(key, "") for key in UNIT_PROPERTIES) for block in blocks if "Id" in block}
    # A template that was never started has no state of its own.
    return {name: text for name, text in texts.items() if "@." not in name}


def digest(text: str) -> str:
    """Return what stands for a text, which may be long, or nobody else's to read."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def printed(words: list[str]) -> str:
    """Return what a command prints. Raises UnknownError for one that fails."""
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
    """Return what a call of somebody's code gives, as text with everything sorted. Raises UnknownError."""
    names: dict[str, Any] = {}
    try:
        exec(probe["code"], names)  # noqa: S102 -- of the checkout, as this is
        return canonical(eval(probe["call"], names))  # noqa: S307 -- as above
    except Exception as error:
        raise UnknownError(f"{probe['call']}: {type(error).__name__}: {error}") from error


def canonical(value: Any) -> str:
    """Return JSON of a value with everything sorted."""
    if isinstance(value, dict):
        pairs = sorted(f"{json.dumps(key)}:{canonical(each)}" for key, each in value.items())
        return f"{{{','.join(pairs)}}}"
    return f"[{','.join(sorted(map(canonical, value)))}]" if isinstance(value, list) else json.dumps(value)


def certificates(patterns: list[str]) -> dict[str, float]:
    """Return when each certificate ends, in seconds since 1970."""
    return {path: end_of(path) for pattern in patterns for path in matching(pattern)}


def end_of(certificate: str) -> float:
    """Return when a certificate ends, in seconds since 1970; 0 for a file that is none."""
    try:
        text = printed(["openssl", "x509", "-enddate", "-noout", "-dateopt", "iso_8601", "-in", certificate])
        return calendar.timegm(time.strptime(text.strip(), "notAfter=%Y-%m-%d %H:%M:%SZ"))
    except (UnknownError, ValueError):
        return 0


def differences(before: State, now: State) -> Iterator[str]:
    """Yield in words what differs between two states."""
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
    """Return what differs from the record of a system, in words, the first few; nothing where all is as it was left."""
    if record is None:
        return ["no whole run has been recorded here since the last change"]
    soonest = now + days_left * 86400
    found = [f"{path} ends within {days_left} days" for path, end in record["ends"].items() if end < soonest]
    try:
        found += differences(record["state"], state_of(system))
    except UnknownError as unknown:
        found.append(str(unknown))
    if record["inputs"] != system["inputs"]:
        found.append("what is described has changed")
    return found[:MOST_SHOWN] + ([f"and {len(found) - MOST_SHOWN} more"] if len(found) > MOST_SHOWN else [])


def recorded(system: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a system as it is now. Raises UnknownError."""
    ends = certificates(system.get("certificates", ()))
    return {"inputs": system["inputs"], "state": state_of(system), "ends": ends}


def read(file: Path) -> dict[str, Any]:
    """Return all records; none where the file is damaged or not there, for then everything is gone through."""
    try:
        records = dict(json.loads(file.read_text(encoding="utf-8")))
        return {name: {part: record[part] for part in PARTS} for name, record in records.items()}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def write(file: Path, records: dict[str, Any]) -> None:
    """Replace the file by a whole one that root alone reads, on disk."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as new:
        json.dump(records, new)
        new.flush()
        os.fsync(new.fileno())
    unfinished.replace(file)


def run(options: dict[str, Any]) -> dict[str, Any]:
    """Do what the module's options say, and return its result."""
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
