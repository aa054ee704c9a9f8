"""The workers of a host of the peers: each has a server of its own, in turn."""

import importlib.util

from .checkout import ROOT

_SPEC = importlib.util.spec_from_file_location(
    "peer_workers", ROOT / "roles" / "peers" / "filter_plugins" / "peer_workers.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)


def test_workers_take_turns() -> None:
    """The workers of a host are spread over the servers, and each reads its own credential."""
    workers = _MODULE.peer_workers(["10.0.0.1", "10.0.0.2"], "3", "9410")
    assert {number: settings["host"] for number, settings in workers.items()} == {
        "1": "10.0.0.1",
        "2": "10.0.0.2",
        "3": "10.0.0.1",
    }
    assert workers["2"]["key_file"] == "/run/credentials/frota-peer-worker@2.service/key"
    assert [settings["metrics_port"] for settings in workers.values()] == ["9410", "9411", "9412"]


def test_no_worker_and_no_port() -> None:
    assert _MODULE.peer_workers(["10.0.0.1"], 0, 9410) == {}
    assert _MODULE.peer_workers(["10.0.0.1"], 1, 0)["1"]["metrics_port"] == "0"
