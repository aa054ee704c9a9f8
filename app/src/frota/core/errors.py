"""Errors that several systems raise. Their text is one sentence: whose fault it is, and what to do."""


class StateError(Exception):
    """The state folder cannot be used: says why and what to do."""


class ServerUnavailable(ConnectionError):
    """No server, no response before the timeout, or the server closed the connection: says which."""


class WrongServer(OSError):
    """Another kind of server answered: says what it sent."""


class ConnectionRejected(ConnectionError):
    """The server rejects the connection or what it delivers for now: gives the server's reason."""


class RequestRejected(Exception):
    """The server rejects a request: `code` for programs, `text` in Portuguese for people, and maybe a `hint`."""

    def __init__(self, code: str, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.code, self.text, self.hint = code, text, hint


class UnsupportedByServer(OSError):
    """The server, a legacy one, cannot execute the request: says why."""


class MalformedMessage(ValueError):
    """A message violates its protocol: says how, in Portuguese where clients see it.

    `number` is the sequence number of the message, 0 if it has none.
    """

    number = 0
