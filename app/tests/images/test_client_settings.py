"""Addresses of the producer and the brokers, and the settings and errors of the clients."""

import re
import subprocess
from pathlib import Path

import pytest

from frota import cli
from frota.images import cli as images_cli
from frota.images import client_settings
from frota.images.settings import parse_brokers
from support import TIMEOUT_S, start_frota
from support.fake_producer import fake_producer
from support.images import CLEAN_ENVIRONMENT, run_images


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("h", "h:50051"),
        ("10.0.0.1:5", "10.0.0.1:5"),
        ("[::1]", "[::1]:50051"),
        ("[::1]:70", "[::1]:70"),
        ("::1", "[::1]:50051"),
        ("2001:db8::10.0.0.1", "[2001:db8::a00:1]:50051"),
        ("fe80::1%eth0", "[fe80::1%eth0]:50051"),
        ("[fe80::1%eth0]:7", "[fe80::1%eth0]:7"),
        ("ipv6:[::1]:70", "[::1]:70"),
        ("ipv6:%5B::1%5D:70", "[::1]:70"),
        ("ipv6:::1", "[::1]:50051"),
        ("ipv4:10.0.0.1:5", "10.0.0.1:5"),
        ("dns:///h:5", "h:5"),
    ],
)
def test_address_is_host_with_optional_port(text: str, address: str) -> None:
    """An address is HOST:PORT, or HOST with the default port."""
    assert client_settings.parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", ":5", "h:", "h:0", "h:65536", "::1:50051", "[::1]]:5", "a b:5", "unix:/tmp/x", "h:5:5", "h/x"]
)
def test_invalid_address_is_rejected(text: str) -> None:
    """An invalid address is rejected with the expected form."""
    with pytest.raises(ValueError, match="must be HOST:PORT"):
        client_settings.parse_address(text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--cert-file", "/x"], "IMAGES_KEY_FILE (--key-file): both, or neither"),
        (["--cert-file", "/x", "--key-file", "/x"], "IMAGES_CA_FILE (--ca-file) is missing"),
        (["--timeout", "0"], "--timeout '0': must be from 0.1"),
    ],
)
def test_invalid_settings_are_explained(words: list[str], text: str) -> None:
    """Unusable settings are rejected with the expected values."""
    result = run_images("send", "a.jpg", *words)
    assert result.status == 78
    assert text in result.err


def test_invalid_certificate_names_its_setting(tmp_path: Path) -> None:
    """An unusable certificate file is reported with its setting."""
    (tmp_path / "ca.crt").write_text("garbage")
    for file in ("ca.crt", "none.crt"):
        result = run_images("send", "a.jpg", "--ca-file", tmp_path / file)
        assert (result.status, f"IMAGES_CA_FILE='{tmp_path / file}': " in result.err) == (78, True)


def test_fleet_file_has_lowest_precedence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fleet's file has the lowest precedence of all sources."""
    file = tmp_path / "client.env"
    file.write_text("IMAGES_ADDRESS=10.0.0.9:50051\nIMAGES_TIMEOUT=7\n")
    monkeypatch.setattr(client_settings, "CLIENT_FILE", file)
    monkeypatch.setenv("IMAGES_TIMEOUT", "8")
    used: list[client_settings.ClientSettings] = []
    read = client_settings.read

    def spy(*arguments: object) -> client_settings.ClientSettings:
        used.append(read(*arguments))  # type: ignore[arg-type] # the arguments of the command
        return used[-1]

    monkeypatch.setattr(client_settings, "read", spy)
    assert cli.main(["images", "send", "a.jpg", "--check"]) == 0
    assert cli.main(["images", "send", "a.jpg", "10.0.0.1:5", "--check"]) == 0
    assert [(settings.address, settings.timeout) for settings in used] == [("10.0.0.9:50051", 8), ("10.0.0.1:5", 8)]
    file.write_text("IMAGES_ADDRESS=nonsense:\n")
    assert cli.main(["images", "send", "a.jpg", "--check"]) == 78
    assert f"{file}: IMAGES_ADDRESS='nonsense:'" in capsys.readouterr().err


def test_worker_needs_a_bucket() -> None:
    """A worker without a bucket is rejected, also by --check."""
    for words in ((), ("--check",)):
        result = run_images("work", *words)
        assert (result.status, "IMAGES_BUCKET" in result.err) == (78, True)


def test_legacy_environment_is_a_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The legacy worker's environment is used where our settings are absent."""
    from frota.images import cli as images_cli
    from frota.images.settings import WorkerSettings

    used: list[WorkerSettings] = []
    read = images_cli.worker_settings
    monkeypatch.setattr(images_cli, "worker_settings", lambda args: used.append(read(args)))
    monkeypatch.setenv("BUCKET_NAME", "legacy")
    for host, words in (("rabbit", []), ("rabbit:7", []), ("x", ["--bucket", "ours", "--brokers", "b:1"])):
        monkeypatch.setenv("RABBIT_HOST", host)
        assert cli.main(["images", "work", "--check", *words]) == 0
    assert [(settings.bucket, settings.brokers) for settings in used] == [
        ("legacy", (("rabbit", 5672),)),
        ("legacy", (("rabbit", 7),)),
        ("ours", (("b", 1),)),
    ]
    monkeypatch.setenv("RABBIT_HOST", "no host")
    assert cli.main(["images", "work", "--check"]) == 78


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["retry"], "which images: ID…, or --all"),
        (["drop", "--all", "a" * 32, "--yes"], "which images: ID…, or --all"),
        (["drop", "--all"], "give --yes"),
        (["retry", "abc"], "must be 32 hexadecimal digits"),
    ],
)
def test_ambiguous_dead_command_does_nothing(words: list[str], text: str) -> None:
    """An ambiguous command for dead letters does nothing."""
    result = run_images("dead", *words, "--brokers", "127.0.0.1:1")
    assert (result.status, text in result.err) == (2, True)


def test_unreachable_broker_is_one_line() -> None:
    """An unreachable broker is reported in one line."""
    result = run_images("dead", "list", "--brokers", "127.0.0.1:1")
    assert (result.status, result.err) == (1, "frota: no broker at 127.0.0.1:1: Connection refused\n")


@pytest.mark.parametrize(
    ("argument", "is_address"),
    [("h:5", True), ("[::1]:5", True), ("[::1]", True), ("::1", True), ("h", False), ("a.jpg", False), ("a:b", False)],
)
def test_last_argument_may_be_the_server(argument: str, is_address: bool) -> None:
    """The last argument is the server only if it is unmistakably an address."""
    assert client_settings.is_address(argument) is is_address


def start_producer(tmp_path: Path, host: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start a producer without a broker, and return it with the address that it logs."""
    words = ("--host", host, "--port", "0", "--brokers", "[::1]:1", "--state-dir", str(tmp_path / "state"))
    more = ("--security", "clear") if host in ("::", "[::]") else ()
    process = start_frota("images", "serve", *words, *more, stderr=-1, stdin=subprocess.DEVNULL, env=CLEAN_ENVIRONMENT)
    assert process.stderr
    for line in process.stderr:
        if match := re.search(rb"iniciado em (\S+:\d+)", line):
            return process, match[1].decode()
    raise AssertionError("the producer ended")


@pytest.mark.parametrize("host", ["::1", "[::1]", "::", "localhost"])
def test_producer_serves_ipv6(tmp_path: Path, host: str) -> None:
    """A producer listens on IPv6, and clients reach it."""
    process, address = start_producer(tmp_path, host)
    try:
        port = address.rpartition(":")[2]
        assert address == f"{'[' + host.strip('[]') + ']' if ':' in host else host}:{port}"
        targets = {"::": ("[::1]", "127.0.0.1", "localhost"), "localhost": ("localhost",)}.get(host, ("[::1]",))
        for target in targets:
            result = run_images("status", "a" * 32, "--address", f"{target}:{port}", "--timeout", "5")
            assert (result.status, "unknown" in result.out) == (1, True), result.err
    finally:
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0


def test_image_is_sent_over_ipv6() -> None:
    """An image is sent over IPv6, with the server as argument or as setting."""
    with fake_producer(host="[::1]") as server:
        for words in ((f"[::1]:{server.port}",), ("--address", f"[::1]:{server.port}"), (f"ipv6:[::1]:{server.port}",)):
            result = run_images("send", __file__, *words)
            assert result.status == 0, result.err
        assert {received.peer.partition(":")[0] for received in server.received} == {"ipv6"}


def test_unreachable_server_is_named() -> None:
    """An unreachable server is reported with its address."""
    result = run_images("send", __file__, "[::1]:1", "--timeout", "0.3")
    assert result.status == 1
    assert "[::1]:1" in result.err


@pytest.mark.parametrize(
    ("host", "broker"),
    [
        ("::1", ("::1", 5672)),
        ("[::1]", ("::1", 5672)),
        ("[::1]:7", ("::1", 7)),
        ("mq", ("mq", 5672)),
        ("mq:7", ("mq", 7)),
        ("10.0.0.1", ("10.0.0.1", 5672)),
    ],
)
def test_rabbit_host_may_be_ipv6(host: str, broker: tuple[str, int]) -> None:
    """RABBIT_HOST may be an IPv6 address."""
    assert parse_brokers(images_cli.with_port(host)) == (broker,)
