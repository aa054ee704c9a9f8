"""Who is who among servers, workers and clients: the settings of their certificates, and the TLS contexts from these.

A certificate's common name is the role of its holder. In clear text nobody is authenticated.
"""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from frota.core import secret_file
from frota.core.settings import path, setting
from frota.net import tls
from frota.net.tls import AUTO, CLEAR, MTLS
from frota.peers.protocol.roles import SERVER

_PREFIX = "PEERS_"
_PEM = "file (PEM) with "


@dataclass(frozen=True)
class SecurityConfig:
    """Certificates, or clear text."""

    security: str = setting(
        AUTO, "mtls, clear, or auto: mtls with a certificate, else clear, on loopback only", choices=(AUTO, MTLS, CLEAR)
    )
    cert_file: Path | None = setting(None, _PEM + "the certificate, whose common name is the role", parse=path)
    key_file: Path | None = setting(None, _PEM + "the private key of that certificate", parse=path)
    ca_file: Path | None = setting(None, _PEM + "the CA certificates of the fleet", parse=path)

    def __post_init__(self) -> None:
        self.check_files()

    def check_files(self) -> None:
        """Raise ValueError if a file is missing in the settings."""
        if (self.cert_file is None) != (self.ca_file is None):
            raise ValueError(f"{_PREFIX}CERT_FILE and {_PREFIX}CA_FILE: both, or neither for clear text")
        if self.cert_file and not self.secret_key_file:
            raise ValueError(f"{_PREFIX}KEY_FILE is missing: {_PREFIX}CERT_FILE needs its private key")
        if self.security == MTLS and not self.cert_file:
            raise ValueError(f"{_PREFIX}SECURITY={MTLS!r}: needs {_PREFIX}CERT_FILE and {_PREFIX}CA_FILE")

    @property
    def secret_key_file(self) -> Path | None:
        """The private key: the file that is set, else systemd's credential `key`, else none."""
        return self.key_file or secret_file.credential("key")


class Security:
    """The TLS contexts of a process; none in clear text. `action` is what it does with `host`, for the error."""

    def __init__(self, config: SecurityConfig, host: str, action: str) -> None:
        """Read the certificates. Raises StateError, SettingsError."""
        self._config = config
        self.mtls = tls.choose(config.security, config.cert_file, host, _PREFIX, action) == MTLS
        self.server: ssl.SSLContext | None = None
        self.client: ssl.SSLContext | None = None
        self.load()

    def load(self) -> None:
        """Read the certificates again, for connections from now on. Raises SettingsError, and changes nothing then."""
        config, key_file = self._config, self._config.secret_key_file
        if not (self.mtls and config.ca_file and config.cert_file and key_file):
            return
        secret_file.check(key_file)
        server = tls.server_context(_PREFIX, config.ca_file, config.cert_file, key_file)
        client = tls.client_context(_PREFIX, config.ca_file, config.cert_file, key_file)
        client.minimum_version = ssl.TLSVersion.TLSv1_3
        self.server, self.client = server, client

    def wrap(self, plain: socket.socket, host: str) -> socket.socket:
        """Return a connected socket with TLS, after the handshake with a server. Raises OSError."""
        if self.client is None:
            return plain
        secure = self.client.wrap_socket(plain, server_hostname=host)
        if reason := refuse_server(tls.common_name(secure.getpeercert())):
            secure.close()
            raise ConnectionError(reason)
        return secure


def refuse_server(common_name: str) -> str:
    """Return why a certificate is not that of a peers' server, "" if it is."""
    if common_name == SERVER:
        return ""
    return f"its certificate is that of {common_name or 'nobody'}, not of {SERVER}: it is no server of the peers"
