"""Regular expressions mean the same on every Python that pyproject.toml admits."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

APP = Path(__file__).parents[2]
# Possessive quantifiers and atomic groups: until 3.11.4 some of them match wrongly (gh-106052).
_UNSOUND = re.compile(r"[?*+}]\+|\(\?>")
_SOUND_SINCE = (3, 11, 5)


def oldest_python() -> tuple[int, ...]:
    """Return the oldest version that is admitted."""
    project = tomllib.loads((APP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return tuple(map(int, project["requires-python"].removeprefix(">=").split(".")))


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and text of all strings of a module, also in f-strings, except its docstrings."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in docstrings:
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            yield node.lineno, text


def unsound(source: str) -> list[int]:
    """Return the lines of a module with patterns that older Pythons misread."""
    return [line for line, text in texts(source) if _UNSOUND.search(re.sub(r"\\.|\[[^\]]*\]", "x", text))]


@pytest.mark.parametrize(
    "pattern", ['r"(?:e[0-9])?+"', 'rf"{x}{{1,2}}+"', 'rb"(?:ab){4,}+c"', 'r"(?>a|b)"', 'r"[0-9]++"']
)
def test_unsound_group_is_detected(pattern: str) -> None:
    """A possessive quantifier or an atomic group is detected in every kind of string."""
    assert unsound(f"import re\nx = re.compile({pattern})\n") == [2]


@pytest.mark.parametrize("pattern", [r'r"a?\+b"', 'r"[*+]+"', 'r"\\++"', '"a + b"'])
def test_other_plus_signs_are_ignored(pattern: str) -> None:
    """A plus sign that is no quantifier is ignored."""
    assert unsound(f"x = {pattern}\n") == []


def test_oldest_python_reads_every_pattern() -> None:
    """No pattern has a group that the oldest admitted Python misreads."""
    if oldest_python() >= _SOUND_SINCE:
        pytest.skip("every Python that is admitted reads them alike")
    modules = sorted((APP / "src").rglob("*.py"))
    assert len(modules) > 100
    places = [f"{path}:{line}" for path in modules for line in unsound(path.read_text(encoding="utf-8"))]
    assert places == []
