"""The inventory for pyinfra: the hosts, with their expected state as data, from the file $BENCH_DEPLOY."""

import json
import os
from pathlib import Path

_CONFIG = json.loads(Path(os.environ["BENCH_DEPLOY"]).read_text(encoding="utf-8"))

hosts = (
    [(name, {"expected": state, "release": _CONFIG["release"]}) for name, state in _CONFIG["hosts"].items()],
    {
        "ssh_config_file": _CONFIG["ssh_config"],
        "_sudo": True,
    },
)
