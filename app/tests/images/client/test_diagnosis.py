"""An unusable connection to a server is explained in one sentence, at once instead of after the timeout."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from frota.images.client import diagnosis
from frota.images.client_settings import ClientSettings
from support import TIMEOUT_S, reserved_port
from support.certificates import Certificate, certificate
from support.fake_producer import fake_producer
from support.images import CommandResult, credentials, image_files, send

Authority = tuple[Certificate, Certificate, Certificate]  # itself, a server's and a client's certificate


@pytest.fixture
def authorities(tmp_path: Path) -> Authority:
    """Make the fleet's certificates."""
    authority = certificate(tmp_path, "authority")
    return authority, certificate(tmp_path, "server", authority), certificate(tmp_path, "client", authority)


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    """Make somebody else's certificates."""
    (tmp_path / "other").mkdir()
    authority = certificate(tmp_path / "other", "authority")
    return authority, certificate(tmp_path / "other", "server", authority, "192.0.2.1"), authority


def flags(authority: Certificate, client: Certificate | None = None) -> list[object]:
    """Return the flags of a client that speaks TLS."""
    words: list[object] = ["--ca-file", authority.file]
    return words + (["--cert-file", client.file, "--key-file", client.key_file] if client else [])


def failure(result: CommandResult) -> str:
    """Return the only line of a failed command's errors; nothing it sent may be in doubt."""
    assert (result.status, result.err.count("\n"), "em dúvida" in result.out) == (1, 1, False)
    return result.err


def test_mutual_tls_sends_an_image(tmp_path: Path, authorities: Authority) -> None:
    """With valid certificates on both sides, an image is accepted."""
    authority, server_certificate, client = authorities
    with fake_producer(credentials=credentials(server_certificate, authority)) as server:
        result = send(server, *flags(authority, client), *image_files(tmp_path, "a.jpg"))
    assert (result.status, result.err) == (0, "")


def test_unknown_ca_is_reported(tmp_path: Path, authorities: Authority, other: Authority) -> None:
    """A server certificate of another CA is reported with the setting of our CA."""
    with fake_producer(credentials=credentials(authorities[1])) as server:
        result = send(server, *flags(other[0]), *image_files(tmp_path, "a.jpg"))
        assert (
            f"127.0.0.1:{server.port}: its certificate is not to be trusted (IMAGES_CA_FILE={other[0].file}): "
            in failure(result)
        )


def test_wrong_server_name_is_reported(tmp_path: Path, other: Authority) -> None:
    """A server certificate for another address is reported."""
    with fake_producer(credentials=credentials(other[1])) as server:
        assert "not valid for '127.0.0.1'" in failure(send(server, *flags(other[0]), *image_files(tmp_path, "a.jpg")))


def test_missing_client_certificate_is_reported(tmp_path: Path, authorities: Authority) -> None:
    """A server that requires a client certificate is reported with the settings that name one."""
    authority, server_certificate, _ = authorities
    with fake_producer(credentials=credentials(server_certificate, authority)) as server:
        result = send(server, *flags(authority), *image_files(tmp_path, "a.jpg"))
    assert (
        "it requires a client certificate: IMAGES_CERT_FILE and IMAGES_KEY_FILE (--cert-file, --key-file)"
        in failure(result)
    )


def test_rejected_client_certificate_is_reported(tmp_path: Path, authorities: Authority, other: Authority) -> None:
    """A client certificate that the server rejects is reported with its file."""
    with fake_producer(credentials=credentials(authorities[1], authorities[0])) as server:
        result = send(server, *flags(authorities[0], other[1]), *image_files(tmp_path, "a.jpg"))
    assert f"it does not accept our certificate, {other[1].file}" in failure(result)


@pytest.mark.parametrize("mutual", [True, False])
def test_clear_text_to_a_tls_server_is_reported(tmp_path: Path, authorities: Authority, *, mutual: bool) -> None:
    """A clear-text client reports a TLS server."""
    with fake_producer(credentials=credentials(authorities[1], authorities[0] if mutual else None)) as server:
        result = send(server, *image_files(tmp_path, "a.jpg"))
    assert "it speaks TLS, not clear text; for TLS, set IMAGES_CA_FILE (--ca-file)" in failure(result)


def test_tls_to_a_clear_text_server_is_reported(tmp_path: Path, authorities: Authority) -> None:
    """A TLS client reports a clear-text server."""
    with fake_producer() as server:
        assert "it speaks no TLS; for clear text, use" in failure(
            send(server, *flags(authorities[0]), *image_files(tmp_path, "a.jpg"))
        )


@contextmanager
def server_that(handler: Callable[[socket.socket], None]) -> Iterator[int]:
    """Run a server that does something with every connection and then closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    handler(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(TIMEOUT_S)


def saying(*responses: bytes) -> Callable[[socket.socket], None]:
    """Greet the first so, the second so, and all others as the last."""
    remaining = list(responses)

    def answer(connection: socket.socket) -> None:
        connection.sendall(remaining.pop(0) if len(remaining) > 1 else remaining[0])
        connection.recv(99)

    return answer


def explained(port: int, step_timeout_s: float = 3.0) -> str:
    return diagnosis.explain(ClientSettings(address=f"127.0.0.1:{port}"), step_timeout_s)


def test_other_protocol_is_reported() -> None:
    """A server of another protocol is reported with its first bytes."""
    with server_that(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        assert explained(port) == "it is no gRPC server: it answered b'HTTP/1.1 400 Bad Request\\r\\n\\r\\n'"


def test_unknown_host_is_reported() -> None:
    """A host name that does not resolve is reported."""
    assert diagnosis.explain(ClientSettings(address="no-such-host.invalid:1")).startswith("no such host: ")


def test_temporary_failure_is_not_reported() -> None:
    """An unreachable or healthy server has no misconfiguration."""
    with reserved_port() as port:
        assert explained(port) == ""
    with fake_producer() as server:
        assert explained(server.port) == ""


def test_stopping_server_is_not_reported() -> None:
    """A server that disconnects only once is stopping, not misconfigured."""
    with server_that(saying(b"not HTTP/2 at all", bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))) as port:
        assert explained(port) == ""


def test_silent_server_ends_the_probe() -> None:
    """A server that sends nothing ends the probe after its timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert explained(silent.getsockname()[1], 0.2) == ""
