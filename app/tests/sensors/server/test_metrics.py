"""The sensor server's metrics."""

import socket
from pathlib import Path

from support import LINE, READING, RESPONSE, reserved_port, server, until
from support.prometheus import get, scrape


def test_metrics_count_what_happens(tmp_path: Path) -> None:
    """Readings, rejections, connections, commits and sensors are counted, under names that Prometheus accepts."""
    flags = ("--max-connections", 2, "--stale-after", 0.2, "--idle-timeout", 1)
    with reserved_port() as port, server(tmp_path, "--metrics-port", port, *flags) as running:
        before = scrape(port)
        assert before["frota_sensors_readings_received_total"] == 0
        assert running.request(READING) == RESPONSE
        running.request(LINE * 2, b"Sensor2 - Umidade: 101%\n", b"nonsense\n")
        with running.connect(), running.connect(), running.connect() as third:
            assert third.recv(100)
        until(lambda: scrape(port)['frota_sensors_sensors{state="stale"}'] == 2, "no sensor is stale")
        with running.connect() as idle:
            assert idle.recv(1) == b""
        samples = scrape(port)
        assert get(port, "/healthz").content == "ok\n"
    assert samples["frota_sensors_readings_received_total"] == 4
    assert samples["frota_sensors_readings_out_of_range_total"] == 1
    assert samples["frota_sensors_messages_malformed_total"] == 1
    assert samples["frota_sensors_connections_accepted_total"] == 5
    assert samples["frota_sensors_connections_rejected_total"] == 1
    assert samples["frota_sensors_max_connections"] == 2
    assert samples['frota_sensors_connections_timed_out_total{timeout="idle"}'] == 1
    assert 0 < samples["frota_sensors_commits_total"] <= 4
    assert samples["frota_sensors_commit_seconds_total"] > 0
    assert samples["frota_sensors_log_bytes"] > before["frota_sensors_log_bytes"] > 0
    assert samples["frota_sensors_backlog_bytes"] == 0


def test_hostile_scrapers_do_not_delay_readings(tmp_path: Path) -> None:
    """Readings are answered while clients hold every connection for metrics, and open further ones."""
    with reserved_port() as port, server(tmp_path, "--metrics-port", port) as running:
        scrape(port)
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        idle[0].sendall(b"GET /metrics HTTP/1.1\r\n")
        assert [running.request(READING) for _ in range(20)] == [RESPONSE] * 20
        for connection in idle:
            connection.close()
        assert scrape(port)["frota_sensors_readings_received_total"] == 20
