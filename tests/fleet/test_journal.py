"""Journals: records have fields and priorities, users can read them, and input cannot forge them."""

import time

from .fleet import Fleet


def test_server_journal(fleet: Fleet, start: float) -> None:
    """The server's journal has every reading with its fields."""
    unit = "frota-sensor-server.service"
    record = fleet.server.wait_for_record(f"--unit={unit}", "SENSOR=Sensor1", since=start)
    assert record["MESSAGE"].startswith("Recebido de ('")
    expected = {"PRIORITY": "6", "_SYSTEMD_UNIT": unit, "FROTA_SYSTEM": "sensors", "FROTA_EVENT": "reading"}
    assert {name: record[name] for name in expected} == expected
    assert record["SYSLOG_IDENTIFIER"] == "frota-sensor-server"
    assert record["PEER"].rpartition(":")[0] in {host.address for host in fleet.sensors}


def test_users_read_the_journal(fleet: Fleet) -> None:
    """Users of a host can read the journal of every unit."""
    for host in fleet.hosts:
        for unit in host.services():
            assert host.run_as_admin(f"journalctl --lines=1 --output=cat --unit={unit}").strip(), f"{host.name}: {unit}"


def test_client_journal(fleet: Fleet, start: float) -> None:
    """The sensor's journal has what it sent and the response."""
    unit = "--unit=frota-sensor-client@temperature.service"
    records = {"reading_sent": "Enviado: Sensor1 - ", "response": "Resposta: Dados recebidos com sucesso."}
    for event, text in records.items():
        record = fleet.sensors[0].wait_for_record(unit, f"FROTA_EVENT={event}", since=start)
        assert record["MESSAGE"].startswith(text)
        assert record["SENSOR"] == "Sensor1"


def test_failed_connection_is_a_warning(fleet: Fleet, start: float) -> None:
    """A failed connection is logged as a warning with the address of the client."""
    with fleet.sensors[0].connect(fleet.server.address, fleet.port) as connection:
        connection.exchange(b"GET / HTTP/1.1\r\n\r\n")
    record = fleet.server.wait_for_record("--priority=warning", "FROTA_EVENT=connection_failed", since=start)
    assert record["PRIORITY"] == "4"
    assert record["PEER"].startswith(f"{fleet.sensors[0].address}:")


def test_input_cannot_forge_records(fleet: Fleet, start: float) -> None:
    """Input of a client never becomes a field or a record of its own."""
    marker = f"forged{time.time_ns()}"
    lines = (
        f"{marker}\x1b[2J\rFROTA_FORGED={marker}\u2028PRIORITY=0\nFROTA_FORGED={marker}\nMESSAGE={marker}\n".encode()
    )
    with fleet.sensors[0].connect(fleet.server.address, fleet.port) as connection:
        connection.exchange(lines)
    record = fleet.server.wait_for_record("FROTA_EVENT=connection_failed", f"--grep={marker}", since=start)
    # The journal returns text with control characters as a list of bytes.
    assert isinstance(record["MESSAGE"], str)
    assert record["MESSAGE"].isprintable()
    assert fleet.server.journal(f"FROTA_FORGED={marker}") == []
    assert fleet.server.journal(f"MESSAGE={marker}") == []
    assert fleet.server.journal(f"--since=@{start:.6f}", "--priority=emerg", "--unit=frota-sensor-server") == []
