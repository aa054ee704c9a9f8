"""The workers of a host of the peers: each has a server of its own, in turn."""

import importlib.util

from .checkout import ROOT

_SPEC = importlib.util.spec_from_file_location(
    "peer_workers", ROOT / "roles" / "peers" / "filter_plugins" / "peer_workers.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(MODULE)


def test_workers_take_turns() -> None:
    """The workers of a host are spread over the servers; each has a name, a port and a credential of its own."""
    workers = MODULE.peer_workers(["10.0.0.1", "10.0.0.2"], "3", "one", "9410")
    assert {number: (settings["host"], settings["metrics_port"]) for number, settings in workers.items()} == {
        "1": ("10.0.0.1", "9410"),
        "2": ("10.0.0.2", "9411"),
        "3": ("10.0.0.1", "9412"),
    }
    assert (workers["2"]["name"], workers["2"]["key_file"]) == (
        "one:2",
        "/run/credentials/frota-peer-worker@2.service/key",
    )


def test_no_worker_and_no_port() -> None:
    assert MODULE.peer_workers(["10.0.0.1"], 0, "one", 9410) == {}
    assert MODULE.peer_workers(["10.0.0.1"], 1, "one", 0)["1"]["metrics_port"] == "0"
