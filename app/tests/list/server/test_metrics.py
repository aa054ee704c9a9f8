"""The list server's metrics."""

import time
from pathlib import Path

from support import reserved_port, until
from support.prometheus import get, scrape
from support.zmq_server import list_server


def test_metrics_count_what_happens(tmp_path: Path) -> None:
    """Requests, changes, cached responses, rejections, lists and the disk are counted."""
    flags = ("--snapshot-bytes", 4096, "--max-connections", 50)
    with reserved_port() as port, list_server(tmp_path, "--metrics-port", port, *flags) as server:
        assert scrape(port)["frota_list_snapshot_timestamp_seconds"] == 0
        with server.raw_client() as requester:
            request = requester.next_id()
            for _ in range(3):
                requester.native("append", id=request, value="é")
            requester.native("remove", id=requester.next_id(), value="missing")
            requester.request(b"nonsense")
            requester.native("append", value="x" * 5000)
            requester.native("show")
            until(lambda: scrape(port)["frota_list_snapshot_timestamp_seconds"], "no snapshot")
            samples = scrape(port)
        assert get(port, "/healthz").content == "ok\n"
    assert samples["frota_list_requests_total"] == 7
    assert samples["frota_list_changes_total"] == 2
    assert samples["frota_list_cached_responses_total"] == 2
    assert samples["frota_list_cached_clients"] == 1
    assert samples['frota_list_requests_rejected_total{code="not_found"}'] == 1
    assert sum(value for name, value in samples.items() if "rejected_total{" in name) == 2
    assert samples["frota_list_lists"] == 1
    assert samples["frota_list_elements"] == 2
    assert samples["frota_list_elements_bytes"] == 5002
    assert 1 <= samples["frota_list_connections"] < 10
    assert samples["frota_list_max_connections"] == 50
    assert samples["frota_list_connections_paused"] == 0
    assert samples["frota_list_commits_total"] >= 2
    assert samples["frota_list_log_bytes"] > 0
    assert abs(samples["frota_list_snapshot_timestamp_seconds"] - time.time()) < 3600


def test_metrics_at_the_connection_limit(tmp_path: Path) -> None:
    """A server that lets further clients wait still answers a scrape."""
    with reserved_port() as port, list_server(tmp_path, "--metrics-port", port, "--max-connections", 3) as server:
        connections = [server.connect() for _ in range(6)]
        until(lambda: scrape(port)["frota_list_connections_paused"] == 1, "no client waits")
        for connection in connections:
            connection.close()
        until(lambda: scrape(port)["frota_list_connections_paused"] == 0, "clients still wait")


def test_metrics_of_lists_in_memory(tmp_path: Path) -> None:
    """A server without a disk has the same metrics."""
    with reserved_port() as port, list_server(tmp_path, "--metrics-port", port, "--durable", "no") as server:
        server.request("append x")
        samples = scrape(port)
    assert samples["frota_list_elements"] == 1
    assert samples["frota_list_log_bytes"] == 0
