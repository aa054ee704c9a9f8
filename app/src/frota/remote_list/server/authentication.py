"""Who may speak with the server: CURVE (rfc.zeromq.org/spec/26), and an allow-list asked through ZAP (spec/27)."""

import zmq
import zmq.asyncio
from zmq.auth.asyncio import AsyncioAuthenticator
from zmq.utils import z85

from frota.core.settings import SettingsError
from frota.net.addresses import is_loopback
from frota.remote_list import keys
from frota.remote_list.server.event_log import EventLog
from frota.remote_list.settings import PREFIX, ServerSettings

_DOMAIN = b"frota"  # sockets without a domain are not asked about


def secret_key(config: ServerSettings) -> bytes | None:
    """Return the server's secret key, None for clear text. Raises SettingsError for what is missing or wrong."""
    path = config.secret_key_file
    if config.security == "clear" or (config.security == "auto" and path is None):
        if config.security == "auto" and not is_loopback(config.host):
            raise SettingsError(
                f"{PREFIX}HOST={config.host!r}: without a key only loopback is served. `frota list keygen` makes one, "
                f"{PREFIX}KEY_FILE names it; or, where anybody may change the lists, set {PREFIX}SECURITY=clear"
            )
        return None
    if path is None:
        raise SettingsError(f"{PREFIX}SECURITY='curve' needs {PREFIX}KEY_FILE: `frota list keygen` makes a key")
    secret = keys.read_secret(path)
    if config.public_key and keys.public_key(secret).hex() != config.public_key:
        raise SettingsError(f"{PREFIX}PUBLIC_KEY={config.public_key!r}: is not that of the secret key {path}")
    return secret


class AllowList:
    """The public keys of those who may connect, and the names that they are logged by."""

    def __init__(self, clients: tuple[tuple[str, str], ...], event_log: EventLog) -> None:
        self._event_log = event_log
        self.take(clients)

    def take(self, clients: tuple[tuple[str, str], ...]) -> None:
        """Allow these from now on; who is connected stays so."""
        self.names = {z85.encode(bytes.fromhex(key)): name for name, key in clients}

    def callback(self, _domain: str, key: bytes) -> bool:
        """Tell whether a client may connect (the name is the library's)."""
        if key in self.names:
            return True
        self._event_log.client_rejected(z85.decode(key).hex())
        return False


def start(context: "zmq.Context[zmq.Socket[bytes]]", allowed: AllowList) -> AsyncioAuthenticator:
    """Begin to ask the allow-list about everybody who connects to a guarded socket of the context."""
    authenticator = AsyncioAuthenticator(zmq.asyncio.Context.shadow(context))
    authenticator.start()
    authenticator.configure_curve_callback(_DOMAIN.decode(), credentials_provider=allowed)
    return authenticator


def guard(socket: "zmq.Socket[bytes]", secret: bytes) -> None:
    """Let only those on the allow-list connect to a socket."""
    socket.curve_server = True
    socket.curve_secretkey = z85.encode(secret)
    socket.zap_domain = _DOMAIN
