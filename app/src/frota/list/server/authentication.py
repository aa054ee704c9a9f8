"""Authentication: CURVE (rfc.zeromq.org/spec/26), and an allow-list of public keys over ZAP (spec/27)."""

import zmq
import zmq.asyncio
from zmq.auth.asyncio import AsyncioAuthenticator
from zmq.utils import z85

from frota.core.settings import SettingsError
from frota.list import keys
from frota.list.server.event_log import EventLog
from frota.list.settings import PREFIX, ServerSettings
from frota.net.addresses import is_loopback

_DOMAIN = b"frota"  # libzmq calls ZAP only for sockets with a domain


def secret_key(config: ServerSettings) -> bytes | None:
    """Return the server's secret key, None for clear text. Raises SettingsError for a missing or wrong one."""
    path = config.secret_key_file
    if config.security == "clear" or (config.security == "auto" and path is None):
        if config.security == "auto" and not is_loopback(config.host):
            raise SettingsError(
                f"{PREFIX}HOST={config.host!r}: without a key only loopback is served. `frota list keygen` makes one, "
                f"{PREFIX}KEY_FILE names it; {PREFIX}SECURITY=clear lets everybody change the lists"
            )
        return None
    if path is None:
        raise SettingsError(f"{PREFIX}SECURITY='curve' needs {PREFIX}KEY_FILE: `frota list keygen` makes a key")
    secret = keys.read_secret(path)
    if config.public_key and keys.public_key(secret).hex() != config.public_key:
        raise SettingsError(f"{PREFIX}PUBLIC_KEY={config.public_key!r}: is not that of the secret key {path}")
    return secret


class AllowList:
    """The public keys that may connect, with the client names for the log."""

    def __init__(self, clients: tuple[tuple[str, str], ...], event_log: EventLog) -> None:
        self._event_log = event_log
        self.replace(clients)

    def replace(self, clients: tuple[tuple[str, str], ...]) -> None:
        """Replace the allow-list; established connections stay."""
        self.names = {z85.encode(bytes.fromhex(key)): name for name, key in clients}

    def callback(self, _domain: str, key: bytes) -> bool:
        """Tell whether a key is allowed (pyzmq calls this method by its name)."""
        if key in self.names:
            return True
        self._event_log.client_rejected(z85.decode(key).hex())
        return False


def start(context: "zmq.Context[zmq.Socket[bytes]]", allowed: AllowList) -> AsyncioAuthenticator:
    """Start the authenticator of the context's guarded sockets."""
    authenticator = AsyncioAuthenticator(zmq.asyncio.Context.shadow(context))
    authenticator.start()
    authenticator.configure_curve_callback(_DOMAIN.decode(), credentials_provider=allowed)
    return authenticator


def guard(socket: "zmq.Socket[bytes]", secret: bytes) -> None:
    """Admit only the allow-list to a socket."""
    socket.curve_server = True
    socket.curve_secretkey = z85.encode(secret)
    socket.zap_domain = _DOMAIN
