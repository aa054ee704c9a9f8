"""The hosts with their state as data, for pyinfra. Reads the file that $BENCH_DEPLOY names."""

import json
import os
from pathlib import Path

_GIVEN = json.loads(Path(os.environ["BENCH_DEPLOY"]).read_text(encoding="utf-8"))

hosts = (
    [(name, {"wanted": state, "release": _GIVEN["release"]}) for name, state in _GIVEN["hosts"].items()],
    {
        "ssh_config_file": _GIVEN["ssh_config"],
        "_sudo": True,
    },
)
