"""Runs on a host of the fleet: people's own command, eight at a time, that sends images in batches and waits for each.

    /opt/frota/current/bin/python image_load.py PREFIX PAUSE

PAUSE are the seconds between two batches of a client: others are to have some of the machine too. The clients take
turns, so that there is always something under way. No two images are the same; the first batch of each client has one
that no worker can do, and that looks good from outside. Each line on standard input, a number, waits until so many more
came to their end, and is answered with the total. At the end of the input the clients finish the batch that they began,
and one JSON object tells the ids that were accepted, the last said of each, and everything else that the commands had
to say.
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
_PATIENCE = 300.0  # seconds
_FINAL = {"done", "dead", "unknown", "refused"}


def _jpeg() -> bytes:
    """Return some kilobytes of colour that there never were before."""
    file = io.BytesIO()
    Image.frombytes("RGB", (96, 96), os.urandom(3 * 96 * 96)).save(file, "JPEG", quality=60)
    return file.getvalue()


def _broken_png() -> bytes:
    """Return a PNG whose rows are noise, from the first one on: 255 is no filter."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\xff" + os.urandom(100))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


class Client(threading.Thread):
    """One client: a command for each batch."""

    def __init__(
        self, prefix: str, turn: float, pause: float, grown: threading.Condition, over: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self._prefix, self._turn, self._pause, self._grown, self._over = prefix, turn, pause, grown, over
        self.accepted: set[str] = set()
        self.ends: dict[str, dict[str, str]] = {}
        self.said = ""

    def run(self) -> None:
        """Go on, whatever the fleet does, until it is over."""
        self._over.wait(self._turn)
        for first in count(0, _BATCH):
            if first and self._over.wait(self._pause):
                return
            with tempfile.TemporaryDirectory() as folder:
                for number in range(first, first + _BATCH):
                    name = f"{self._prefix}-{number}"
                    bad = number == 0
                    Path(folder, name + (".png" if bad else ".jpg")).write_bytes(_broken_png() if bad else _jpeg())
                self._send(folder)

    def _send(self, folder: str) -> None:
        command = ["frota", "images", "send", "--json", "--parallel", "4", "--timeout", str(_PATIENCE), folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stderr
            for line in process.stdout:
                self._take(json.loads(line))
            self.said += process.stderr.read()

    def _take(self, told: dict[str, str]) -> None:
        with self._grown:
            if told["state"] == "accepted":
                self.accepted.add(told["id"])
            elif told["state"] in _FINAL:
                self.ends[told.get("id", told["file"])] = told
            self._grown.notify_all()


def main(prefix: str, pause: str) -> None:
    """Run the clients until standard input ends."""
    grown, over = threading.Condition(), threading.Event()
    seconds = float(pause)
    clients = [
        Client(f"{prefix}-{number}", seconds * number / _CLIENTS, seconds, grown, over) for number in range(_CLIENTS)
    ]
    for client in clients:
        client.start()

    def total() -> int:
        return sum(len(client.ends) for client in clients)

    for line in sys.stdin:
        goal = total() + int(line)
        with grown:
            while total() < goal:
                if not grown.wait(_PATIENCE):
                    raise TimeoutError(f"only {total()} of {goal} came to their end")
        print(total(), flush=True)
    over.set()
    for client in clients:
        client.join(_PATIENCE)
    ends = {name: told for client in clients for name, told in client.ends.items()}
    said = sorted({line for client in clients for line in client.said.splitlines()})
    accepted = sorted(set().union(*(client.accepted for client in clients)))
    print(json.dumps({"accepted": accepted, "ends": ends, "said": said}))


if __name__ == "__main__":
    main(*sys.argv[1:])
