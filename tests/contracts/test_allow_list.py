"""Who may use the remote list: every host of its group with the keys that it has, and no other."""

import importlib.util

import pytest

from frota.list.settings import parse_clients

from .checkout import ROOT

_SPEC = importlib.util.spec_from_file_location(
    "allow_list", ROOT / "roles" / "list" / "filter_plugins" / "allow_list.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

_A, _B, _C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.mark.parametrize(
    ("clients", "former", "allowed"),
    [
        pytest.param({"two": [_B], "one": [_A]}, "", f"one={_A},two={_B}", id="at first"),
        pytest.param({"one": [_A, _B]}, f"one={_A}", f"one={_A},one.next={_B}", id="before its key is switched"),
        pytest.param({"one": [_B]}, f"one={_A},one.next={_B}", f"one={_B}", id="after its key was switched"),
        pytest.param({"one": [], "two": [_B]}, f"one={_A},two={_C}", f"one={_A},two={_B}", id="a host that is down"),
        pytest.param({"one": []}, f"one={_A},one.next={_B}", f"one={_A},one.next={_B}", id="down before the switch"),
        pytest.param({"two": [_B]}, f"one={_A},one.next={_C},two={_B}", f"two={_B}", id="a host that left"),
        pytest.param({"one": []}, "", "", id="a preview on bare hosts"),
    ],
)
def test_allow_list(clients: dict[str, list[str]], former: str, allowed: str) -> None:
    """The allow-list has the keys of every client."""
    assert _MODULE.allow_list(clients, former) == allowed
    assert len(parse_clients(allowed)) == allowed.count("=")
