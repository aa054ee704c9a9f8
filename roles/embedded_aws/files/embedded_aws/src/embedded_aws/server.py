"""The command: moto's server behind a memory."""

import argparse
import os
import signal
import socket
import sys
from pathlib import Path
from threading import Thread

from moto.moto_api._internal import mock_random  # type: ignore[import-not-found] # the control node has no moto
from moto.moto_server.werkzeug_app import (  # type: ignore[import-not-found]
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server  # type: ignore[import-not-found]

from embedded_aws.journal import Journal
from embedded_aws.memory import Memory

_EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h: systemd is told not to try again


def main() -> None:
    """Recall, then serve until SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="embedded-aws",
        description="An AWS API on this machine: moto's server, with a memory on disk. It checks no signature.",
        epilog="example: embedded-aws --port 4566 --state-dir /tmp/aws",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=4566, help="port to listen on (4566)")
    state = os.environ.get("STATE_DIRECTORY", "")
    parser.add_argument("--state-dir", type=Path, default=state, required=not state, help="folder of its journal")
    arguments = parser.parse_args()
    arguments.state_dir.mkdir(parents=True, exist_ok=True)

    application = DomainDispatcherApplication(create_backend_app)
    memory = Memory(application, mock_random.seed, Journal(arguments.state_dir / "requests.jsonl"), _give_up)
    try:
        recalled = memory.recall()
    except ValueError as error:
        print(f"{error}; put it right, or remove the file to begin with an empty AWS", file=sys.stderr)
        sys.exit(_EXIT_CONFIG)
    server = make_server(arguments.host, arguments.port, memory, threaded=True, request_handler=MotoRequestHandler)
    # In a thread of its own: it waits for the loop that the signal interrupts.
    signal.signal(signal.SIGTERM, lambda *_: Thread(target=server.shutdown).start())
    _notify(f"READY=1\nSTATUS=recalled {recalled} requests")
    print(f"listening on {arguments.host}:{arguments.port}, {recalled} requests recalled", flush=True)
    server.serve_forever()


def _give_up(error: OSError) -> None:
    print(f"a change could not be kept, so it did not happen: {error}", flush=True)
    os._exit(1)


def _notify(text: str) -> None:
    """Tell the service manager, if there is one (sd_notify(3))."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(text.encode(), address.replace("@", "\0", 1))
