"""What the documents show can be typed: targets, commands, playbooks, units and files that they name exist."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from frota.core import settings

from .checkout import DOCUMENTS, PLAYBOOKS, ROLES, ROOT, code_of, entry_points, load, mappings, task_files
from .test_commands import COMMANDS
from .test_settings import SERVICES

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([A-Za-z][\w-]*):(?!=)", MAKEFILE, re.MULTILINE))
# Control lines between a sensor and its server begin like commands.
_ON_THE_WIRE = {"hello", "numbered", "skip", "history", "tail", "end"}
# What explains the code: its paths are below one of these folders.
_MAPS = [ROOT / "docs" / "architecture.md", ROOT / "app" / "README.md"]
_BELOW = (ROOT, ROOT / "app", ROOT / "app" / "src", ROOT / "app" / "src" / "frota")
each_map = pytest.mark.parametrize("document", _MAPS, ids=lambda path: str(path.relative_to(ROOT)))


def _words(document: Path, program: str) -> list[list[str]]:
    """Return the arguments of every use of a program that a document shows."""
    pattern = re.compile(rf"(?:^|[|;&(]\s*|\bsudo )(?:[\w./-]*/)?{program}(?: |$)(?P<arguments>[^|;&)#]*)")
    uses = (pattern.search(line) for line in code_of(document.read_text(encoding="utf-8")))
    return [use["arguments"].replace("'", "").split() for use in uses if use]


def _is_word(text: str) -> bool:
    return bool(re.fullmatch(r"[a-z][a-z_-]*", text))


def test_make_help() -> None:
    """`make help` lists every target of the Makefile, and only those."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    listed = subprocess.run(["make", "help"], cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout
    described = re.findall(r"^ +make ([\w-]+) +\S", listed, re.MULTILINE)
    assert set(described) == TARGETS
    assert set(re.findall(r"^\.PHONY: (.*)", MAKEFILE, re.MULTILINE)[0].split()) == TARGETS


def test_makefile_paths_exist() -> None:
    """Playbooks and tools in the Makefile exist."""
    named = re.findall(r"\b((?:playbooks|tools|inventory)/[\w./-]+|\w+\.yml)\b", MAKEFILE)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@each_document
def test_documented_targets(document: Path) -> None:
    """Every make target in a document exists."""
    typed = {word for words in _words(document, "make") for word in words if _is_word(word)}
    assert typed - TARGETS == set()


@each_document
def test_documented_playbooks(document: Path) -> None:
    """Every playbook in a document exists."""
    typed = {word for words in _words(document, "ansible-playbook") for word in words if word.endswith(".yml")}
    named = set(re.findall(r"\bplaybooks/\w+\.yml\b", document.read_text(encoding="utf-8")))
    assert {name for name in typed | named if not (ROOT / name).is_file()} == set()


@each_document
def test_documented_commands(document: Path) -> None:
    """Every frota command in a document exists and accepts the flags shown."""
    typed = [words for words in _words(document, "frota") if not _ON_THE_WIRE & set(words[:1])]
    assert [" ".join(words) for words in typed if not _runs(words)] == []


def _runs(words: list[str]) -> bool:
    """Tell whether `frota …` exists so far as it is shown, and knows the flags."""
    names = [word for word in words[:3] if _is_word(word)]
    typed = [" ".join(names[:count]) for count in range(len(names), 0, -1)]
    name = next((name for name in typed if name in COMMANDS), "")
    command = COMMANDS.get(name)
    if command is None:  # a system or a group of commands alone
        return not names or any(command.startswith(f"{typed[0]} ") for command in COMMANDS)
    flags = {word.partition("=")[0].strip("[]") for word in words if word.lstrip("[").startswith("--")}
    return flags <= set(command._option_string_actions)


@each_document
def test_documented_units(document: Path) -> None:
    """Every frota unit in a document exists."""
    deployed = [mapping for path in task_files() for mapping in mappings(load(path))]
    units = {mapping["python_service_name"] for mapping in deployed if "python_service_name" in mapping}
    # What people's commands read is named like what a unit reads.
    units |= {Path(file).stem for task in deployed if (file := str(task.get("dest"))).startswith("/etc/frota/frota-")}
    text = "\n".join(code_of(document.read_text(encoding="utf-8")))
    named = set(re.findall(r"\bfrota-[a-z]+(?:-[a-z]+)*\b(?=[@.\s]|$)", text))
    assert {name for name in named if name not in units} == set()


@each_document
def test_documented_links(document: Path) -> None:
    """Every link in a document leads to a file."""
    links = re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8"))
    local = [link for link in links if not re.match(r"\w+:", link)]
    assert [link for link in local if not (document.parent / link).exists()] == []


@each_document
def test_documented_variables(document: Path) -> None:
    """Every variable set in a document is an input of a role or used by a playbook."""
    inputs = {name for role in ROLES for options in entry_points(role).values() for name in options}
    inputs |= {word for path in PLAYBOOKS for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}
    arguments = [" ".join(words) for words in _words(document, "ansible-playbook")]
    assert {name for line in arguments for name in re.findall(r"-e (\w+)=", line)} - inputs == set()


def _words_of_code(document: Path) -> set[str]:
    """Return the words that a document shows as code, without the punctuation around them."""
    lines = code_of(document.read_text(encoding="utf-8"))
    return {word.strip("(),;:|") for line in lines for word in line.split()}


def _is_path(word: str) -> bool:
    """Tell whether a word names a file, folder or module of the repository; paths on hosts begin with a slash."""
    suffixes = (".py", ".yml", ".md", ".j2", ".proto", ".toml", ".json", ".sh")
    path = bool(re.fullmatch(r"\w[\w./-]*", word)) and ("/" in word or word.endswith(suffixes))
    return path or bool(re.fullmatch(r"frota(?:\.[a-z_0-9]+)+", word))


def _exists(name: str) -> bool:
    if name.startswith("frota."):
        name = name.replace(".", "/")
    return any((folder / name).exists() or (folder / f"{name}.py").is_file() for folder in _BELOW)


@each_map
def test_maps_name_existing_files(document: Path) -> None:
    """Every file and module in a map of the code exists."""
    named = {word for word in _words_of_code(document) if _is_path(word)}
    assert len(named) > 10
    assert {name for name in named if not _exists(name)} == set()


@each_map
def test_maps_name_existing_settings(document: Path) -> None:
    """Every setting in a map of the code exists."""
    prefixes = "|".join({service.module.PREFIX for service in SERVICES})
    named = {word for word in _words_of_code(document) if re.fullmatch(rf"(?:{prefixes})[A-Z_]+", word)}
    keys = {key for service in SERVICES for key in settings.keys(service.settings, service.module.PREFIX)}
    assert named - keys == set()
