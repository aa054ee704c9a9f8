"""The grammar of readings, on every supported Python that is installed."""

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.test_patterns import APP, oldest_python
from frota.core.errors import MalformedMessage
from frota.sensors import messages, parser, units
from support import grammar_cases

_VERSIONS = Path("~/.pyenv/versions").expanduser()
_ASK = "import json, sys; print(json.dumps(sys.version_info[:3]))"


@cache
def pythons() -> dict[str, str]:
    """Return the interpreters of this machine that pyproject.toml admits, by their versions; ours is always one.

    It starts each of them, so it is for a test to call: at import, every process of the tests would.
    """
    paths = [shutil.which(f"python3.{minor}") for minor in range(oldest_python()[1], 30)]
    paths += [str(path) for path in sorted(_VERSIONS.glob("*/bin/python3"))]
    admitted = {}
    for path in [*filter(None, paths), sys.executable]:
        result = subprocess.run([path, "-c", _ASK], capture_output=True, check=False)
        version = tuple(json.loads(result.stdout)) if result.returncode == 0 else ()
        if version >= oldest_python():
            admitted[".".join(map(str, version))] = path
    return admitted


def test_running_python_is_covered() -> None:
    """The running Python is one of those that the grammar is tested on."""
    assert ".".join(map(str, sys.version_info[:3])) in pythons()


def test_all_pythons_agree() -> None:
    """Every supported Python parses every line alike."""
    environment = {"PYTHONPATH": str(APP / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    ends = {}
    for version, python in pythons().items():
        command = [python, str(Path(grammar_cases.__file__))]
        checked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        ends[version] = (checked.returncode, checked.stderr)
    assert ends == dict.fromkeys(pythons(), (0, ""))


def test_wrong_table_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison of Pythons fails on a wrong table."""
    monkeypatch.setitem(grammar_cases.VALID, "5e°C", (5.0, "°C"))
    monkeypatch.setitem(grammar_cases.INVALID, "7.5°C", "anything")
    assert len(grammar_cases.failures()) >= 2


@given(st.text("0123456789.eE+-xXbdf_,'°ºCKm%/ \u00b5²\u212a", max_size=14))
def test_accepted_text_is_a_reading(measure: str) -> None:
    """Accepted text has a finite number and a valid unit; the pattern accepts nothing more."""
    line = f"S - K: {measure}"
    fast = messages.LINES.findall(f"{line}\n")
    try:
        reading = parser.parse(line)
    except MalformedMessage:
        assert fast == []
        return
    assert abs(float(reading.value)) < 1e125
    assert not reading.unit or units.is_unit(reading.unit)
    assert fast in ([], [tuple(reading)])


@given(st.text(max_size=40), st.sampled_from([" - ", " ", ""]), st.sampled_from([": ", ":", ""]), st.text(max_size=20))
def test_any_text_is_a_reading_or_has_a_reason(name: str, dash: str, colon: str, measure: str) -> None:
    """Any text is a reading, or is rejected with a reason of one line."""
    reason = grammar_cases.reason(f"{name}{dash}K{colon}{measure}")
    assert not reason or reason.isprintable()
    assert len(reason) < 200


@given(st.text("S -K:25.34e°C%\n", max_size=20), st.integers(0, 20))
def test_hopeless_text_stays_hopeless(text: str, cut: int) -> None:
    """Text that is rejected early is no reading whatever follows it."""
    whole = text.replace("\n", "")
    if parser.reason_if_hopeless(whole[:cut]):
        assert not parser.is_reading(whole)


@pytest.mark.parametrize("line", [line for line in grammar_cases.VALID_LINES if line == line.strip(parser.PADDING)])
def test_no_prefix_of_a_reading_is_hopeless(line: str) -> None:
    """No prefix of a reading is rejected early."""
    assert [line[:end] for end in range(len(line) + 1) if parser.reason_if_hopeless(line[:end])] == []


@pytest.mark.parametrize("measure", grammar_cases.VALID)
def test_no_prefix_of_a_value_is_hopeless(measure: str) -> None:
    """No prefix of a value and its unit is rejected early."""
    line = f"S - K: {measure}"
    assert [line[:end] for end in range(len(line) + 1) if parser.reason_if_hopeless(line[:end])] == []


@pytest.mark.parametrize(
    "measure", [text for text, (_, unit) in grammar_cases.VALID.items() if unit in grammar_cases.KNOWN]
)
def test_known_unit_ends_a_reading(measure: str) -> None:
    """A known unit ends a legacy reading in every spelling."""
    parsed = parser.parse_open(f"xS - K: {measure}S - K: 1%", 1, grammar_cases.KNOWN)
    assert parsed
    (_, _, value, unit), end = parsed
    assert (float(value), units.canonical(unit)) == grammar_cases.VALID[measure]
    assert end == len(f"xS - K: {measure}")
