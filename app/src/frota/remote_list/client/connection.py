"""One ZeroMQ socket for one connection to a server, and what its monitor tells about the other end."""

import socket
import time

import zmq
from zmq.utils.monitor import parse_monitor_message

from frota.remote_list import keys
from frota.remote_list.client_settings import ClientSettings

# What is wrong, by the last thing that the monitor told.
_REASONS = {
    "": "{address} does not answer: a wrong host, a firewall on the way, or no room for more connections there",
    "nobody": "nobody listens at {address}: start a server with `frota list serve`, or check --host and --port",
    "silent": "{address} takes connections but does not speak ZeroMQ, has no room for more, or is about to start",
    "ready": "the server at {address} takes requests but does not answer; one of the original's never does again "
    "after a bad message, until it is restarted",
    "refused": "the server at {address} does not accept our key {key}: its public half belongs in REMOTE_LIST_CLIENTS "
    "of the server; `frota list keygen --public FILE` prints it",
    "clear": "the server at {address} wants CURVE: give --key-file and --server-key",
    "curve": "the server at {address} speaks clear text, no CURVE: leave --key-file and --server-key out",
    "broken": "{address} ends the connection at the first bytes: {broken}, or is no ZeroMQ server at all",
}
_STATES = {
    zmq.EVENT_CLOSED: "nobody",
    zmq.EVENT_CONNECTED: "silent",
    zmq.EVENT_HANDSHAKE_SUCCEEDED: "ready",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "refused",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "broken",
}
_ENDS = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
_EVENTS = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | sum(_STATES)


class Connection:
    """A REQ socket that connects once: whoever owns it decides when to try again, and with which keys.

    Raises SettingsError for a key file that cannot be used, OSError (gaierror) for a host that has no address.
    """

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", access: ClientSettings, address_index: int = 0
    ) -> None:
        self._access = access
        endpoint, family = resolve(access, access.port, address_index)
        self._socket = context.socket(zmq.REQ)
        try:
            _configure(self._socket, access, family)
            # So few events arrive from one connection that they never wait for anybody to read them.
            self._monitor = self._socket.get_monitor_socket(_EVENTS)
            self._socket.connect(endpoint)
        except BaseException:
            self._socket.close(0)
            raise
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._state, self._lost = "", False
        self.legacy = False  # known by its first answer

    @property
    def lost(self) -> bool:
        """Whether the connection has ended, so that what is sent now would never be answered."""
        while self._monitor.poll(0):
            self._read_event()
        return self._lost

    @property
    def reason(self) -> str:
        """What is wrong when no answer comes, and what to do."""
        secure = self._access.key_file
        # Where both ends see at the same time that they differ, one may not hear what the other finds wrong.
        broken = "it has another key than that of --server-key, or speaks clear text" if secure else "it may want CURVE"
        return _REASONS[self._state].format(address=self._access.address, key=secure, broken=broken)

    def exchange(self, request: bytes, seconds: float) -> bytes | None:
        """Send a request and return its answer; None where the time or the connection ends before."""
        deadline = time.monotonic() + seconds
        if not self._send(request):
            return None
        while not self.lost and (left := deadline - time.monotonic()) > 0:
            if self._socket in dict(self._poller.poll(int(left * 1000) + 1)):
                break
        return b"".join(self._socket.recv_multipart()) if self._socket.poll(0) else None

    def _send(self, request: bytes) -> bool:
        """Hand a request to ZeroMQ; False where the connection has ended, for then it would wait for an hour."""
        try:
            self._socket.send(request, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """End the connection; a request that is still under way is given up."""
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(0)

    def _read_event(self) -> None:
        told = parse_monitor_message(self._monitor.recv_multipart())
        event = zmq.Event(told["event"])
        self._lost = self._lost or bool(event & _ENDS)
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            other = told["value"] != zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
            self._state = "broken" if other else "curve" if self._access.key_file else "clear"
        self._state = _STATES.get(event, self._state)


def resolve(access: ClientSettings, port: int, address_index: int) -> tuple[str, int]:
    """Return the endpoint of a port at the server's host, and its address family.

    Where the host has several addresses, they take turns, those of IPv4 first: one that does not answer is no reason
    to give up. ZeroMQ would resolve names itself, but reports no failure. Raises OSError (gaierror).
    """
    try:
        found = socket.getaddrinfo(access.host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # no host can have such a name
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    family, *_, address = found[address_index % len(found)]
    host, *rest = map(str, address)
    if rest[2:] and rest[2] != "0" and "%" not in host:
        host = f"{host}%{rest[2]}"  # an address of a link is none without its interface
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}", family


def secure(one: "zmq.Socket[bytes]", access: ClientSettings) -> None:
    """Give a socket its keys, where there are any; they are read anew each time. Raises SettingsError."""
    if access.key_file:
        secret = keys.read_secret(access.key_file)
        one.curve_secretkey = secret
        one.curve_publickey = keys.public_key(secret)
        one.curve_serverkey = bytes.fromhex(access.server_key)


def _configure(one: "zmq.Socket[bytes]", access: ClientSettings, family: int) -> None:
    secure(one, access)
    one.ipv6 = family == socket.AF_INET6
    one.linger = 0  # a request that was given up must not keep the process from ending
    # ZeroMQ would connect again by itself, and REQ wait for ever for an answer that the first connection took along.
    # So it does not, for an hour; the next try is a new socket, with the keys of that moment, when we choose. -1 would
    # mean never, but also throws away an answer that came just before the end of its connection.
    one.reconnect_ivl = 3_600_000
    # A request is taken before the connection stands (IMMEDIATE stays 0), but not after the server has refused it. How
    # long connection and handshake may take is part of the time for the answer: no CONNECT_TIMEOUT, HANDSHAKE_IVL, and
    # no keep-alive: nobody listens here unless a request is under way, and that has its own end.
