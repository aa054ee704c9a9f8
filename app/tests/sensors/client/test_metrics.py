"""The sensor client's metrics."""

from pathlib import Path

from support import Server, reserved_port, start_frota, until
from support.prometheus import get, scrape


def test_metrics_of_a_client(running: Server, tmp_path: Path) -> None:
    """Readings, deliveries, the spool and the connection are shown, also while there is no server."""
    with reserved_port() as port:
        words = ["sensors", "simulate", "temperature", "--port", running.port, "--state-dir", tmp_path / "client"]
        more = ["--interval", 0.01, "--spool-limit", 5, "--metrics-port", port]
        client = start_frota(*words, *more)
        until(lambda: scrape(port)["frota_sensors_client_readings_delivered_total"] > 3, "nothing is delivered")
        assert scrape(port)["frota_sensors_client_connected"] == 1
        running.stop()
        until(lambda: scrape(port)["frota_sensors_client_readings_dropped_total"] > 3, "nothing is dropped")
        samples = scrape(port)
        assert get(port, "/healthz").content == "ok\n"
        client.terminate()
        assert client.wait() == 0
    assert samples["frota_sensors_client_connected"] == 0
    assert samples["frota_sensors_client_connections_failed_total"] >= 1
    assert samples["frota_sensors_client_spool_readings"] == 5
    assert samples["frota_sensors_client_readings_total"] > samples["frota_sensors_client_readings_delivered_total"]
