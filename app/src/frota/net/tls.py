"""TLS with certificates: contexts from PEM files, who has a certificate, and a server's side of a connection, no I/O.

`tls_connection` has the sockets.
"""

import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from frota.core.errors import StateError
from frota.core.settings import SettingsError
from frota.net.addresses import is_loopback

AUTO, MTLS, CLEAR = "auto", "mtls", "clear"
_MAX_RECORD_BYTES = 16384  # what one read returns at most (RFC 8446, section 5.1)

_EXPLANATIONS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "RECORD_LAYER_FAILURE": "it does not speak TLS",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it requires a client certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not accept our certificate, which is of another CA",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it does not accept our certificate, which has expired",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it does not speak TLS 1.3",
}


def choose(security: str, cert_file: Path | None, host: str, prefix: str, action: str = "listen") -> str:
    """Return what `auto` means: mtls with a certificate, else clear text, on loopback only.

    `prefix` is that of the settings, `action` what the host is for. Raises StateError.
    """
    if security != AUTO:
        return security
    if cert_file:
        return MTLS
    if not is_loopback(host):
        raise StateError(
            f"refusing to {action} in clear text on {host}: set {prefix}CERT_FILE, "
            f"{prefix}CA_FILE and a key, or {prefix}SECURITY=clear"
        )
    return CLEAR


def client_context(
    prefix: str, ca_file: Path, cert_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """Return a client's context, which verifies the server's name. Raises SettingsError for an unusable file."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"{prefix}CA_FILE={str(ca_file)!r}: {_reason(error)}") from None
    if cert_file:
        _load_certificate(context, prefix, cert_file, key_file)
    return context


def server_context(prefix: str, ca_file: Path, cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Return the context of a server that speaks TLS 1.3 only, and requires a certificate of its clients.

    Raises SettingsError for an unusable file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # connections last: none is resumed
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:
        raise SettingsError(f"{prefix}CA_FILE={str(ca_file)!r}: {_reason(error)}") from None
    _load_certificate(context, prefix, cert_file, key_file)
    return context


def _load_certificate(context: ssl.SSLContext, prefix: str, cert_file: Path, key_file: Path | None) -> None:
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except OSError as error:
        raise SettingsError(
            f"{prefix}CERT_FILE={str(cert_file)!r}, {prefix}KEY_FILE={str(key_file)!r}: {_reason(error)}"
        ) from None


def _no_password() -> str:
    """Return a password that fits no key: OpenSSL would ask for it on the terminal."""
    return ""


def _reason(error: OSError) -> str:
    return str(error.strerror or getattr(error, "reason", None) or error)


def common_name(certificate: Mapping[str, Any] | None) -> str:
    """Return the common name of a certificate, as `getpeercert` returns it; "" if it has none, or several."""
    parts = (certificate or {}).get("subject", ())
    names = [str(value) for part in parts for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else ""


def explain(error: Exception) -> str:
    """Return why a server cannot be talked to, as its client's user should read it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return _EXPLANATIONS.get(error.reason) or f"TLS failed: {error.reason.replace('_', ' ').lower()}"
    return str(getattr(error, "strerror", None) or error)


class ServerTls:
    """The server's side of one connection: bytes of the network in, bytes of the application out, and back.

    After each call, send what `outgoing` returns.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "common_name", "ended", "established")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.established = False  # the handshake is over, and the client's certificate is verified
        self.ended = False  # the client has ended its side
        self.common_name = ""  # of the client's certificate

    def receive(self, data: bytes) -> bytes:
        """Process bytes of the network; return what they carry. Raises ssl.SSLError: the connection must end."""
        self._incoming.write(data)
        if not self.established and not self._shake_hands():
            return b""
        pieces = []
        with suppress(ssl.SSLWantReadError):
            while self._incoming.pending or self._object.pending():  # most often one record: an exception takes longer
                if not (piece := self._read()):
                    self.ended = True
                    break
                pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def send(self, data: bytes) -> None:
        """Encrypt."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._object.write(rest) :]

    def close(self) -> None:
        """End this side."""
        if self.established:
            with suppress(ssl.SSLError):  # the client's end is not awaited
                self._object.unwrap()

    def outgoing(self) -> bytes:
        """Return what is to be sent."""
        return self._outgoing.read()

    def _read(self) -> bytes:
        """Return what a record carries, nothing at the client's end. Raises ssl.SSLError."""
        try:
            return self._object.read(_MAX_RECORD_BYTES)
        except ssl.SSLZeroReturnError:
            return b""

    def _shake_hands(self) -> bool:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.established = True
        self.common_name = common_name(self._object.getpeercert())
        return True
