"""The page as a person sees it, in a real Chromium: what they do, what they see, and whether everybody can (axe)."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect, sync_playwright

from support import TIMEOUT_S, Server, server
from support.dashboard import PASSWORD, TRACE, DashboardServer, Journals, Prometheus, dashboard
from support.fake_producer import FakeProducer
from support.metrics import MetricsServer, metrics_server
from support.peers import PeersServer, peers_server
from support.pictures import encode, photo
from support.zmq_server import ListServer, list_server

_ROOT = Path(__file__).parents[4]
_AXE = _ROOT / "app" / "dashboard" / "built" / "axe.min.js"
_SHOTS = _ROOT / ".local" / "screenshots"
_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
_MISSING = [
    *(["Chromium is not installed (Debian's package chromium)"] if not _CHROMIUM else ()),
    *(["the page is not built (make venv)"] if not _AXE.exists() else ()),
]
pytestmark = [
    pytest.mark.skipif(bool(_MISSING) and not os.environ.get("REQUIRE_CHROMIUM"), reason="; ".join(_MISSING)),
    pytest.mark.xdist_group("chromium"),
]
VIEWS = ("overview", "sensors", "images", "list", "cpu", "peers", "journal", f"trace/{TRACE}")
ATTACK = "<img src=x onerror=\"document.title='stolen'\"><script>document.title='stolen'</script>"
MAX_TRANSFER_BYTES = 300_000


class Fleet(NamedTuple):
    """A small fleet of real servers, and the dashboard that shows it."""

    dashboard: DashboardServer
    sensors: Server
    list: ListServer
    cpu: MetricsServer
    peers: PeersServer
    producer: FakeProducer
    prometheus: Prometheus
    journals: Journals


@contextmanager
def _fleet(folder: Path) -> Iterator[Fleet]:
    folders = {name: folder / name for name in ("sensors", "list", "cpu", "peers", "dashboard")}
    for one in folders.values():
        one.mkdir()
    producer, prometheus, journals = FakeProducer(), Prometheus(), Journals(folder)
    producer.start()
    try:
        with (
            server(folders["sensors"]) as sensors,
            list_server(folders["list"]) as lists,
            metrics_server(folders["cpu"]) as cpu,
            peers_server(folders["peers"]) as peers,
            dashboard(
                folders["dashboard"], "--journal-dir", journals.folder, "--prometheus", prometheus.url,
                "--sensors", f"127.0.0.1:{sensors.port}", "--list", f"127.0.0.1:{lists.port}",
                "--cpu", f"127.0.0.1:{cpu.port}", "--peers", f"127.0.0.1:{peers.port}",
                "--images", f"127.0.0.1:{producer.port}", env=journals.environ,
            ) as page,
        ):  # fmt: skip
            assert isinstance(lists, ListServer)
            yield Fleet(page, sensors, lists, cpu, peers, producer, prometheus, journals)
    finally:
        producer.end()
        prometheus.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with _fleet(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_FLAGS)
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(chromium: Chromium, fleet: Fleet) -> Iterator[Open]:
    """Return a function that opens the page in a browser of its own; anything on its console fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_one(user: str = "olga", **options: Any) -> Page:
        context = chromium.new_context(**{"locale": "en-US", "viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_S * 1000)
        expect.set_options(timeout=TIMEOUT_S * 1000)
        page.on("console", lambda message: _note(complaints, message.type, message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"http://localhost:{fleet.dashboard.port}/")
        page.locator("input[name=name]").fill(user)
        page.locator("input[name=password]").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.locator("header.bar").wait_for()
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


def _note(complaints: list[str], kind: str, text: str) -> None:
    if kind in ("error", "warning") and not text.startswith("Failed to load resource"):  # a stop, or no result
        complaints.append(text)


def _show(page: Page, view: str) -> None:
    page.evaluate("view => { location.hash = '#/' + view }", view)
    page.locator("main h1").first.wait_for()


def _violations(page: Page) -> list[tuple[str, Any]]:
    """Return the violations that axe finds."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(_AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("() => axe.run()")
    assert len(found["passes"]) > 10
    return [(one["id"], [node["target"] for node in one["nodes"]]) for one in found["violations"]]


def _shot(page: Page, name: str) -> None:
    _SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=_SHOTS / f"{name}.png")


def _fill(fleet: Fleet) -> None:
    """Have something to see in every view."""
    unit = {"host": "list-server", "unit": "frota-list-server", "system": "list"}
    fleet.prometheus.add("up", 1, **unit)
    fleet.prometheus.add("up", 0, host="image-worker-1", unit="frota-image-worker", system="images")
    fleet.prometheus.add("rabbitmq_queue_messages_ready", 4, queue="images")
    fleet.prometheus.add(
        "ALERTS", 1, alertname="UnitDown", alertstate="firing", severity="critical", host="image-worker-1"
    )
    fleet.sensors.request("Sensor1 - Temperatura: 25.5°C\n".encode())
    fleet.sensors.request("Sensor1 - Temperatura: 99.5°C\n".encode())
    fleet.list.native("append", value="pão de queijo")
    fleet.journals.write("reading 25.5", TRACE_ID=TRACE, FROTA_EVENT="reading", DURATION_MS="3")
    fleet.journals.write("the broker is away", PRIORITY="3", _HOSTNAME="image-worker-1", TRACE_ID=TRACE)
    fleet.journals.write("low memory", PRIORITY="4", _HOSTNAME="broker", SYSLOG_IDENTIFIER="rabbitmq-server")
    with fleet.cpu.agent() as agent:
        agent.send(1)
        agent.wait(1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("light", {"color_scheme": "light"}),
        ("dark-pt", {"color_scheme": "dark", "locale": "pt-BR"}),
        ("phone", {"viewport": {"width": 390, "height": 844}, "has_touch": True}),
    ],
)
def test_every_view_is_accessible(open_page: Open, fleet: Fleet, name: str, options: dict[str, Any]) -> None:
    """axe finds no violation in any view, light and dark, in both languages, and no view is wider than a phone."""
    _fill(fleet)
    page = open_page(**options)
    for view in VIEWS:
        _show(page, view)
        page.locator(_FIRST[view.partition("/")[0]]).first.wait_for()
        _shot(page, f"{view.partition('/')[0]}-{name}")
        assert _violations(page) == [], view
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), view
    assert page.evaluate("() => document.documentElement.lang") == options.get("locale", "en")


# What is seen in a view once its data have arrived.
_FIRST = {
    "overview": "li.host.bad", "sensors": "section.sensor canvas", "images": "svg.flow", "list": "ol.elements li",
    "cpu": ".heat canvas", "peers": "svg.graph", "journal": "li.record", "trace": "ol.timeline li",
}  # fmt: skip


def test_login_page_is_accessible(chromium: Chromium, fleet: Fleet) -> None:
    """The login has no violation, and a wrong password is answered in words."""
    page = chromium.new_page(locale="pt-BR")
    page.goto(f"http://localhost:{fleet.dashboard.port}/")
    page.get_by_label("Nome").fill("olga")
    page.get_by_label("Senha").fill("wrong password")
    page.get_by_role("button", name="Entrar").click()
    expect(page.get_by_role("alert")).to_have_text("the name or the password is wrong")
    _shot(page, "login")
    assert _violations(page) == []
    page.close()


def test_little_is_transferred_and_nothing_from_elsewhere(open_page: Open, fleet: Fleet) -> None:
    """The page takes less than 300 KB in all, from this server alone."""
    page = open_page()
    page.wait_for_load_state("load")
    entries = json.loads(page.evaluate("() => JSON.stringify(performance.getEntriesByType('resource'))"))
    entries += json.loads(page.evaluate("() => JSON.stringify(performance.getEntriesByType('navigation'))"))
    assert {entry["name"].split("/")[2] for entry in entries} == {f"localhost:{fleet.dashboard.port}"}
    assert 0 < sum(entry["transferSize"] for entry in entries) < MAX_TRANSFER_BYTES


def test_two_browsers_see_each_others_changes(open_page: Open) -> None:
    """An operator appends by keyboard alone, a viewer sees it live, and the viewer has no buttons for it."""
    operator, viewer = open_page(), open_page("vera")
    for page in (operator, viewer):
        _show(page, "list")
    operator.get_by_label("Element").focus()
    operator.keyboard.type("pão")
    operator.keyboard.press("Enter")
    expect(viewer.locator("ol.elements")).to_contain_text("pão")
    operator.get_by_label("Element").fill("café")
    operator.get_by_label("Position").fill("0")
    operator.get_by_role("button", name="Insert").click()
    expect(viewer.locator("ol.elements li").first).to_contain_text("café")
    operator.get_by_role("button", name="Remove pão").click()
    expect(viewer.locator("ol.elements li")).to_have_count(1)
    expect(viewer.locator("ol.changes li")).to_have_count(3)
    assert viewer.get_by_role("button", name="Remove café").count() == 0


def test_image_is_dropped_and_followed(open_page: Open, fleet: Fleet) -> None:
    """An operator sends an image; its state, its trace and its picture before the conversion are shown."""
    page = open_page()
    _show(page, "images")
    data = encode(photo(), "PNG")
    page.locator("input[type=file]").set_input_files({"name": "férias.png", "mimeType": "image/png", "buffer": data})
    expect(page.locator("li.image")).to_contain_text("férias.png")
    expect(page.locator("li.image")).to_contain_text("done")
    expect(page.locator("li.image img").first).to_have_js_property("complete", True)
    trace = page.locator("li.image a.mono").inner_text()
    fleet.journals.write("taken from the queue", TRACE_ID=trace, _HOSTNAME="image-worker-1")
    expect(page.locator("li.image ol.timeline")).to_contain_text("taken from the queue")
    _shot(page, "images-sent")
    assert _violations(page) == []


def test_drop_sends_a_file(open_page: Open, fleet: Fleet) -> None:
    """A file that is dropped on the page is sent."""
    page = open_page()
    _show(page, "images")
    transfer = page.evaluate_handle(
        "() => { const all = new DataTransfer(); all.items.add(new File(['x'], 'a.png')); return all }"
    )
    page.locator(".drop").dispatch_event("drop", {"dataTransfer": transfer})
    expect(page.locator("li.image")).to_contain_text("a.png")
    expect(page.locator("li.image")).to_contain_text("done")
    assert [image.filename for image in fleet.producer.received] == ["a.png"]


def test_journals_are_filtered_live(open_page: Open, fleet: Fleet) -> None:
    """A person narrows the journals by host and text, pauses, follows again, and opens a trace."""
    _fill(fleet)
    page = open_page()
    _show(page, "journal")
    expect(page.locator("li.record")).to_have_count(3)
    page.get_by_label("Host").select_option("broker")
    expect(page.locator("li.record")).to_have_count(1)
    page.get_by_label("Host").select_option("")
    page.get_by_label("Text").fill("READING")
    expect(page.locator("li.record")).to_have_count(1)
    fleet.journals.write("another reading")
    expect(page.locator("li.record")).to_have_count(2)
    page.get_by_role("button", name="Pause").click()
    fleet.journals.write("a third reading")
    page.get_by_role("button", name="Follow").click()
    expect(page.locator("li.record")).to_have_count(3)
    page.locator("li.record a").first.click()
    expect(page.locator("ol.timeline li")).to_have_count(2)


def test_readings_and_peers_are_live(open_page: Open, fleet: Fleet) -> None:
    """A reading changes its sensor's card, and a lost server is said in a banner until it is back."""
    page = open_page()
    _show(page, "sensors")
    fleet.sensors.request("Sensor1 - Temperatura: 25.5°C\n".encode())
    expect(page.locator("section.sensor")).to_contain_text("25.50 °C")
    expect(page.locator("section.sensor")).to_contain_text("in range")
    fleet.sensors.request("Sensor1 - Temperatura: 99.5°C\n".encode())
    expect(page.locator("section.sensor")).to_contain_text("out of range")
    fleet.sensors.stop()
    expect(page.locator(".banner.warn")).to_contain_text("Sensors is unavailable")
    fleet.sensors.start()
    expect(page.locator(".banner.warn")).to_have_count(0)


def test_untrusted_texts_stay_texts(open_page: Open, fleet: Fleet) -> None:
    """What is forged in journals, lists, sensors, file names and labels is shown as text, and nothing of it runs."""
    fields = dict.fromkeys(("_HOSTNAME", "SYSLOG_IDENTIFIER", "FROTA_EVENT", "PEER"), ATTACK)
    fleet.journals.write(ATTACK, TRACE_ID=TRACE, **fields)
    fleet.list.native("append", value=ATTACK)
    fleet.prometheus.add("up", 1, host=ATTACK, unit=ATTACK, system=ATTACK, version=ATTACK)
    fleet.prometheus.add("ALERTS", 1, alertname=ATTACK, alertstate="firing", host=ATTACK)
    page = open_page()
    _show(page, "images")
    page.locator("input[type=file]").set_input_files({"name": "<b>x<b>.png", "mimeType": "image/png", "buffer": b"x"})
    expect(page.locator("li.image")).to_contain_text("<b>x<b>.png")
    for view, place in {
        "journal": "li.record", "list": "ol.elements", "overview": "li.host", f"trace/{TRACE}": "ol.timeline",
    }.items():  # fmt: skip
        _show(page, view)
        expect(page.locator(place).first).to_contain_text("<img src=x onerror=")
        assert page.locator("main img[src=x], main script, main b b").count() == 0
        assert "stolen" not in page.title()
    expect(page.locator(".banner.warn, .banner.bad").first).to_contain_text("<script>")


def test_keyboard_alone(open_page: Open) -> None:
    """Every view is reached by the keyboard, whose focus can be seen."""
    page = open_page()
    page.reload()
    page.locator("header.bar").wait_for()
    page.keyboard.press("Tab")
    expect(page.locator("a.skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main#content")).to_be_focused()
    page.get_by_role("link", name="Sensors").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sensors")
    page.get_by_role("button", name="Mudar para português").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sensores")
    outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_refusal_is_said_in_the_page(open_page: Open, fleet: Fleet) -> None:
    """When the service stops, the page says so, and goes on by itself when it is back; the login is needed again."""
    page = open_page()
    fleet.dashboard.stop()
    expect(page.locator(".banner.bad")).to_contain_text("No connection to the dashboard")
    fleet.dashboard.start()
    page.locator("input[name=name]").wait_for()
