"""Why a connection fails: probes the server's first bytes, since gRPC reports only a closed socket."""

import socket
import ssl
import time
from pathlib import Path

from frota.images.client_settings import ClientSettings
from frota.images.settings import PREFIX
from frota.net import tls

_STEP_TIMEOUT_S = 3.0  # for each step of a probe
_SECOND_PROBE_DELAY_S = 0.2  # a stopping server looks like one that rejects clients
# The connection preface of HTTP/2 (RFC 9113, section 3.4) with empty SETTINGS; the server answers with its own.
_CLIENT_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS_FRAME = 4
_CLEAR_TEXT_OPTIONS = f"--ca-file '' --cert-file '' --key-file '' (or the {PREFIX}… of the same names)"


def tls_context(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext | None:
    """Return a TLS context, None for clear text. Raises SettingsError for an unusable file."""
    return tls.client_context(PREFIX, ca_file, cert_file, key_file) if ca_file else None


def explain(access: ClientSettings, step_timeout_s: float = _STEP_TIMEOUT_S) -> str:
    """Probe a server twice; return a lasting misconfiguration, or an empty text. Blocks for seconds."""
    first = _probe(access, step_timeout_s)
    if first:
        time.sleep(_SECOND_PROBE_DELAY_S)  # a restarting server has no event for clients that are not connected
        return first if _probe(access, step_timeout_s) == first else ""
    return ""


def _probe(access: ClientSettings, timeout_s: float) -> str:
    host, _, port = access.address.rpartition(":")
    address = host.strip("[]"), int(port)
    try:
        context = tls_context(access.ca_file, access.cert_file, access.key_file)
        return _over_tls(address, access, context, timeout_s) if context else _in_clear(address, timeout_s)
    except socket.gaierror as error:
        return "" if error.errno == socket.EAI_AGAIN else f"no such host: {error.strerror}"
    except (OSError, UnicodeError):
        return ""  # unreachable: may be temporary


def _over_tls(address: tuple[str, int], access: ClientSettings, context: ssl.SSLContext, timeout_s: float) -> str:
    context.set_alpn_protocols(["h2"])
    try:
        answer = _first_bytes(address, context, timeout_s)
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not to be trusted ({PREFIX}CA_FILE={access.ca_file}): {error.verify_message}"
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
            return f"it speaks no TLS; for clear text, use {_CLEAR_TEXT_OPTIONS}"
        return f"it ends the TLS handshake: {error.reason}"
    if answer or answer is None:
        return "" if answer is None else _check_http2(answer)
    if access.cert_file:
        return f"it does not accept our certificate, {access.cert_file}"
    return f"it requires a client certificate: {PREFIX}CERT_FILE and {PREFIX}KEY_FILE (--cert-file, --key-file)"


def _in_clear(address: tuple[str, int], timeout_s: float) -> str:
    answer = _first_bytes(address, None, timeout_s)
    if answer or answer is None:
        return "" if answer is None else _check_http2(answer)
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # only probes for TLS; nothing secret is sent
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    unverified.set_alpn_protocols(["h2"])
    try:
        _first_bytes(address, unverified, timeout_s)
    except ssl.SSLError as error:
        if error.reason is None or "ALERT" not in error.reason:
            return ""
    return f"it speaks TLS, not clear text; for TLS, set {PREFIX}CA_FILE (--ca-file)"


def _first_bytes(address: tuple[str, int], context: ssl.SSLContext | None, timeout_s: float) -> bytes | None:
    """Return the server's first bytes after the preface: b"" if it disconnects, None after a timeout."""
    with socket.create_connection(address, timeout_s) as plain:
        connection = context.wrap_socket(plain, server_hostname=address[0]) if context else plain
        with connection:
            try:
                connection.sendall(_CLIENT_PREFACE)
                return connection.recv(64)
            except TimeoutError:
                return None
            except (BrokenPipeError, ConnectionResetError):  # disconnected while we wrote
                return b""


def _check_http2(answer: bytes) -> str:
    """Return what is wrong with the first bytes; an empty text for HTTP/2's SETTINGS."""
    return "" if answer[3:4] == bytes((_SETTINGS_FRAME,)) else f"it is no gRPC server: it answered {answer!r}"
