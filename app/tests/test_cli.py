"""The command line: help with examples, checks without side effects, and exit statuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from frota import cli
from support import READING, TIMEOUT_S, output, run_frota, server


def run(*words: str) -> tuple[int, str]:
    done = run_frota(*words)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("command", ["serve", "simulate", "tail", "history"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of every command has an example."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["sensors", command, "--help"])
    assert ended.value.code == 0
    assert f"example: frota sensors {command} " in capsys.readouterr().out


def test_help_imports_no_system() -> None:
    """Help imports the package of no system."""
    script = "import atexit, sys; from frota import cli; atexit.register(lambda: print(*sys.modules)); cli.main(['-h'])"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert "sensors" in loaded
    assert "frota.sensors" not in loaded
    assert "asyncio" not in loaded


def test_check_accepts_valid_settings(tmp_path: Path) -> None:
    """--check accepts valid settings without starting anything."""
    file = tmp_path / "env"
    file.write_text("SENSORS_PORT=1\nOTHER=x\n", encoding="utf-8")
    assert run("sensors", "serve", "--env-file", str(file), "--state-dir", str(tmp_path / "s"), "--check") == (0, "")
    assert not (tmp_path / "s").exists()
    assert run("sensors", "simulate", "humidity", "--env-file", str(file), "--check")[0] == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SENSORS_PORT=70000", "SENSORS_PORT='70000': must be from 0 to 65535"),
        ("SENSORS_PROT=1", "SENSORS_PROT: no such setting"),
        ("nonsense", "env:1: 'nonsense' is not KEY=VALUE"),
    ],
)
def test_check_rejects_invalid_settings(tmp_path: Path, text: str, reason: str) -> None:
    """--check rejects invalid settings with the reason and status 78."""
    file = tmp_path / "env"
    file.write_text(text, encoding="utf-8")
    status, output_text = run("sensors", "serve", "--env-file", str(file), "--check")
    assert status == 78
    assert reason in output_text


def test_precedence_of_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option overrides the env file, and the env file the environment."""
    file = tmp_path / "env"
    monkeypatch.setenv("SENSORS_PORT", "bad")
    assert run("sensors", "serve", "--check")[0] == 78
    file.write_text("SENSORS_PORT=1", encoding="utf-8")
    monkeypatch.setenv("FROTA_ENV_FILE", str(file))
    assert run("sensors", "serve", "--check")[0] == 0
    assert run("sensors", "serve", "--port", "worse", "--check")[0] == 78


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["history", "--port", "1"], 1, "no sensor server at 127.0.0.1:1: Connection refused"),
        (["history", "--state-dir", "/nonexistent"], 1, "no such folder"),
        (["history", "--since", "soon"], 78, "'soon' is no time"),
        (["history", "--host", "a..b"], 1, "no sensor server at a..b:5000: "),
        (["history", "--port", "70000"], 2, "70000: must be from 1 to 65535"),
        (["serve", "--max-viewers", "many"], 78, "--max-viewers 'many': must be a whole number"),
        (["serve", "--host", "a..b", "--port", "0"], 1, "cannot start: a..b:0: "),
    ],
)
def test_failure_is_one_sentence(
    words: list[str], status: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure is one sentence without a traceback, and a status."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    exit_status, output_text = run("sensors", *words)
    assert exit_status == status
    assert reason in output_text
    assert "Traceback" not in output_text


def test_empty_folder_has_no_history(tmp_path: Path) -> None:
    """A folder without readings has an empty history."""
    assert output("sensors", "history", "--state-dir", tmp_path, "--json") == ""


def test_history_survives_any_output(tmp_path: Path) -> None:
    """Readings are printed in any encoding; a closed output is no error, a full one is."""
    with server(tmp_path) as running:
        running.request(READING)
        words = [sys.executable, "-m", "frota", "sensors", "history", "--state-dir", str(running.state)]
        ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
        assert b"25.34\\xb0C" in subprocess.check_output(words, env=ascii_only, timeout=TIMEOUT_S)
        line = subprocess.check_output([*words, "--json"], env=ascii_only, timeout=TIMEOUT_S)
        assert json.loads(line)["text"] == READING.decode()
        closed = ["sh", "-c", '"$@" >&-', "sh", *words]
        assert subprocess.run(closed, stderr=subprocess.PIPE, timeout=TIMEOUT_S, check=True).stderr == b""
        with Path("/dev/full").open("wb") as full:
            failed = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, timeout=TIMEOUT_S, check=False)
        assert failed.returncode == 1
        assert failed.stderr.startswith(b"frota: [Errno 28] No space left on device")


_LIST_COMMANDS = ("show", "search", "append", "insert", "remove", "sort", "clear", "undo", "lists", "menu", "watch")
_CLIENT_COMMANDS = [
    *(f"list {name}" for name in _LIST_COMMANDS),
    *(f"images {name}" for name in ("send", "status", "dead list", "dead retry", "dead drop")),
]


@pytest.mark.parametrize("command", _CLIENT_COMMANDS)
def test_check_needs_no_arguments(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--check of a client command reads its env file without its other arguments."""
    file = tmp_path / "env"
    words = [*command.split(), "--env-file", str(file), "--check"]
    file.write_text("OTHER=x\n", encoding="utf-8")
    assert cli.main(words) == 0
    assert capsys.readouterr() == ("", "")
    prefix = "LIST" if command.startswith("list") else "IMAGES"
    file.write_text(f"{prefix}_TIMEOUT=x\n", encoding="utf-8")
    assert cli.main(words) == 78
    assert f"{prefix}_TIMEOUT='x': must be a number" in capsys.readouterr().err
    file.write_text(f"{prefix}_TIMEUOT=1\n", encoding="utf-8")
    assert cli.main(words) == 78
    assert f"{prefix}_TIMEUOT: no such setting" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('LIST_KEY_FILE="{key}"\nLIST_SERVER_KEY=""\n', "both, or neither for clear text"),
        ('LIST_KEY_FILE="{key}.missing"\nLIST_SERVER_KEY="{server}"\n', "No such file or directory"),
        ('LIST_HOST=""\n', "LIST_HOST='': must be a host"),
        ('LIST_HOST="[::1]:1234"\n', "must be a host alone"),
        ('LIST_HOST="10.0.0.1:1234"\n', "must be a host alone"),
        ('LIST_SERVER_KEY="VARIABLE IS NOT DEFINED!"\n', "must be 64 hexadecimal digits"),
    ],
)
def test_check_rejects_unusable_client_file(
    text: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check rejects an env file with which no client can connect."""
    key, file = tmp_path / "key", tmp_path / "env"
    assert cli.main(["list", "keygen", str(key)]) == 0
    server = capsys.readouterr().out.strip()
    words = ["list", "show", "--env-file", str(file), "--check"]
    file.write_text(f'LIST_HOST="10.0.0.1"\nLIST_KEY_FILE="{key}"\nLIST_SERVER_KEY="{server}"\n')
    assert cli.main(words) == 0
    file.write_text(text.format(key=key, server=server), encoding="utf-8")
    assert cli.main(words) == 78
    assert reason in capsys.readouterr().err


def test_missing_arguments_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --check, missing arguments are reported."""
    for words in (["list", "search"], ["images", "send"], ["images", "status"]):
        with pytest.raises(SystemExit):
            cli.main(words)
        assert "the following arguments are required" in capsys.readouterr().err
    assert cli.main(["images", "send", "10.0.0.1:50051"]) == 78
    assert "is the server: name the images to send" in capsys.readouterr().err
