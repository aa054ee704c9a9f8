"""The commands for scripts: their output, their exit statuses, and their settings."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota import cli
from frota.list import client_settings, keys
from frota.list.cli import _slice
from support import TIMEOUT_S, reserved_port, run_frota, start_frota
from support.fake_list_server import fake_list_server, response_to
from support.legacy_list_server import legacy_server
from support.processes import read_until
from support.zmq_server import list_server

Run = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client_settings, "FLEET_FILE", tmp_path / "none.env")
    for name in [name for name in os.environ if name.startswith(("LIST_", "FROTA_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run commands against a server of their own; give the exit status and what was printed."""

    def run(*words: str) -> tuple[int, str]:
        status = cli.main(["list", *words])
        output, errors = capsys.readouterr()
        assert errors == ""
        return status, output

    with list_server(tmp_path) as server:
        monkeypatch.setenv("LIST_PORT", str(server.port))
        yield run


def failing(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    try:
        status = cli.main(["list", *words])
    except SystemExit as ended:
        status = int(ended.code or 0)
    return status, capsys.readouterr().err


def test_append_insert_show_search_and_remove(run: Run) -> None:
    """Elements are appended, inserted, shown, found and removed."""
    assert run("show") == (0, "")
    assert run("append", "3", "a b", "--", "-x") == (
        0,
        "Elemento '3' adicionado.\nElemento 'a b' adicionado.\nElemento '-x' adicionado.\n",
    )
    assert run("insert", "-1", "y") == (0, "Elemento 'y' inserido na posição -1.\n")
    assert run("insert", "0", "--", "-3") == (0, "Elemento '-3' inserido na posição 0.\n")
    assert run("show") == (0, "-3\n3\na b\ny\n-x\n")
    assert run("show", "-3:") == (0, "a b\ny\n-x\n")
    assert run("show", "-3:-1") == (0, "a b\ny\n")
    assert run("show", ":1") == (0, "-3\n")
    assert run("search", "a b") == (0, "Encontrado (2)\n")
    assert run("search", "a") == (1, "Não encontrado\n")
    assert run("remove", "a b") == (0, "Elemento 'a b' removido.\n")
    assert run("remove", "a b") == (1, "Elemento 'a b' não encontrado.\n")
    assert run("insert", "9", "x") == (1, "Posição inválida: 9\n")


def test_sort_clear_and_undo(run: Run) -> None:
    """A list is sorted and cleared, and the last change is undone once."""
    run("append", "10", "9", "-1")
    assert run("sort", "--by", "number", "--descending") == (0, "Lista ordenada decrescentemente.\n")
    assert run("show") == (0, "10\n9\n-1\n")
    assert run("sort") == (0, "Lista ordenada crescentemente.\n")
    assert run("show") == (0, "-1\n10\n9\n")
    assert run("clear") == (0, "Lista limpa.\n")
    assert run("show") == (0, "")
    assert run("undo")[0] == 0
    assert run("show") == (0, "-1\n10\n9\n")
    assert run("undo")[0] == 1


def test_named_lists(run: Run) -> None:
    """The option --list selects a list; `lists` prints all of them."""
    run("append", "x", "y")
    run("append", "milk", "--list", "shopping")
    assert run("show", "--list", "shopping") == (0, "milk\n")
    assert run("lists") == (0, "        2  default\n        1  shopping\n")


def test_json_prints_one_object_a_line(run: Run) -> None:
    """With --json, each response is printed as one object a line."""
    status, output = run("append", "--json", "ç", "a\nb")
    first, second = map(json.loads, output.splitlines())
    assert status == 0
    assert (first["text"], first["length"], first["version"]) == ("Elemento 'ç' adicionado.", 1, 1)
    assert second["length"] == 2
    status, output = run("show", "1:", "--json")
    assert (json.loads(output)["elements"], json.loads(output)["start"]) == (["a\nb"], 1)
    status, output = run("search", "x", "--json")
    assert (status, json.loads(output)["error"]) == (1, "not_found")
    assert json.loads(run("lists", "--json")[1])["lists"] == {"default": 2}


def test_append_reads_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`append -` reads one element a line."""

    def typed(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    typed("ç d\r\n\n- x\nlast".encode())
    assert run("append", "first", "-", "end")[0] == 0
    elements = json.loads(run("show", "--json")[1])["elements"]
    assert elements == ["first", "ç d", "", "- x", "last", "end"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a\n\xff\nb\n", "standard input, line 2: no UTF-8"),
        (b"x" * (2**20 + 2), "standard input, line 1: longer than 1048576 bytes"),
        (None, "standard input is closed"),
    ],
)
def test_invalid_standard_input_names_its_line(
    data: bytes | None, reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invalid standard input is an error that names its line."""
    monkeypatch.setattr(sys, "stdin", None if data is None else io.TextIOWrapper(io.BytesIO(data)))
    with fake_list_server(lambda request: [response_to(request)]) as server:
        status, errors = failing(["append", "-", "--port", str(server.port)], capsys)
    assert (status, errors.startswith(f"frota: {reason}")) == (1, True)


def test_append_stops_at_a_rejection(capsys: pytest.CaptureFixture[str]) -> None:
    """`append` sends no element after a rejected one."""
    refusal = {"ok": False, "error": "full", "text": "Limite atingido."}
    with fake_list_server(lambda request: [response_to(request, **refusal)]) as server:
        assert cli.main(["list", "append", "a", "b", "--port", str(server.port)]) == 1
    assert len(server.received) == 1
    assert capsys.readouterr().out == "Limite atingido.\n"


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in elements do not reach the terminal."""
    with fake_list_server(lambda request: [response_to(request, elements=["\x1b[2J", "a\r\nb"])]) as server:
        assert cli.main(["list", "show", "--port", str(server.port)]) == 0
    assert capsys.readouterr().out == "\\x1b[2J\na\\r\\nb\n"


def test_commands_with_a_legacy_server(capsys: pytest.CaptureFixture[str]) -> None:
    """The commands that a legacy server supports work with one."""
    with legacy_server() as (port, _):
        for words in (["append", "3", "10"], ["sort"], ["show"], ["search", "3"]):
            assert cli.main(["list", *words, "--port", str(port)]) == 0
        output = capsys.readouterr().out.splitlines()
        assert output[2:] == ["Lista ordenada crescentemente.", "10", "3", "Encontrado"]
        assert failing(["undo", "--port", str(port)], capsys)[0] == 1


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["show", "--port", "70000"], 78, "--port '70000': must be from 1 to 65535"),
        (["show", "--port", "x"], 78, "--port 'x': must be a whole number"),
        (["show", "--server-key", "ab"], 78, "--server-key 'ab': must be 64 hexadecimal digits"),
        (["show", "--server-key", "ab" * 32], 78, "LIST_KEY_FILE (--key-file) and LIST_SERVER_KEY"),
        (["show", "--key-file", "/none", "--server-key", "ab" * 32], 78, "key file /none: No such file"),
        (["show", "--host", "a..b"], 1, "no list server at a..b:1234: Name or service not known"),
        (["show", "3"], 2, "'3': must be START:STOP"),
        (["show", "a:b"], 2, "'a:b': must be START:STOP"),
        (["append"], 2, "required: VALUE"),
        (["append", "\udcff"], 2, "'\\udcff': no UTF-8"),
        (["insert", "x", "y"], 2, "'x': must be a whole number"),
        (["sort", "--by", "size"], 2, "invalid choice: 'size'"),
        (["watch", "--last", "-1"], 2, "-1: must not be negative"),
    ],
)
def test_failure_is_one_sentence_and_a_status(
    words: list[str], status: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failure is one sentence and an exit status."""
    exit_status, errors = failing(words, capsys)
    assert exit_status == status
    assert reason in errors
    assert status == 2 or errors.count("\n") == 1


def test_unavailable_server_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    """An unavailable server is one sentence and status 1."""
    with reserved_port() as port:
        status, errors = failing(["clear", "--port", str(port), "--timeout", "0.3"], capsys)
    assert status == 1
    assert errors.startswith(f"frota: gave up after 0 s: no server listens at 127.0.0.1:{port}")


def test_fleet_file_has_the_lowest_priority(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fleet's file is read, but flags, environment and another file win."""
    secret, key_file = tmp_path / "server.key", tmp_path / "client.key"
    server_key, client_key = keys.generate(secret), keys.generate(key_file)
    file = tmp_path / "fleet.env"
    monkeypatch.setattr(client_settings, "FLEET_FILE", file)
    with list_server(tmp_path, "--key-file", secret, "--clients", f"us={client_key}") as server:
        keyed = f"LIST_KEY_FILE={key_file}\nLIST_SERVER_KEY={server_key}\n"
        file.write_text(f"LIST_PORT={server.port}\n{keyed}", encoding="utf-8")
        assert cli.main(["list", "append", "x"]) == 0
        assert cli.main(["list", "show"]) == 0
        assert capsys.readouterr().out.endswith("x\n")
    with fake_list_server(lambda request: [response_to(request, elements=["other"])]) as other:
        clear = ["--key-file", "", "--server-key", ""]
        assert cli.main(["list", "show", "--port", str(other.port), *clear]) == 0
        monkeypatch.setenv("LIST_PORT", str(other.port))
        assert cli.main(["list", "show", *clear]) == 0
        monkeypatch.setenv("FROTA_ENV_FILE", os.devnull)
        assert cli.main(["list", "show"]) == 0
    assert capsys.readouterr().out == "other\n" * 3
    monkeypatch.delenv("FROTA_ENV_FILE")
    file.write_text("LIST_PORT=x\n", encoding="utf-8")
    assert failing(["show"], capsys) == (78, f"frota: {file}: LIST_PORT='x': must be a whole number\n")


def test_check_sends_no_request(capsys: pytest.CaptureFixture[str]) -> None:
    """With --check, a command only checks its settings."""
    for command in (["show"], ["menu"], ["watch"], ["append", "x"]):
        assert cli.main(["list", *command, "--port", "1", "--check"]) == 0
        assert failing([*command, "--port", "0", "--check"], capsys)[0] == 78


def test_closed_standard_output_ends_silently() -> None:
    """A command whose output is closed ends without a message."""
    with fake_list_server(lambda request: [response_to(request, elements=["x" * 1000] * 1000)]) as server:
        shell = f"{sys.executable} -m frota list show --port {server.port} | head -c 5; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", shell], capture_output=True, timeout=TIMEOUT_S, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (b"xxxxx", b"", 1)


def test_help_imports_no_zeromq() -> None:
    """`--help` does not import ZeroMQ."""
    script = "import atexit, sys; from frota import cli; atexit.register(lambda: print(*sys.modules)); cli.main()"
    command = [sys.executable, "-c", script, "list", "show", "--help"]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S).stdout.split()
    assert "frota.list.cli" in loaded
    assert "zmq" not in loaded


@given(st.none() | st.integers(-(10**18) + 1, 10**18 - 1), st.none() | st.integers(-(10**18) + 1, 10**18 - 1))
def test_slices_are_parsed_like_python(start: int | None, stop: int | None) -> None:
    """A slice is parsed as Python writes it."""
    text = f"{'' if start is None else start}:{'' if stop is None else stop}"
    assert _slice(text) == (start, stop)


def test_killed_server_is_a_pause_for_append(tmp_path: Path) -> None:
    """`append -` survives kills of the server."""
    with list_server(tmp_path) as server:
        process = start_frota("list", "append", "-", "--port", server.port, stdin=-1, stdout=-1, stderr=-1)
        assert process.stdin
        for number in range(3):
            process.stdin.write(f"{number}\n".encode())
            process.stdin.flush()
            assert read_until(process.stdout, b"\n").decode() == f"Elemento '{number}' adicionado.\n"
            server.kill()
            server.start()
        output, errors = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, output, errors) == (0, b"", b"")
        printed = start_frota("list", "show", "--port", server.port, stdout=-1).communicate(timeout=TIMEOUT_S)[0]
    assert printed == b"0\n1\n2\n"


@pytest.mark.parametrize(
    ("given_", "elements", "complaint"),
    [
        (b"\xef\xbb\xbfa\r\nb\r\n", ["a", "b"], b""),
        (b"a\n\xef\xbb\xbfb\n", ["a", "\ufeffb"], b""),  # in the middle it is part of an element
        ("a\nb\n".encode("utf-16"), [], b"line 1: no UTF-8 (it is UTF-16)"),
        (b"a\n\xe7\n", ["a"], b"line 2: no UTF-8 ("),
    ],
)
def test_input_piped_on_windows(tmp_path: Path, given_: bytes, elements: list[str], complaint: bytes) -> None:
    """Input with a byte order mark or CRLF is read; UTF-16 is named in the error."""
    with list_server(tmp_path) as server:
        done = run_frota("list", "append", "-", "--port", server.port, stdin_data=given_)
        assert server.elements() == elements
        assert complaint.decode() in done.stderr
        assert (done.returncode == 0) == (complaint == b"")
