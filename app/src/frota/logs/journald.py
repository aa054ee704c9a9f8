"""Client of systemd's journal by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

import os
import socket
from collections.abc import Mapping

_MAX_VALUE_BYTES = 48 * 1024  # journald rejects a datagram that is too long


def stderr_is_journal() -> bool:
    """Tell whether systemd connected stderr to the journal (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        stat = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


def encode(fields: Mapping[str, object]) -> bytes:
    """Serialise fields; a value with a newline is length-prefixed, so that no value can forge a field."""
    parts = []
    for name, value in fields.items():
        data = str(value).encode("utf-8", "backslashreplace")[:_MAX_VALUE_BYTES]
        if b"\n" in data:
            parts.append(b"%b\n%b%b\n" % (name.encode(), len(data).to_bytes(8, "little"), data))
        else:
            parts.append(b"%b=%b\n" % (name.encode(), data))
    return b"".join(parts)


class Journal:
    """The journal's socket, non-blocking: records that it does not take are counted, and the count is logged later."""

    def __init__(self, path: str = "/run/systemd/journal/socket") -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self.dropped = 0

    def send(self, fields: Mapping[str, object]) -> None:
        """Send a record, or count it as dropped."""
        if self.dropped:
            text = f"{self.dropped} log records dropped: the journal was busy or unavailable"
            origin = {name: fields[name] for name in ("SYSLOG_IDENTIFIER", "FROTA_SYSTEM") if name in fields}
            if self._sent(encode({"MESSAGE": text, "PRIORITY": 4, "FROTA_EVENT": "log_lost", **origin})):
                self.dropped = 0
        self.dropped += not self._sent(encode(fields))

    def _sent(self, datagram: bytes) -> bool:
        try:
            # Unconnected, so that a restarted journal is found.
            self._socket.sendto(datagram, self._path)
        except OSError:
            return False
        return True
