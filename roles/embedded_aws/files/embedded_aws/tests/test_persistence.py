"""Persistence of an application that, like moto, keeps its state in memory and generates random identifiers."""

import io
import random
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from embedded_aws.bodies import Bodies
from embedded_aws.journal import Journal
from embedded_aws.persistence import Environ, PersistentApplication

SIGNED = "AWS4-HMAC-SHA256 Credential=someone/20260131/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0"


class Aws:
    """Creates and lists resources; like moto, creates a default one at the first request."""

    def __init__(self) -> None:
        self.random = random.Random()
        self.resources: list[str] = []

    def __call__(self, environ: Environ, start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        action = parse_qs(body.decode())["Action"][0]
        if not self.resources or action.startswith("Create"):
            self.resources.append(f"{action}-{self.random.getrandbits(64):x}")
        self.random.getrandbits(8)  # a response has a random id, too
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [" ".join(self.resources).encode()]


class Server:
    """The application after a start with the journal of a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "requests.jsonl"
        self.aws, self.write_errors = Aws(), list[OSError]()
        journal, bodies = Journal(self.path), Bodies(folder / "bodies")
        self.application = PersistentApplication(
            self.aws, self.aws.random.seed, journal, bodies, self.write_errors.append
        )
        self.replayed = self.application.replay()

    def request(self, action: str, **environ: Any) -> str:
        body = f"Action={action}&Version=1".encode()
        defaults = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/",
            "CONTENT_TYPE": "application/x-www-form-urlencoded; charset=utf-8",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_AUTHORIZATION": SIGNED,
            "wsgi.input": io.BytesIO(body),
        }
        response: list[Any] = []
        content = b"".join(self.application(defaults | environ, lambda *arguments: response.extend(arguments)))
        assert response[0] == "200 OK"
        return content.decode()

    def journal_lines(self) -> int:
        return self.path.read_bytes().count(b"\n")


def test_identifiers_survive_a_restart(tmp_path: Path) -> None:
    """A restart restores all resources with the same identifiers."""
    first = Server(tmp_path)
    for action in ("CreateVpc", "CreateSubnet", "CreateVpc"):
        first.request(action)
    resources = first.request("DescribeAll")

    second = Server(tmp_path)

    assert second.replayed == 3
    assert second.request("DescribeAll") == resources


def test_identifiers_are_unique_after_a_restart(tmp_path: Path) -> None:
    """A resource that is created after a restart gets a new identifier."""
    Server(tmp_path).request("CreateVpc")
    resources = Server(tmp_path).request("CreateVpc").split()
    assert len(set(resources)) == 2


def test_read_only_requests_are_not_logged(tmp_path: Path) -> None:
    """Read-only requests are not logged and change no identifier of later requests."""
    first = Server(tmp_path)
    first.request("CreateVpc")
    before = first.journal_lines()
    for _ in range(10):
        first.request("DescribeVpcs")
    assert first.journal_lines() == before
    resources = first.request("CreateSubnet")

    assert Server(tmp_path).request("DescribeAll") == resources


def test_first_request_of_a_scope_is_logged(tmp_path: Path) -> None:
    """The first read-only request of a service is logged, because it creates default resources."""
    first = Server(tmp_path)
    first.request("DescribeVpcs")
    resources = first.request("CreateVpc")
    assert Server(tmp_path).request("DescribeAll") == resources


def test_journals_have_different_identifiers(tmp_path: Path) -> None:
    """Two journals generate different identifiers."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    assert len({Server(folder).request("CreateVpc") for folder in folders}) == 2


def test_torn_last_line_is_dropped(tmp_path: Path) -> None:
    """A request whose journal line is torn is dropped, and the journal continues after the previous line."""
    first = Server(tmp_path)
    resources = first.request("CreateVpc")
    first.request("CreateSubnet")
    first.path.write_bytes(first.path.read_bytes()[:-10])

    second = Server(tmp_path)

    assert second.request("DescribeAll") == resources
    second.request("CreateSubnet")
    assert Server(tmp_path).replayed == 2


def test_damaged_line_is_an_error(tmp_path: Path) -> None:
    """A malformed line is an error that names file and line number."""
    first = Server(tmp_path)
    first.request("CreateVpc")
    first.path.write_text(first.path.read_text().replace("environ", 'env"iron'))
    with pytest.raises(ValueError, match=r"requests\.jsonl:2 is damaged"):
        Server(tmp_path)


def test_failed_write_has_no_response(tmp_path: Path) -> None:
    """A request whose journal write fails gets no response and is lost after a restart."""
    server = Server(tmp_path)
    server.request("CreateVpc")
    with Path("/dev/full").open("ab", buffering=0) as full:
        server.application._journal._file = full
        with pytest.raises(OSError, match="No space left"):
            server.request("CreateSubnet")
    assert server.write_errors
    assert Server(tmp_path).replayed == 1


def test_chunked_body_is_logged(tmp_path: Path) -> None:
    """A body with chunked transfer encoding is logged completely."""
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    first = Server(tmp_path)
    environ = {"CONTENT_LENGTH": "", **chunked}
    resources = first.request("CreateVpc", **environ)
    assert Server(tmp_path).request("DescribeAll") == resources


def test_different_status_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A replayed request with another status than before is reported."""
    first = Server(tmp_path)
    first.request("CreateVpc")
    first.path.write_text(first.path.read_text().replace("200 OK", "409 Conflict"))
    Server(tmp_path)
    assert "request 0 (CreateVpc): 409 Conflict before, 200 OK in the replay" in capsys.readouterr().err
