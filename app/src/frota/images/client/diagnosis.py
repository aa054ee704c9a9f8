"""Why there is no conversation with a server: told by its first bytes, where gRPC says that a socket was closed."""

import select
import socket
import ssl
from pathlib import Path

from frota.core.settings import SettingsError
from frota.images.access import Access
from frota.images.settings import PREFIX

_SECONDS = 3.0  # for each step of one look
_AGAIN = 0.2  # seconds between two looks: a server that is just ending looks like one that refuses us
# What every HTTP/2 client says first (RFC 9113, section 3.4), with empty SETTINGS; the server's SETTINGS must follow.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS_TYPE = 4
_CLEAR = f"--ca-file '' --cert-file '' --key-file '' (or the {PREFIX}… of the same names)"


def context(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext | None:
    """Return what is needed to speak TLS, None for clear text. Raises SettingsError for a file that is of no use."""
    if ca_file is None:
        return None
    try:
        found = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"{PREFIX}CA_FILE={str(ca_file)!r}: {_said(error)}") from None
    if cert_file:
        try:
            found.load_cert_chain(cert_file, key_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"{PREFIX}CERT_FILE={str(cert_file)!r}, {PREFIX}KEY_FILE={str(key_file)!r}: {_said(error)}"
            ) from None
    return found


def explain(access: Access) -> str:
    """Look twice at a server and say what will not mend itself; nothing where it may. Takes seconds, blocks."""
    first = _look(access)
    if first:
        select.select([], [], [], _AGAIN)
        return first if _look(access) == first else ""
    return ""


def _look(access: Access) -> str:
    host, _, port = access.address.rpartition(":")
    where = host.strip("[]"), int(port)
    try:
        secure = context(access.ca_file, access.cert_file, access.key_file)
        return _over_tls(where, access, secure) if secure else _in_clear(where)
    except socket.gaierror as error:
        return "" if error.errno == socket.EAI_AGAIN else f"no such host: {error.strerror}"
    except (OSError, UnicodeError):
        return ""  # away, or just going: time may mend it


def _over_tls(where: tuple[str, int], access: Access, secure: ssl.SSLContext) -> str:
    secure.set_alpn_protocols(["h2"])
    try:
        said = _greeted(where, secure)
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not to be trusted ({PREFIX}CA_FILE={access.ca_file}): {error.verify_message}"
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
            return f"it speaks no TLS; for clear text: {_CLEAR}"
        return f"it ends the TLS handshake: {error.reason}"
    if said or said is None:
        return "" if said is None else _recognised(said)
    if access.cert_file:
        return f"it does not accept our certificate, {access.cert_file}"
    return f"it wants a certificate of ours: {PREFIX}CERT_FILE and {PREFIX}KEY_FILE (--cert-file, --key-file)"


def _in_clear(where: tuple[str, int]) -> str:
    said = _greeted(where, None)
    if said or said is None:
        return "" if said is None else _recognised(said)
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # only to see whether it speaks TLS; nothing is told it
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    anyone.set_alpn_protocols(["h2"])
    try:
        _greeted(where, anyone)
    except ssl.SSLError as error:
        if error.reason is None or "ALERT" not in error.reason:
            return ""
    return f"it speaks TLS, and we clear text; for TLS: {PREFIX}CA_FILE (--ca-file)"


def _greeted(where: tuple[str, int], secure: ssl.SSLContext | None) -> bytes | None:
    """Return what a server answers to a greeting, b"" if it hangs up, None if it says nothing in time."""
    with socket.create_connection(where, _SECONDS) as plain:
        connection = secure.wrap_socket(plain, server_hostname=where[0]) if secure else plain
        with connection:
            try:
                connection.sendall(_HELLO)
                return connection.recv(64)
            except TimeoutError:
                return None
            except (BrokenPipeError, ConnectionResetError):  # it hung up while we spoke
                return b""


def _recognised(said: bytes) -> str:
    """Say what is wrong with a first answer: nothing where it is HTTP/2's."""
    return "" if said[3:4] == bytes((_SETTINGS_TYPE,)) else f"it is no gRPC server: it says {said!r}"


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or getattr(error, "reason", None) or error)
