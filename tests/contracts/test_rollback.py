"""Which release a fleet goes back to: the one before the newest in use, wherever an upgrade came to an end."""

import importlib.util

import pytest

from .checkout import ROOT

_SPEC = importlib.util.spec_from_file_location(
    "former_release", ROOT / "roles" / "python_service" / "filter_plugins" / "former_release.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

_OLDEST, _OLD, _OWN, _NEW = "oldest", "old", "own", "new"


@pytest.mark.parametrize(
    ("hosts", "former"),
    [
        pytest.param([[_NEW, _NEW, _OWN], [_NEW, _NEW, _OWN]], _OWN, id="all-upgraded"),
        pytest.param([[_NEW, _NEW, _OWN, _OLD], [_OWN, _NEW, _OWN, _OLD]], _OWN, id="upgrade-broke-off"),
        pytest.param([[_OWN, _NEW, _OWN, _OLD], [_NEW, _NEW, _OWN, _OLD]], _OWN, id="upgrade-broke-off-at-the-first"),
        # Of no host more than three are kept.
        pytest.param([[_OWN, _OWN, _OLD, _OLDEST], [_NEW, _NEW, _OWN, _OLD]], _OWN, id="upgrade-of-one-host-alone"),
        pytest.param([[_OWN, _NEW, _OWN, _OLD], [_OWN, _NEW, _OWN, _OLD]], _OLD, id="rolled-back-once"),
        pytest.param([[_NEW, _NEW, _OWN], [_NEW, _NEW]], _OWN, id="a-host-that-is-new"),
        pytest.param([[_OWN, _OWN]], "", id="nothing-before"),
    ],
)
def test_rollback_target(hosts: list[list[str]], former: str) -> None:
    """All hosts roll back to one release."""
    results = [{"current": current, "releases": releases} for current, *releases in hosts]
    assert _MODULE.former_release(results) == former
