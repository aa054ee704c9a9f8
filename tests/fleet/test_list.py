"""The remote list from other hosts: native clients, legacy clients, rejected clients."""

import json
import re
import secrets
import shlex
from pathlib import Path

from .fleet import Fleet

# The list of these tests. All use the same one, because the server keeps the version of a deleted list.
_OWN = "aceite"
_KEY = "/etc/frota/credentials/frota-list-client.key"


def _request(fleet: Fleet, port: int, messages: list[str], *keys: str, timeout_s: float = 10) -> list[str]:
    """Send messages from another host over one connection; return the responses."""
    script = shlex.quote((Path(__file__).parent / "on_hosts" / "list_requests.py").read_text(encoding="utf-8"))
    words = shlex.join([f"{fleet.list_server.address}:{port}", str(timeout_s), *keys])
    lines = shlex.quote("\n".join(messages))
    output = fleet.list_client.run(f"echo {lines} | timeout 180 /opt/frota/current/bin/python -c {script} {words}")
    return output.splitlines()


def _server_key(fleet: Fleet) -> str:
    settings = fleet.list_client.run("cat /etc/frota/frota-list-client.env")
    return str(re.findall(r'SERVER_KEY="(\w+)"', settings)[0])


def test_list_commands_need_no_options(fleet: Fleet) -> None:
    """What one host appends another one sees, without options for server or keys."""
    cleared = json.loads(fleet.list_client.run_as_admin(f"frota list clear --list {_OWN} --json"))
    fleet.list_client.run_as_admin(f"frota list append --list {_OWN} 'a b' ç")
    fleet.list_server.run_as_admin(f"frota list insert --list {_OWN} -1 meio")
    content = json.loads(fleet.list_client.run_as_admin(f"frota list show --list {_OWN} --json"))
    fleet.list_client.run_as_admin(f"frota list clear --list {_OWN}")
    assert content["elements"] == ["a b", "meio", "ç"]
    assert (content["list"], content["length"], content["version"]) == (_OWN, 3, cleared["version"] + 3)


def test_watch_shows_changes_of_other_hosts(fleet: Fleet) -> None:
    """`frota list watch` shows a change that another host makes."""
    fleet.list_server.run_as_admin(f"frota list append --list {_OWN} antes")
    with fleet.list_client.start(f"timeout 180 frota list watch --list {_OWN} --last 1 --json") as watching:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        fleet.list_server.run_as_admin(f"frota list append --list {_OWN} depois")
        change = json.loads(watching.stdout.readline())
        watching.kill()
    fleet.list_server.run_as_admin(f"frota list clear --list {_OWN}")
    assert (change["version"], change["op"], change["value"]) == (first["version"] + 1, "append", "depois")


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
    responses = _request(fleet, fleet.clear_port, ["limpar", *commands, "mostrar"])
    if before:
        fleet.list_client.run_as_admin(f"printf %s {shlex.quote(before)} | frota list append -")
    assert responses[0] == "Lista limpa."
    assert responses[8:] == [
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
    malformed = [
        "append",
        "insert x y",
        "",
        "nada",
        "{",
        '{"op": 7}',
        '{"op": "insert", "position": "x", "value": "y"}',
        "{}" * 9,
    ]
    responses = _request(fleet, fleet.list_port, [*malformed, "pesquisar nada"], _KEY, _server_key(fleet))
    assert len(responses) == len(malformed) + 1
    assert responses[-1] in ("Encontrado", "Não encontrado")
    assert [
        text for text in responses[:-1] if "Comando inválido" not in text and "Posição inválida: x" not in text
    ] == []
    assert fleet.restarted_since(before) == set()


def test_unknown_key(fleet: Fleet, start: float) -> None:
    """A key that is not on the allow-list gets no response, and the journal names it."""
    key, *responses = _request(fleet, fleet.list_port, ["mostrar"], "new", _server_key(fleet), timeout_s=2)
    assert responses == ["no response"]
    record = fleet.list_server.wait_for_record("FROTA_EVENT=client_rejected", f"KEY={key}", since=start)
    assert record["PRIORITY"] == "4"


def test_clear_text_on_the_curve_port(fleet: Fleet) -> None:
    """A client without a key gets no response on the port that requires keys."""
    assert _request(fleet, fleet.list_port, ["mostrar"], timeout_s=2) == ["no response"]


def test_list_trace(fleet: Fleet, start: float) -> None:
    """The journal has a request and its response under the trace id of its sender."""
    trace = secrets.token_hex(16)
    context = f"TRACEPARENT=00-{trace}-{secrets.token_hex(8)}-01"
    fleet.list_client.run_as_admin(f"{context} frota list append --list {_OWN} x")
    fleet.list_server.wait_for_record(f"TRACE_ID={trace}", "FROTA_EVENT=response", since=start)
    records = fleet.list_server.journal(f"TRACE_ID={trace}")
    fleet.list_client.run_as_admin(f"frota list clear --list {_OWN}")
    assert [record["FROTA_EVENT"] for record in records] == ["request", "response"]
    expected = {
        "FROTA_SYSTEM": "list",
        "LIST": _OWN,
        "CLIENT": fleet.list_client.name,
        "PEER": fleet.list_client.address,
    }
    assert [{name: record[name] for name in expected} for record in records] == [expected, expected]
