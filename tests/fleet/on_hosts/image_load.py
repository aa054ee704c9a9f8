"""Runs `frota images send` commands in parallel, each of which sends a batch of images and waits for their end.

    /opt/frota/current/bin/python image_load.py PREFIX INTERVAL

INTERVAL is in seconds, between two batches of a client; it leaves CPU to other processes. The clients start at
different times, so that some image is always in process. No two images are the same. The first batch of each client
contains one that no worker can convert, although its header is valid. Each line of standard input is a number N: the
script waits until N further images have a final status, and prints the total. At the end of the input the clients
finish their batches, and the script prints one JSON object: the ids of accepted images, the final status of each image,
and all other output of the commands.
"""

import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from itertools import count
from pathlib import Path

from PIL import Image

_CLIENTS = 8
_BATCH = 25  # images
_TIMEOUT_S = 300.0
_FINAL = {"done", "dead", "unknown", "refused"}


def _jpeg() -> bytes:
    """Return a JPEG of random colours, some kilobytes long."""
    file = io.BytesIO()
    Image.frombytes("RGB", (96, 96), os.urandom(3 * 96 * 96)).save(file, "JPEG", quality=60)
    return file.getvalue()


def _broken_png() -> bytes:
    """Return a PNG that cannot be decoded: its first row has the filter 255, which does not exist."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\xff" + os.urandom(100))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


class Client(threading.Thread):
    """One client, with a command for each batch."""

    def __init__(
        self,
        prefix: str,
        start_delay_s: float,
        interval_s: float,
        changed: threading.Condition,
        stopped: threading.Event,
    ) -> None:
        super().__init__(daemon=True)
        self._prefix, self._start_delay_s, self._interval_s = prefix, start_delay_s, interval_s
        self._changed, self._stopped = changed, stopped
        self.accepted: set[str] = set()
        self.final: dict[str, dict[str, str]] = {}
        self.output = ""

    def run(self) -> None:
        """Send batches, whatever the fleet does, until the load is stopped."""
        self._stopped.wait(self._start_delay_s)
        for first in count(0, _BATCH):
            if first and self._stopped.wait(self._interval_s):
                return
            with tempfile.TemporaryDirectory() as folder:
                for number in range(first, first + _BATCH):
                    suffix, data = (".jpg", _jpeg()) if number else (".png", _broken_png())
                    Path(folder, f"{self._prefix}-{number}{suffix}").write_bytes(data)
                self._send(folder)

    def _send(self, folder: str) -> None:
        command = ["frota", "images", "send", "--json", "--parallel", "4", "--timeout", str(_TIMEOUT_S), folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stderr
            for line in process.stdout:
                self._add(json.loads(line))
            self.output += process.stderr.read()

    def _add(self, status: dict[str, str]) -> None:
        with self._changed:
            if status["state"] == "accepted":
                self.accepted.add(status["id"])
            elif status["state"] in _FINAL:
                self.final[status.get("id", status["file"])] = status
            self._changed.notify_all()


def main(prefix: str, interval_s: str) -> None:
    """Run the clients until standard input ends."""
    changed, stopped = threading.Condition(), threading.Event()
    interval = float(interval_s)
    clients = [
        Client(f"{prefix}-{number}", interval * number / _CLIENTS, interval, changed, stopped)
        for number in range(_CLIENTS)
    ]
    for client in clients:
        client.start()

    def total() -> int:
        return sum(len(client.final) for client in clients)

    for line in sys.stdin:
        goal = total() + int(line)
        with changed:
            while total() < goal:
                if not changed.wait(_TIMEOUT_S):
                    raise TimeoutError(f"only {total()} of {goal} had a final status")
        print(total(), flush=True)
    stopped.set()
    for client in clients:
        client.join(_TIMEOUT_S)
    final = {name: status for client in clients for name, status in client.final.items()}
    output = sorted({line for client in clients for line in client.output.splitlines()})
    accepted = sorted(set().union(*(client.accepted for client in clients)))
    print(json.dumps({"accepted": accepted, "final": final, "output": output}))


if __name__ == "__main__":
    main(*sys.argv[1:])
