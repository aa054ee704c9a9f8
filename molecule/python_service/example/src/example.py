"""A minimal service as the role expects it: validated settings, socket activation, readiness notified to systemd.

Environment: EXAMPLE_ANSWER, 0 to 100, is the response to every client; EXAMPLE_MOOD is `well`, or `ill`: never ready.
Exits with 78 if a setting is invalid.
"""

import os
import signal
import socket
import sys
from pathlib import Path

FIRST_SOCKET = 3  # sd_listen_fds(3)
EXIT_CONFIG = 78  # sysexits.h
MOODS = ("well", "ill")


def main() -> None:
    """Run `example NAME [--env-file FILE --check]`."""
    environment = dict(os.environ)
    if "--check" in sys.argv:
        environment = read(Path(sys.argv[sys.argv.index("--env-file") + 1]))
    answer, mood = check(environment)
    if "--check" in sys.argv:
        return
    if mood == "ill":
        sys.exit("example: cannot start: not well today")
    serve(answer)


def read(file: Path) -> dict[str, str]:
    """Read KEY="VALUE" lines."""
    lines = [line for line in file.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return {key: value.strip('"') for key, value in (line.split("=", 1) for line in lines)}


def check(environment: dict[str, str]) -> tuple[str, str]:
    """Return answer and mood; exit with a message if one is invalid."""
    answer, mood = environment.get("EXAMPLE_ANSWER", "0"), environment.get("EXAMPLE_MOOD", "well")
    error = ""
    if not (answer.isdecimal() and int(answer) <= 100):
        error = f"EXAMPLE_ANSWER={answer}: expected a number from 0 to 100"
    elif mood not in MOODS:
        error = f"EXAMPLE_MOOD={mood}: expected one of {', '.join(MOODS)}"
    if error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_CONFIG)
    return answer, mood


def serve(answer: str) -> None:
    """Notify readiness; respond to every client if systemd passed a socket; run until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    if "LISTEN_FDS" not in os.environ:
        signal.pause()
    with socket.socket(fileno=FIRST_SOCKET) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(f"{answer}\n".encode())
