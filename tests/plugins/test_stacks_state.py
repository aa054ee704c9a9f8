"""The action `stacks_state` where no AWS responds."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def aws() -> Iterator[dict[str, str]]:
    """Give the connection to an embedded AWS on a port where nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        yield {"region": "us-east-1", "endpoint_url": url, "access_key": "x", "secret_key": "x"}


def _queried(root: Path, **options: Any) -> str:
    """Return what `ansible` prints of the action."""
    words = ["-i", "localhost,", "-c", "local", "localhost", "-m", "stacks_state", "-a", json.dumps(options)]
    environ = {**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible")), *words],
        cwd=root,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def test_unreachable_aws(root: Path, aws: dict[str, str]) -> None:
    """An unreachable AWS is an error, not an AWS without instances."""
    # Whoever took it for that would remove every host.
    assert "AWS is unreachable" in _queried(root, aws=aws, fleet="frota")


def test_absent_stacks(root: Path, aws: dict[str, str]) -> None:
    """With may_be_absent, missing stacks are an empty state."""
    result = _queried(root, aws=aws, fleet="frota", may_be_absent=True)
    assert "SUCCESS" in result
    assert "instances: []" in result
    assert "resources: ''" in result
