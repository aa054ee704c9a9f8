"""Why there is no conversation with a server: told by its first bytes, where gRPC says that a socket was closed."""

import select
import socket
import ssl
from pathlib import Path

from frota.core.settings import SettingsError
from frota.images.access import ClientSettings
from frota.images.settings import PREFIX

_STEP_TIMEOUT_S = 3.0  # for each step of one look
_SECOND_PROBE_DELAY_S = 0.2  # seconds between two looks: a server that is just ending looks like one that refuses us
# What every HTTP/2 client says first (RFC 9113, section 3.4), with empty SETTINGS; the server's SETTINGS must follow.
_CLIENT_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS_FRAME = 4
_CLEAR_TEXT_OPTIONS = f"--ca-file '' --cert-file '' --key-file '' (or the {PREFIX}… of the same names)"


def tls_context(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext | None:
    """Return what is needed to speak TLS, None for clear text. Raises SettingsError for a file that is of no use."""
    if ca_file is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"{PREFIX}CA_FILE={str(ca_file)!r}: {_reason(error)}") from None
    if cert_file:
        try:
            context.load_cert_chain(cert_file, key_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"{PREFIX}CERT_FILE={str(cert_file)!r}, {PREFIX}KEY_FILE={str(key_file)!r}: {_reason(error)}"
            ) from None
    return context


def explain(access: ClientSettings) -> str:
    """Look twice at a server and say what will not mend itself; nothing where it may. Takes seconds, blocks."""
    first = _probe(access)
    if first:
        select.select([], [], [], _SECOND_PROBE_DELAY_S)
        return first if _probe(access) == first else ""
    return ""


def _probe(access: ClientSettings) -> str:
    host, _, port = access.address.rpartition(":")
    address = host.strip("[]"), int(port)
    try:
        context = tls_context(access.ca_file, access.cert_file, access.key_file)
        return _over_tls(address, access, context) if context else _in_clear(address)
    except socket.gaierror as error:
        return "" if error.errno == socket.EAI_AGAIN else f"no such host: {error.strerror}"
    except (OSError, UnicodeError):
        return ""  # away, or just going: time may mend it


def _over_tls(address: tuple[str, int], access: ClientSettings, context: ssl.SSLContext) -> str:
    context.set_alpn_protocols(["h2"])
    try:
        answer = _first_bytes(address, context)
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not to be trusted ({PREFIX}CA_FILE={access.ca_file}): {error.verify_message}"
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
            return f"it speaks no TLS; for clear text: {_CLEAR_TEXT_OPTIONS}"
        return f"it ends the TLS handshake: {error.reason}"
    if answer or answer is None:
        return "" if answer is None else _check_http2(answer)
    if access.cert_file:
        return f"it does not accept our certificate, {access.cert_file}"
    return f"it wants a certificate of ours: {PREFIX}CERT_FILE and {PREFIX}KEY_FILE (--cert-file, --key-file)"


def _in_clear(address: tuple[str, int]) -> str:
    answer = _first_bytes(address, None)
    if answer or answer is None:
        return "" if answer is None else _check_http2(answer)
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # only to see whether it speaks TLS; nothing is told it
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    unverified.set_alpn_protocols(["h2"])
    try:
        _first_bytes(address, unverified)
    except ssl.SSLError as error:
        if error.reason is None or "ALERT" not in error.reason:
            return ""
    return f"it speaks TLS, and we clear text; for TLS: {PREFIX}CA_FILE (--ca-file)"


def _first_bytes(address: tuple[str, int], context: ssl.SSLContext | None) -> bytes | None:
    """Return what a server answers to a greeting, b"" if it hangs up, None if it says nothing in time."""
    with socket.create_connection(address, _STEP_TIMEOUT_S) as plain:
        connection = context.wrap_socket(plain, server_hostname=address[0]) if context else plain
        with connection:
            try:
                connection.sendall(_CLIENT_PREFACE)
                return connection.recv(64)
            except TimeoutError:
                return None
            except (BrokenPipeError, ConnectionResetError):  # it hung up while we spoke
                return b""


def _check_http2(answer: bytes) -> str:
    """Say what is wrong with a first answer: nothing where it is HTTP/2's."""
    return "" if answer[3:4] == bytes((_SETTINGS_FRAME,)) else f"it is no gRPC server: it says {answer!r}"


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or getattr(error, "reason", None) or error)
