"""The stream of events: what viewers get, their filters and limits, and untrusted texts."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import prometheus as exposition
from support import reserved_port, until
from support.dashboard import TRACE, DashboardServer, Journals, Prometheus, dashboard

ATTACKS = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    'a\nevent: state\ndata: {"parts":{}}\n\n',
    "a\r\n\r\ndata: x",
    "\u2028\u2029\x00\x1b[2J",
    'FROTA_EVENT=forged\nTRACE_ID=x"',
    "{{7*7}} ${7*7} javascript:alert(1)",
]


@pytest.fixture
def journals(tmp_path: Path) -> Journals:
    return Journals(tmp_path)


@pytest.fixture
def server(tmp_path: Path, journals: Journals) -> Iterator[DashboardServer]:
    with dashboard(tmp_path, login=False, env=journals.environ) as running:
        yield running


def test_state_comes_first(server: DashboardServer) -> None:
    """A viewer first learns which parts are configured; it is a stream of Server-Sent Events."""
    with server.browser().events() as events:
        assert events.media_type.startswith("text/event-stream")
        parts = events.next("state")["parts"]
    assert parts["journals"]["state"] == "ok"
    assert {parts[name]["state"] for name in ("prometheus", "sensors", "images", "list", "cpu", "peers")} == {
        "not configured"
    }


def test_without_journals_the_page_works(tmp_path: Path) -> None:
    """Without collected journals and without Prometheus the stream says so, and a trace is refused with the reason."""
    with dashboard(tmp_path, "--prometheus", "http://127.0.0.1:1", login=False) as server:
        browser = server.browser()
        with browser.events("journal", "fleet") as events:
            seen = events.until("state", lambda state: _all_unavailable(state, "journals", "prometheus"))
        assert seen["parts"]["journals"]["reason"] == "no journals are collected here yet"
        assert "no Prometheus at http://127.0.0.1:1" in seen["parts"]["prometheus"]["reason"]
        assert "no journals are collected here" in browser.get(f"/api/trace/{TRACE}").json["error"]
        server.wait_for("prometheus: no Prometheus at")


def _all_unavailable(state: Any, *names: str) -> bool:
    return all(state["parts"][name]["state"] == "unavailable" for name in names)


def test_records_arrive_live(server: DashboardServer, journals: Journals) -> None:
    """A viewer gets the last records, then new ones."""
    journals.write("before", FROTA_EVENT="reading")
    with server.browser().events("journal") as events:
        _messages(events, {"before"})
        journals.write("after")
        _messages(events, {"after"})


def test_rotated_and_new_files_are_followed(server: DashboardServer, journals: Journals) -> None:
    """Records of a file that replaces a rotated one, and of a host that is new, arrive too."""
    journals.write("first")
    with server.browser().events("journal") as events:
        _messages(events, {"first"})
        journals.rotate()
        journals.write("after the rotation")
        _messages(events, {"after the rotation"})
        record = json.dumps({"__REALTIME_TIMESTAMP": "1", "MESSAGE": "of a new host"})
        (journals.folder / "remote-new.journal").write_text(f"{record}\n")
        _messages(events, {"of a new host"})


def test_records_are_filtered_by_viewer(server: DashboardServer, journals: Journals) -> None:
    """Each viewer gets what its own filter selects."""
    with (
        server.browser().events("journal", host="web-1") as one,
        server.browser().events("journal", priority="4", text="DISK") as other,
    ):
        journals.write("the disk is fine")
        journals.write("a", _HOSTNAME="web-1")
        journals.write("the disk is full", PRIORITY="3")
        journals.write("b", _HOSTNAME="web-1")
        assert _messages(one, {"a", "b"}) == ["a", "b"]
        assert _messages(other, {"the disk is full"}) == ["the disk is full"]


def test_trace_is_found_and_followed(server: DashboardServer, journals: Journals) -> None:
    """A trace has its records of all hosts in their order, and further ones arrive live."""
    journals.write("sent", TRACE_ID=TRACE, _HOSTNAME="list-client")
    journals.write("of another trace", TRACE_ID="a" * 32)
    journals.write("a batch", TRACE_ID=[TRACE, "b" * 32], _HOSTNAME="image-producer")
    browser = server.browser()
    found = browser.get(f"/api/trace/{TRACE}").json
    assert [(record["host"], record["message"]) for record in found["records"]] == [
        ("list-client", "sent"),
        ("image-producer", "a batch"),
    ]
    with browser.events("journal", trace=TRACE) as events:
        _messages(events, {"a batch"})
        journals.write("done", TRACE_ID=TRACE)
        assert _messages(events, {"done"}) == ["done"]


@pytest.mark.parametrize("text", ATTACKS)
def test_untrusted_record_stays_one_text(server: DashboardServer, journals: Journals, text: str) -> None:
    """Whatever a record has in its fields arrives as that text, in one event, and nowhere else."""
    fields = dict.fromkeys(("_HOSTNAME", "SYSLOG_IDENTIFIER", "FROTA_EVENT", "PEER"), text)
    with server.browser().events("journal") as events:
        assert events.next("journal")["first"]
        journals.write(text, **fields)
        record = events.until("journal", lambda content: content["records"])["records"][0]
    assert {record[name] for name in ("message", "host", "unit", "event", "peer")} == {text}
    assert record["priority"] == 6
    assert "traces" not in record


@pytest.mark.parametrize("query", ["priority=8", "priority=", "priority=-1", "priority=7%0a"])
def test_malformed_filter_is_rejected(server: DashboardServer, query: str) -> None:
    """A malformed filter is rejected with what is valid."""
    answer = server.browser().get(f"/events?topics=journal&{query}")
    assert answer.status == 400
    assert answer.json["error"] == "priority must be from 0 to 7"


def test_too_many_records_are_counted(server: DashboardServer, journals: Journals) -> None:
    """Of a flood a viewer gets a part, and the number of those left out."""
    with server.browser().events("journal") as events:
        assert events.next("journal")["first"]
        for number in range(5000):
            journals.write(f"record {number}")
        received = skipped = 0
        while received + skipped < 5000:
            content = events.next("journal")
            received += len(content["records"])
            skipped += content["skipped"]
    assert skipped > 0
    assert received + skipped == 5000


def test_viewers_are_limited(tmp_path: Path) -> None:
    """One page too many is refused with the reason, and admitted once another one is closed."""
    with reserved_port() as port, dashboard(tmp_path, "--viewers", 3, "--metrics-port", port, login=False) as server:
        browser = server.browser()
        open_ = [browser.events("fleet") for _ in range(3)]
        with browser.events("fleet") as refused:
            assert refused.status == 503
            assert refused.error == "3 pages are open, which is the limit: close some"
        assert browser.get("/api/session").status == 200
        open_.pop().close()

        def admitted() -> bool:
            with browser.events("fleet") as events:
                return events.status == 200

        until(admitted, "no page is admitted")
        values = exposition.scrape(port)
        assert values["frota_dashboard_viewers_rejected_total"] >= 1
        assert values["frota_dashboard_max_viewers"] == 3
        for events in open_:
            events.close()


def test_viewer_that_does_not_read_is_disconnected(tmp_path: Path, journals: Journals) -> None:
    """A page that does not read is disconnected, and the others get every event."""
    with (
        reserved_port() as port,
        dashboard(tmp_path, "--metrics-port", port, login=False, env=journals.environ) as server,
        server.browser().events("journal") as reading,
    ):
        slow = [server.browser().events("journal") for _ in range(2)]
        number = 0

        def disconnected() -> bool:
            nonlocal number
            for _ in range(100):
                number += 1
                journals.write(f"{number} " + "x" * 3900)
            reading.until("journal", lambda content: content["records"])
            return exposition.scrape(port)["frota_dashboard_viewers_slow_total"] == 2

        until(disconnected, "the slow viewers are still connected")
        for events in slow:
            events.close()


def test_logout_ends_the_streams_of_the_session(tmp_path: Path) -> None:
    """A stream gets nothing more after the logout of its session."""
    with dashboard(tmp_path) as server:
        viewer = server.browser().login("vera")
        with viewer.events() as events:
            assert events.next("state")
            assert viewer.post("/api/logout", {}).status == 200
            with viewer.events() as refused:
                assert refused.status == 401


def test_fleet_from_prometheus(tmp_path: Path) -> None:
    """Hosts, units, alerts and the pipeline are those of Prometheus; changes arrive."""
    prometheus = Prometheus()
    try:
        unit = {"host": "list-server", "unit": "frota-list-server", "system": "list"}
        prometheus.add("up", 1, **unit)
        prometheus.add("process_start_time_seconds", 1790000000, **unit)
        prometheus.add("process_resident_memory_bytes", 5e7, **unit)
        prometheus.add("frota_build_info", 1, version="0.1.0", **unit)
        prometheus.add("rabbitmq_queue_messages_ready", 7, queue="images")
        prometheus.add("rabbitmq_queue_messages_ready", 2, queue="images.dead")
        prometheus.add("frota_images_worker_images_in_flight", 3, host="image-worker-1", instance="x:1")
        prometheus.add("ALERTS", 1, alertname="UnitDown", alertstate="firing", host="web-1")
        prometheus.add("ALERTS", 1, alertname="Later", alertstate="pending", host="web-1")
        with (
            dashboard(tmp_path, "--prometheus", prometheus.url, login=False) as server,
            server.browser().events("fleet") as events,
        ):
            fleet = events.next("fleet")
            assert fleet["hosts"] == {
                "list-server": {
                    "frota-list-server": {
                        "system": "list", "state": "up", "since": 1790000000, "memory": 50_000_000, "release": "0.1.0",
                    }
                }
            }  # fmt: skip
            assert [alert["alertname"] for alert in fleet["alerts"]] == ["UnitDown"]
            pipeline = fleet["pipeline"]
            assert (pipeline["queue"], pipeline["dead"]) == (7, 2)
            assert pipeline["workers"] == {"image-worker-1 x:1": {"working": 3}}
            prometheus.series[0] = (prometheus.series[0][0], 0)
            down = events.next("fleet")
            assert down["hosts"]["list-server"]["frota-list-server"]["state"] == "down"
    finally:
        prometheus.close()


def test_prometheus_is_asked_once_for_all_viewers(tmp_path: Path) -> None:
    """Ten viewers cause no more queries than one."""
    prometheus = Prometheus()
    try:
        with dashboard(tmp_path, "--prometheus", prometheus.url, login=False) as server:
            viewers = [server.browser().events("fleet") for _ in range(10)]
            until(lambda: len(prometheus.queries) == 2, "no second query")
            for events in viewers:
                assert events.next("fleet")["hosts"] == {}
                events.close()
            assert len(prometheus.queries) <= 3
    finally:
        prometheus.close()


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"status":"error","error":"bad"}', b'{"status":"success"}', b"null"]
)
def test_another_server_than_prometheus(tmp_path: Path, body: bytes) -> None:
    """What does not answer as Prometheus does makes the part unavailable, with the reason."""
    prometheus = Prometheus()
    prometheus.broken = body
    try:
        with (
            dashboard(tmp_path, "--prometheus", prometheus.url, login=False) as server,
            server.browser().events("fleet") as events,
        ):
            state = events.until("state", lambda state: _all_unavailable(state, "prometheus"))
        assert re.search("does not answer as Prometheus|bad", state["parts"]["prometheus"]["reason"])
    finally:
        prometheus.close()


def _messages(events: Any, wanted: set[str]) -> list[str]:
    """Read records until all that are wanted have arrived; return all that did."""
    messages: list[str] = []
    while not wanted <= set(messages):
        messages += [record["message"] for record in events.next("journal")["records"]]
    return messages
