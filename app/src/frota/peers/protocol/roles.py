"""Who may say what: the role of a caller against the first message of its connection. No I/O.

A role is the common name of the certificate; further messages follow from the first, see `states`. On the port for
legacy programs, which have no certificates, nothing native is accepted: it would make certificates pointless.
"""

from collections.abc import Mapping
from enum import Enum

from frota.core.errors import MalformedMessage
from frota.peers.protocol.codec.dialects import Dialect
from frota.peers.protocol.states import Step

SERVER, WORKER, CLIENT = "peer_server", "peer_worker", "peer_client"  # common names
_OF_WORKERS = frozenset({Step.ALIVE, Step.NATIVE_ALIVE, Step.ALIVE_C, Step.REPORT_C})
_OF_SERVERS = frozenset({Step.PEER_REQUEST})
_OF_CLIENTS = frozenset({Step.REQUEST})


class Forbidden(MalformedMessage):
    """The caller may not send this: says who may."""


class Role(Enum):
    """What a caller is."""

    UNAUTHENTICATED = "a caller of a server without certificates"
    LEGACY = "a legacy program, which has no certificate"
    SERVER = SERVER
    WORKER = WORKER
    CLIENT = CLIENT
    OTHER = "the holder of a certificate for something else"

    __hash__ = object.__hash__

    def check(self, step: Step, dialect: Dialect) -> None:
        """Raise Forbidden if a connection of this role must not begin with this message."""
        if self is Role.LEGACY and dialect is Dialect.NATIVE:
            raise Forbidden("this port is for legacy programs, in clear text: connect to the port for TLS")
        if step not in MAY_BEGIN[self]:
            who = " or ".join(role.value for role in _CERTIFIED if step in MAY_BEGIN[role])
            raise Forbidden(f"{step.value} is not for {self.value}: only {who} may send it")


MAY_BEGIN: Mapping[Role, frozenset[Step]] = {
    Role.UNAUTHENTICATED: _OF_WORKERS | _OF_SERVERS | _OF_CLIENTS,
    Role.LEGACY: _OF_WORKERS | _OF_SERVERS,
    Role.SERVER: _OF_SERVERS | _OF_CLIENTS,
    Role.WORKER: _OF_WORKERS,
    Role.CLIENT: _OF_CLIENTS,
    Role.OTHER: frozenset(),
}
_CERTIFIED = (Role.SERVER, Role.WORKER, Role.CLIENT)


def role_of(common_name: str | None, *, mtls: bool) -> Role:
    """Return the role of a caller: `common_name` is None in clear text, `mtls` tells whether others have certificates.

    Raises nothing: the holder of another certificate is Role.OTHER.
    """
    if common_name is None:
        return Role.LEGACY if mtls else Role.UNAUTHENTICATED
    return next((role for role in _CERTIFIED if role.value == common_name), Role.OTHER)
