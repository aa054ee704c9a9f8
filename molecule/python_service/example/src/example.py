"""The least that the role expects of a service: checked settings, a handed over socket, readiness told to systemd.

Environment: EXAMPLE_ANSWER, 0 to 100, is what every caller gets; EXAMPLE_MOOD is `well`, or `ill`: never ready.
Exits 78 when a setting is wrong.
"""

import os
import signal
import socket
import sys
from pathlib import Path

FIRST_HANDED_OVER = 3  # sd_listen_fds(3)
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
    """Return answer and mood; exit with a sentence when one is wrong."""
    answer, mood = environment.get("EXAMPLE_ANSWER", "0"), environment.get("EXAMPLE_MOOD", "well")
    wrong = ""
    if not (answer.isdecimal() and int(answer) <= 100):
        wrong = f"EXAMPLE_ANSWER={answer}: expected a number from 0 to 100"
    elif mood not in MOODS:
        wrong = f"EXAMPLE_MOOD={mood}: expected one of {', '.join(MOODS)}"
    if wrong:
        print(wrong, file=sys.stderr)
        sys.exit(EXIT_CONFIG)
    return answer, mood


def serve(answer: str) -> None:
    """Answer every caller, if systemd has handed over a socket; in any case live until told to stop."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    if "LISTEN_FDS" not in os.environ:
        signal.pause()
    with socket.socket(fileno=FIRST_HANDED_OVER) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(f"{answer}\n".encode())
