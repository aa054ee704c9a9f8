"""The memory around an application that, like moto, keeps its state in memory and draws its identifiers at random."""

import io
import random
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from embedded_aws.bodies import Bodies
from embedded_aws.journal import Journal
from embedded_aws.memory import Environ, Memory

SIGNED = "AWS4-HMAC-SHA256 Credential=someone/20260131/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0"


class Aws:
    """Makes things, lists them; like moto, makes a default one when it is first asked anything."""

    def __init__(self) -> None:
        self.random = random.Random()
        self.made: list[str] = []

    def __call__(self, environ: Environ, start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        action = parse_qs(body.decode())["Action"][0]
        if not self.made or action.startswith("Create"):
            self.made.append(f"{action}-{self.random.getrandbits(64):x}")
        self.random.getrandbits(8)  # an answer has a random id of its own
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [" ".join(self.made).encode()]


class Started:
    """One start of the memory over the journal of a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "requests.jsonl"
        self.aws, self.gave_up = Aws(), list[OSError]()
        bodies = Bodies(folder / "bodies")
        self.memory = Memory(self.aws, self.aws.random.seed, Journal(self.path), bodies, self.gave_up.append)
        self.recalled = self.memory.recall()

    def ask(self, action: str, **environ: Any) -> str:
        body = f"Action={action}&Version=1".encode()
        asked = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/",
            "CONTENT_TYPE": "application/x-www-form-urlencoded; charset=utf-8",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_AUTHORIZATION": SIGNED,
            "wsgi.input": io.BytesIO(body),
        }
        answered: list[Any] = []
        answer = b"".join(self.memory(asked | environ, lambda *arguments: answered.extend(arguments)))
        assert answered[0] == "200 OK"
        return answer.decode()

    def kept(self) -> int:
        return self.path.read_bytes().count(b"\n")


def test_identifiers_survive_a_restart(tmp_path: Path) -> None:
    """A restart restores all resources with the same identifiers."""
    first = Started(tmp_path)
    for thing in ("CreateVpc", "CreateSubnet", "CreateVpc"):
        first.ask(thing)
    known = first.ask("DescribeAll")

    second = Started(tmp_path)

    assert second.recalled == 3
    assert second.ask("DescribeAll") == known


def test_identifiers_are_unique_after_a_restart(tmp_path: Path) -> None:
    """A resource that is created after a restart gets a new identifier."""
    Started(tmp_path).ask("CreateVpc")
    made = Started(tmp_path).ask("CreateVpc").split()
    assert len(set(made)) == 2


def test_read_only_requests_are_not_logged(tmp_path: Path) -> None:
    """Read-only requests are not logged and change no identifier of later requests."""
    first = Started(tmp_path)
    first.ask("CreateVpc")
    before = first.kept()
    for _ in range(10):
        first.ask("DescribeVpcs")
    assert first.kept() == before
    known = first.ask("CreateSubnet")

    assert Started(tmp_path).ask("DescribeAll") == known


def test_first_request_of_a_scope_is_logged(tmp_path: Path) -> None:
    """The first read-only request of a service is logged, because it creates default resources."""
    first = Started(tmp_path)
    first.ask("DescribeVpcs")
    known = first.ask("CreateVpc")
    assert Started(tmp_path).ask("DescribeAll") == known


def test_journals_have_different_identifiers(tmp_path: Path) -> None:
    """Two journals generate different identifiers."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    assert len({Started(folder).ask("CreateVpc") for folder in folders}) == 2


def test_torn_last_line_is_dropped(tmp_path: Path) -> None:
    """A request whose journal line is torn is dropped, and the journal continues after the previous line."""
    first = Started(tmp_path)
    known = first.ask("CreateVpc")
    first.ask("CreateSubnet")
    first.path.write_bytes(first.path.read_bytes()[:-10])

    second = Started(tmp_path)

    assert second.ask("DescribeAll") == known
    second.ask("CreateSubnet")
    assert Started(tmp_path).recalled == 2


def test_damaged_line_is_an_error(tmp_path: Path) -> None:
    """A malformed line is an error that names file and line number."""
    first = Started(tmp_path)
    first.ask("CreateVpc")
    first.path.write_text(first.path.read_text().replace("environ", 'env"iron'))
    with pytest.raises(ValueError, match=r"requests\.jsonl:2 is damaged"):
        Started(tmp_path)


def test_failed_write_has_no_response(tmp_path: Path) -> None:
    """A request whose journal write fails gets no response and is lost after a restart."""
    started = Started(tmp_path)
    started.ask("CreateVpc")
    with Path("/dev/full").open("ab", buffering=0) as full:
        started.memory._journal._file = full
        with pytest.raises(OSError, match="No space left"):
            started.ask("CreateSubnet")
    assert started.gave_up
    assert Started(tmp_path).recalled == 1


def test_chunked_body_is_logged(tmp_path: Path) -> None:
    """A body with chunked transfer encoding is logged completely."""
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    first = Started(tmp_path)
    environ = {"CONTENT_LENGTH": "", **chunked}
    known = first.ask("CreateVpc", **environ)
    assert Started(tmp_path).ask("DescribeAll") == known


def test_different_status_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A replayed request with another status than before is reported."""
    first = Started(tmp_path)
    first.ask("CreateVpc")
    first.path.write_text(first.path.read_text().replace("200 OK", "409 Conflict"))
    Started(tmp_path)
    assert "request 0 (CreateVpc): 409 Conflict before, 200 OK in the replay" in capsys.readouterr().err
