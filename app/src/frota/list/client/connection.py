"""One ZeroMQ connection to a server, and the diagnosis from its monitor events."""

import socket
import time

import zmq
from zmq.utils.monitor import parse_monitor_message

from frota.list import keys
from frota.list.client_settings import ClientSettings

# The diagnosis, by the last monitor event.
_REASONS = {
    "": "{address} does not answer: wrong host, a firewall, or the server's connection limit is reached",
    "not_listening": "no server listens at {address}: start one with `frota list serve`, or check --host and --port",
    "silent": "{address} accepts connections but does not speak ZeroMQ, is at its connection limit, or is starting",
    "ready": "the server at {address} accepts requests but does not answer; a legacy server stops answering "
    "after a malformed message, until it is restarted",
    "refused": "the server at {address} does not accept our key {key}: add its public key to LIST_CLIENTS "
    "of the server; `frota list keygen --public FILE` prints it",
    "clear": "the server at {address} requires CURVE: set --key-file and --server-key",
    "curve": "the server at {address} speaks clear text, not CURVE: omit --key-file and --server-key",
    "broken": "{address} ends the connection in the handshake: {broken}, or it is not a ZeroMQ server",
}
_STATES = {
    zmq.EVENT_CLOSED: "not_listening",
    zmq.EVENT_CONNECTED: "silent",
    zmq.EVENT_HANDSHAKE_SUCCEEDED: "ready",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "refused",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "broken",
}
_ENDS = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
_EVENTS = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | sum(_STATES)


class Connection:
    """A REQ socket that connects once: its owner decides when to reconnect, and with which keys.

    Raises SettingsError for an unusable key file, OSError (gaierror) for a host without an address.
    """

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", access: ClientSettings, address_index: int = 0
    ) -> None:
        self._access = access
        endpoint, family = resolve(access, access.port, address_index)
        self._socket = context.socket(zmq.REQ)
        try:
            _configure(self._socket, access, family)
            # A connection has few events: the monitor's queue cannot fill.
            self._monitor = self._socket.get_monitor_socket(_EVENTS)
            self._socket.connect(endpoint)
        except BaseException:
            self._socket.close(0)
            raise
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._state, self._lost = "", False
        self.legacy = False  # set by its first response

    @property
    def lost(self) -> bool:
        """Whether the connection has ended, so that a request would never be answered."""
        while self._monitor.poll(0):
            self._read_event()
        return self._lost

    @property
    def reason(self) -> str:
        """Why no response comes, and what to do."""
        secure = self._access.key_file
        # If both ends detect the mismatch at the same time, this one may not get the other's error.
        broken = "its key is not that of --server-key, or it speaks clear text" if secure else "it may require CURVE"
        return _REASONS[self._state].format(address=self._access.address, key=secure, broken=broken)

    def exchange(self, request: bytes, seconds: float) -> bytes | None:
        """Send a request and return the response; None at the timeout or the end of the connection."""
        deadline = time.monotonic() + seconds
        if not self._send(request):
            return None
        while not self.lost and (left := deadline - time.monotonic()) > 0:
            if self._socket in dict(self._poller.poll(int(left * 1000) + 1)):
                break
        return b"".join(self._socket.recv_multipart()) if self._socket.poll(0) else None

    def _send(self, request: bytes) -> bool:
        """Pass a request to ZeroMQ; False for an ended connection, on which send would block."""
        try:
            self._socket.send(request, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """End the connection and discard an unfinished request."""
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(0)

    def _read_event(self) -> None:
        message = parse_monitor_message(self._monitor.recv_multipart())
        event = zmq.Event(message["event"])
        self._lost = self._lost or bool(event & _ENDS)
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            other = message["value"] != zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
            self._state = "broken" if other else "curve" if self._access.key_file else "clear"
        self._state = _STATES.get(event, self._state)


def resolve(access: ClientSettings, port: int, address_index: int) -> tuple[str, int]:
    """Return the ZeroMQ endpoint of a port at the server's host, and its address family.

    `address_index` selects one of several addresses in turn, IPv4 first. ZeroMQ would resolve names itself, but reports
    no failure. Raises OSError (gaierror).
    """
    try:
        addresses = socket.getaddrinfo(access.host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # too long, or an empty label
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
    addresses.sort(key=lambda address: address[0] != socket.AF_INET)
    family, *_, address = addresses[address_index % len(addresses)]
    host, *rest = map(str, address)
    if rest[2:] and rest[2] != "0" and "%" not in host:
        host = f"{host}%{rest[2]}"  # a link-local address needs its interface
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}", family


def secure(zmq_socket: "zmq.Socket[bytes]", access: ClientSettings) -> None:
    """Set the CURVE keys of a socket, read from their files each time. Raises SettingsError."""
    if access.key_file:
        secret = keys.read_secret(access.key_file)
        zmq_socket.curve_secretkey = secret
        zmq_socket.curve_publickey = keys.public_key(secret)
        zmq_socket.curve_serverkey = bytes.fromhex(access.server_key)


def _configure(zmq_socket: "zmq.Socket[bytes]", access: ClientSettings, family: int) -> None:
    secure(zmq_socket, access)
    zmq_socket.ipv6 = family == socket.AF_INET6
    zmq_socket.linger = 0  # an abandoned request must not delay the end of the process
    # No reconnect for an hour: ZeroMQ would reconnect by itself, and REQ would wait forever for the response of the
    # ended connection. A retry is a new socket, with the keys of that moment. -1 would mean never, but also discards a
    # response that arrived just before the end of its connection.
    zmq_socket.reconnect_ivl = 3_600_000
    # IMMEDIATE stays 0: a request is queued before the connection is established. Connection and handshake count
    # towards the timeout of the request: no CONNECT_TIMEOUT, no HANDSHAKE_IVL, and no keepalive.
