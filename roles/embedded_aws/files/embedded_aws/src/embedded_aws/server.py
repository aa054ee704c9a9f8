"""The command: moto's server with persistent state."""

import argparse
import os
import signal
import socket
import sys
from pathlib import Path
from threading import Thread

from moto.moto_api._internal import mock_random
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from embedded_aws import moto_patches, values
from embedded_aws.bodies import Bodies
from embedded_aws.journal import Journal
from embedded_aws.persistence import PersistentApplication

_EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h; RestartPreventExitStatus= of the unit
_TIMEOUT_S = 60  # of one replayed request, and of a peer that sends nothing


class _Handler(MotoRequestHandler):
    timeout = _TIMEOUT_S


def main() -> None:
    """Replay the journal, then serve until SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="embedded-aws",
        description="An AWS API on this machine: moto's server with persistent state. It does not check signatures.",
        epilog="example: embedded-aws --port 4566 --state-dir /tmp/aws",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=4566, help="port to listen on (4566)")
    folder = os.environ.get("STATE_DIRECTORY", "")
    parser.add_argument("--state-dir", type=Path, default=folder, required=not folder, help="folder of the journal")
    arguments = parser.parse_args()
    state = arguments.state_dir
    state.mkdir(parents=True, exist_ok=True)

    moto_patches.apply()
    values.store_in(state / "values")
    moto = DomainDispatcherApplication(create_backend_app)
    journal, bodies = Journal(state / "requests.jsonl"), Bodies(state / "bodies")
    application = PersistentApplication(moto, mock_random.seed, journal, bodies, _exit_on_write_error)
    try:
        # Extends systemd's start timeout with each replayed request.
        replayed = application.replay(step=lambda: _notify(f"EXTEND_TIMEOUT_USEC={_TIMEOUT_S * 1_000_000}"))
    except ValueError as error:
        print(f"{error}; repair it, or remove {state}/requests.jsonl to start with empty state", file=sys.stderr)
        sys.exit(_EXIT_CONFIG)
    server = make_server(arguments.host, arguments.port, application, threaded=True, request_handler=_Handler)
    # In a thread: shutdown() waits for serve_forever(), which the signal handler interrupts.
    signal.signal(signal.SIGTERM, lambda *_: Thread(target=server.shutdown).start())
    _notify(f"READY=1\nSTATUS=replayed {replayed} requests")
    print(f"listening on {arguments.host}:{arguments.port}, {replayed} requests replayed", flush=True)
    server.serve_forever()


def _exit_on_write_error(error: OSError) -> None:
    print(f"cannot write the journal, the change is lost; exiting: {error}", flush=True)
    os._exit(1)


def _notify(text: str) -> None:
    """Notify the service manager, if there is one (sd_notify(3))."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(text.encode(), address.replace("@", "\0", 1))
