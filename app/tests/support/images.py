"""Support of the tests of the images' commands: complete runs of a command, and a server's credentials."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from support import run_frota
from support.certificates import Certificate
from support.fake_producer import FakeProducer

CLEAN_ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("IMAGES_", "FROTA_", "TRACEPARENT"))
}


@dataclass(frozen=True)
class CommandResult:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of its output."""
        return self.out.splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The objects of its output with --json."""
        return [json.loads(line) for line in self.lines]


def run_images(*words: object, **environ: str) -> CommandResult:
    """Run a `frota images` command to its end."""
    done = run_frota("images", *words, env={**CLEAN_ENVIRONMENT, **environ}, stdin=subprocess.DEVNULL)
    return CommandResult(done.returncode, done.stdout, done.stderr)


def send(server: FakeProducer, *words: object, **environ: str) -> CommandResult:
    """Send images to a fake producer."""
    return run_images("send", *words, f"127.0.0.1:{server.port}", **environ)


def image_files(folder: Path, *names: str, size: int = 1000) -> list[Path]:
    """Create files, whose content a fake producer does not read."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(size))
    return [folder / name for name in names]


def credentials(server: Certificate, clients: Certificate | None = None) -> grpc.ServerCredentials:
    """Return the credentials of a server with TLS, which requires certificates signed by the authority `clients`."""
    pair = server.key_file.read_bytes(), server.file.read_bytes()
    return grpc.ssl_server_credentials([pair], clients.file.read_bytes() if clients else None, clients is not None)
