"""Trace ids as W3C Trace Context has them (www.w3.org/TR/trace-context), generated, formatted and validated.

One trace id, 32 hexadecimal digits, follows a request over every hop; the span id beside it names the hop.
"""

import hashlib
import os
import re

_ID = re.compile(r"[0-9a-fA-F]{32}")
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.DOTALL)


def new_id() -> str:
    """Return a new trace id."""
    return os.urandom(16).hex()


def derive(producer: str, number: int) -> str:
    """Return the trace id of a producer's message with a sequence number: the same on every hop, not transmitted."""
    return hashlib.blake2b(f"{producer}:{number}".encode(), digest_size=16).hexdigest()


def traceparent(trace_id: str) -> str:
    """Return the header for a hop of this trace: version 00, a new span, sampled."""
    return f"00-{trace_id}-{os.urandom(8).hex()}-01"


def trace_of(header: str) -> str:
    """Return the trace id of a traceparent header, "" for an invalid one; later versions may be longer."""
    found = _TRACEPARENT.fullmatch(header)
    if not found or found[1] == "ff" or (found[1] == "00" and found[4]):
        return ""
    return found[2] if int(found[2], 16) and int(found[3], 16) else ""


def parse_id(text: str) -> str:
    """Return the trace id that a person typed, in lower case; a whole traceparent will do. Raises ValueError."""
    trace_id = text.lower() if _ID.fullmatch(text) else trace_of(text)
    if not trace_id.strip("0"):
        raise ValueError(f"{text[:80]!r} is no trace id: expected 32 hexadecimal digits, not all of them 0")
    return trace_id


def from_environment() -> str:
    """Return the trace id of TRACEPARENT in the environment, else a new one."""
    return trace_of(os.environ.get("TRACEPARENT", "")) or new_id()
