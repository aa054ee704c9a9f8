"""How people get to the producer and operators to the broker, and how commands of both are told so."""

from pathlib import Path

import pytest

from frota import cli
from frota.images import access
from images.images_support import images


@pytest.mark.parametrize(
    ("text", "address"),
    [("h", "h:50051"), ("10.0.0.1:5", "10.0.0.1:5"), ("[::1]", "[::1]:50051"), ("[::1]:70", "[::1]:70")],
)
def test_an_address_is_host_and_port_or_host_alone(text: str, address: str) -> None:
    assert access.parse_address(text) == address


@pytest.mark.parametrize("text", ["", ":5", "h:", "h:0", "h:65536", "::1", "a b:5", "unix:/tmp/x", "h:5:5", "h/x"])
def test_what_is_no_address_is_told_so(text: str) -> None:
    with pytest.raises(ValueError, match="must be HOST:PORT"):
        access.parse_address(text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--cert-file", "/x"], "IMAGES_KEY_FILE (--key-file): both, or neither"),
        (["--cert-file", "/x", "--key-file", "/x"], "IMAGES_CA_FILE (--ca-file) is missing"),
        (["--patience", "0"], "--patience '0': must be from 0.1"),
    ],
)
def test_settings_that_cannot_be_used_say_what_would_be_right(words: list[str], text: str) -> None:
    ran = images("send", "a.jpg", *words)
    assert ran.status == 78
    assert text in ran.err


def test_a_certificate_that_is_none_is_told_by_its_setting(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("garbage")
    for file in ("ca.crt", "none.crt"):
        ran = images("send", "a.jpg", "--ca-file", tmp_path / file)
        assert (ran.status, f"IMAGES_CA_FILE='{tmp_path / file}': " in ran.err) == (78, True)


def test_the_fleets_own_file_is_the_weakest_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "client.env"
    file.write_text("IMAGES_ADDRESS=10.0.0.9:50051\nIMAGES_PATIENCE=7\n")
    monkeypatch.setattr(access, "CLIENT_FILE", file)
    monkeypatch.setenv("IMAGES_PATIENCE", "8")
    seen: list[access.Access] = []
    read = access.read

    def spy(*arguments: object) -> access.Access:
        seen.append(read(*arguments))  # type: ignore[arg-type] # what the command hands over
        return seen[-1]

    monkeypatch.setattr(access, "read", spy)
    assert cli.main(["images", "send", "a.jpg", "--check"]) == 0
    assert cli.main(["images", "send", "a.jpg", "10.0.0.1:5", "--check"]) == 0
    assert [(one.address, one.patience) for one in seen] == [("10.0.0.9:50051", 8), ("10.0.0.1:5", 8)]
    file.write_text("IMAGES_ADDRESS=nonsense:\n")
    assert cli.main(["images", "send", "a.jpg", "--check"]) == 78
    assert f"{file}: IMAGES_ADDRESS='nonsense:'" in capsys.readouterr().err


def test_a_worker_without_a_bucket_is_refused_also_when_only_checked() -> None:
    for words in ((), ("--check",)):
        ran = images("work", *words)
        assert (ran.status, "IMAGES_BUCKET" in ran.err) == (78, True)


def test_a_worker_takes_what_the_originals_is_told_and_its_own_settings_win(monkeypatch: pytest.MonkeyPatch) -> None:
    from frota.images import cli as images_cli
    from frota.images.settings import WorkerSettings

    seen: list[WorkerSettings] = []
    read = images_cli._worker_settings
    monkeypatch.setattr(images_cli, "_worker_settings", lambda args: seen.append(read(args)))
    monkeypatch.setenv("BUCKET_NAME", "theirs")
    for host, words in (("rabbit", []), ("rabbit:7", []), ("x", ["--bucket", "ours", "--brokers", "b:1"])):
        monkeypatch.setenv("RABBIT_HOST", host)
        assert cli.main(["images", "work", "--check", *words]) == 0
    assert [(one.bucket, one.brokers) for one in seen] == [
        ("theirs", (("rabbit", 5672),)),
        ("theirs", (("rabbit", 7),)),
        ("ours", (("b", 1),)),
    ]
    monkeypatch.setenv("RABBIT_HOST", "no host")
    assert cli.main(["images", "work", "--check"]) == 78


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["retry"], "which images: ID…, or --all"),
        (["drop", "--all", "a" * 32, "--yes"], "which images: ID…, or --all"),
        (["drop", "--all"], "--yes if it is meant"),
        (["retry", "abc"], "must be 32 hexadecimal digits"),
    ],
)
def test_a_command_for_dead_images_that_is_not_plain_does_nothing(words: list[str], text: str) -> None:
    ran = images("dead", *words, "--brokers", "127.0.0.1:1")
    assert (ran.status, text in ran.err) == (2, True)


def test_a_broker_that_is_away_is_told_in_a_sentence() -> None:
    ran = images("dead", "list", "--brokers", "127.0.0.1:1")
    assert (ran.status, ran.err) == (1, "frota: no broker at 127.0.0.1:1: Connection refused\n")
