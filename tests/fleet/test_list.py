"""The remote list from other hosts: for its people, for the original's clients, for nobody else."""

import json
import re
import secrets
import shlex
from pathlib import Path

from .fleet import Fleet

# The list of these tests: a list that was there once is remembered, if only by its version.
_OWN = "aceite"
_KEY = "/etc/frota/credentials/frota-list-client.key"


def _ask(fleet: Fleet, port: int, messages: list[str], *keys: str, seconds: float = 10) -> list[str]:
    """Send messages from another host, in one connection, and return the answers."""
    script = shlex.quote((Path(__file__).parent / "ask_list.py").read_text(encoding="utf-8"))
    words = shlex.join([f"{fleet.list_server.address}:{port}", str(seconds), *keys])
    lines = shlex.quote("\n".join(messages))
    said = fleet.list_client.run(f"echo {lines} | timeout 180 /opt/frota/current/bin/python -c {script} {words}")
    return said.splitlines()


def _server_key(fleet: Fleet) -> str:
    written = fleet.list_client.run("cat /etc/frota/frota-list-client.env")
    return str(re.findall(r'SERVER_KEY="(\w+)"', written)[0])


def test_list_commands_need_no_options(fleet: Fleet) -> None:
    """What one host appends another one sees, without options for server or keys."""
    cleared = json.loads(fleet.list_client.run_as_admin(f"frota list clear --list {_OWN} --json"))
    fleet.list_client.run_as_admin(f"frota list append --list {_OWN} 'a b' ç")
    fleet.list_server.run_as_admin(f"frota list insert --list {_OWN} -1 meio")
    shown = json.loads(fleet.list_client.run_as_admin(f"frota list show --list {_OWN} --json"))
    fleet.list_client.run_as_admin(f"frota list clear --list {_OWN}")
    assert shown["elements"] == ["a b", "meio", "ç"]
    assert (shown["list"], shown["length"], shown["version"]) == (_OWN, 3, cleared["version"] + 3)


def test_who_watches_sees_a_change_made_on_another_host(fleet: Fleet) -> None:
    fleet.list_server.run_as_admin(f"frota list append --list {_OWN} antes")
    with fleet.list_client.start(f"timeout 180 frota list watch --list {_OWN} --last 1 --json") as watching:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        fleet.list_server.run_as_admin(f"frota list append --list {_OWN} depois")
        seen = json.loads(watching.stdout.readline())
        watching.kill()
    fleet.list_server.run_as_admin(f"frota list clear --list {_OWN}")
    assert (seen["version"], seen["op"], seen["value"]) == (first["version"] + 1, "append", "depois")


def test_legacy_list_client(fleet: Fleet) -> None:
    """A legacy client gets the legacy responses in clear text, on the port for that."""
    before = fleet.list_client.run_as_admin("frota list show")
    commands = [f"append {number}" for number in (3, 3, 5, 7, 9, 3, 5)]
    commands += [
        "insert 4 5",
        "remover 5",
        "pesquisar 6",
        "ordenar_cresc",
        "mostrar",
        "ordenar_desc",
        "mostrar",
        "limpar",
    ]
    answers = _ask(fleet, fleet.clear_port, ["limpar", *commands, "mostrar"])
    if before:
        fleet.list_client.run_as_admin(f"printf %s {shlex.quote(before)} | frota list append -")
    assert answers[0] == "Lista limpa."
    assert answers[8:] == [
        "Elemento '5' inserido na posição 4.",
        "Elemento '5' removido.",
        "Não encontrado",
        "Lista ordenada crescentemente.",
        "['3', '3', '3', '5', '5', '7', '9']",
        "Lista ordenada decrescentemente.",
        "['9', '7', '5', '5', '3', '3', '3']",
        "Lista limpa.",
        "[]",
    ]


def test_malformed_requests(fleet: Fleet) -> None:
    """Every request of an allowed client gets a response, and the server keeps running."""
    before = fleet.invocations()
    bad = [
        "append",
        "insert x y",
        "",
        "nada",
        "{",
        '{"op": 7}',
        '{"op": "insert", "position": "x", "value": "y"}',
        "{}" * 9,
    ]
    answers = _ask(fleet, fleet.list_port, [*bad, "pesquisar nada"], _KEY, _server_key(fleet))
    assert len(answers) == len(bad) + 1
    assert answers[-1] in ("Encontrado", "Não encontrado")
    assert [one for one in answers[:-1] if "Comando inválido" not in one and "Posição inválida: x" not in one] == []
    assert fleet.restarted_since(before) == set()


def test_unknown_key(fleet: Fleet, start: float) -> None:
    """A key that is not on the allow-list gets no response, and the journal names it."""
    key, *answers = _ask(fleet, fleet.list_port, ["mostrar"], "new", _server_key(fleet), seconds=2)
    assert answers == ["no answer"]
    record = fleet.list_server.wait_for_record("FROTA_EVENT=client_rejected", f"KEY={key}", since=start)
    assert record["PRIORITY"] == "4"


def test_clear_text_gets_nothing_where_keys_are_wanted(fleet: Fleet) -> None:
    assert _ask(fleet, fleet.list_port, ["mostrar"], seconds=2) == ["no answer"]


def test_list_trace(fleet: Fleet, start: float) -> None:
    """The journal has a request and its response under the trace id of its sender."""
    trace = secrets.token_hex(16)
    context = f"TRACEPARENT=00-{trace}-{secrets.token_hex(8)}-01"
    fleet.list_client.run_as_admin(f"{context} frota list append --list {_OWN} x")
    fleet.list_server.wait_for_record(f"TRACE_ID={trace}", "FROTA_EVENT=response", since=start)
    records = fleet.list_server.journal(f"TRACE_ID={trace}")
    fleet.list_client.run_as_admin(f"frota list clear --list {_OWN}")
    assert [record["FROTA_EVENT"] for record in records] == ["request", "response"]
    told = {(one["FROTA_SYSTEM"], one["LIST"], one["CLIENT"], one["PEER"]) for one in records}
    assert told == {("list", _OWN, fleet.list_client.name, fleet.list_client.address)}
