"""Legacy sensor clients on other hosts: legacy responses, and rejection of malformed readings."""

import time

import pytest

from .fleet import Fleet

RESPONSE = b"Dados recebidos com sucesso."
_HTTP = b"GET / HTTP/1.1\r\nHost: sensor-server:5000\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n"


def _reading(value: int) -> bytes:
    """Return a reading that is unique in this test run."""
    return f"Aceite{time.time_ns()} - Teste: {value}.0%".encode()


def test_legacy_responses(fleet: Fleet) -> None:
    """A legacy client gets the legacy response to each reading, and not a byte more."""
    with fleet.sensors[0].connect(fleet.server.address, fleet.port) as connection:
        for value in range(3):
            connection.send(_reading(value))
            assert connection.receive(len(RESPONSE)) == RESPONSE
        assert connection.exchange(b"") == b""


def test_acknowledged_readings(fleet: Fleet, start: float) -> None:
    """An acknowledged reading is stored once, with the address of its host."""
    reading = _reading(1)
    with fleet.sensors[0].connect(fleet.server.address, fleet.port) as connection:
        assert connection.exchange(reading) == RESPONSE
    stored = [entry for entry in fleet.history(start) if entry["text"] == reading.decode()]
    assert [entry["peer"].rpartition(":")[0] for entry in stored] == [fleet.sensors[0].address]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(_HTTP, "Erro: isto não é um servidor HTTP", id="a browser"),
        pytest.param(b"x" * 3_000_000, "Erro: leitura longa demais", id="3 MB without an end"),
        pytest.param(b"\xff\xfe\x00\x01" * 100, "Erro: leitura não está em UTF-8", id="binary"),
        pytest.param(b"Sensor1 - Temperatura: muito\n", "Erro: leitura inválida", id="no number"),
    ],
)
def test_malformed_readings(fleet: Fleet, start: float, sent: bytes, reason: str) -> None:
    """A malformed reading is rejected with the reason and not stored, and the next client is served."""
    before, reading = fleet.invocations(), _reading(1)
    with fleet.sensors[0].connect(fleet.server.address, fleet.port) as invalid:
        answer = invalid.exchange(sent).decode()
    with fleet.sensors[0].connect(fleet.server.address, fleet.port) as valid:
        assert valid.exchange(reading) == RESPONSE
    assert reason in answer
    assert RESPONSE.decode() not in answer
    stored = [entry["text"] for entry in fleet.history(start) if not entry.get("client")]
    assert stored == [reading.decode()]
    assert fleet.restarted_since(before) == set()
