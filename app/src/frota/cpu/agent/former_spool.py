"""The spool of releases before the outbox: a header, one line of JSON, then a line for each sample as on the wire."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from frota.cpu.agent.spool import parse_sample
from frota.cpu.messages import VERSION, is_run
from frota.logs import log
from frota.storage import files
from frota.storage.outbox import Outbox

_MALFORMED = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)  # what parsing a line may raise


def convert(path: Path, outbox: Outbox) -> None:
    """Move a former release's samples into the outbox; after a kill it is done again. Raises OSError."""
    bad = path.with_suffix(".bad")
    try:
        lines = path.read_bytes().splitlines()
        header = json.loads(lines[0])
        run, last, acked = header["run"], header["next"] - 1, header["acked"]
        if header["frota"] != VERSION or not is_run(run) or not 0 <= acked <= last or not 0 <= header["saved"] < 1e12:
            raise ValueError(f"the first line is not the header of a spool of version {VERSION}")
        clocks = {"saved": float(header["saved"])} | {
            name: header[name] for name in ("boot", "clock") if name in header
        }
    except (OSError, *_MALFORMED) as error:
        path.replace(bad)
        text = f"{path}: {error or type(error).__name__}; moved to {bad.name}, its samples are lost"
        log.record("ERROR", "spool_unreadable", text)
        return
    records = list(_records(lines[1:], last, clocks))
    if count := max(len(lines) - 1, header["samples"]) - len(records):
        with suppress(OSError):  # the copy is for people
            bad.write_bytes(path.read_bytes())
        text = f"{path}: {count} lines are no samples; the other {len(records)} are sent, {bad.name} is a copy of it"
        log.record("ERROR", "spool_corrupted", text)
    outbox.replace(records, last, {"run": run, "acked": acked})
    path.unlink()
    files.sync_folder(path.parent)


def _records(lines: Sequence[bytes], last: int, clocks: dict[str, Any]) -> Iterator[tuple[int, bytes]]:
    """Iterate over the samples as records of the outbox; malformed lines, and numbers that do not grow, are skipped."""
    before = 0
    for line in lines:
        try:
            fields = clocks | json.loads(line)
            parse_sample(fields)
            number, payload = fields["n"], json.dumps(fields, allow_nan=False).encode()
            if not before < number <= last:
                continue
        except _MALFORMED:
            continue
        before = number
        yield number, payload
