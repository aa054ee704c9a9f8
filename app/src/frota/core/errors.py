"""Errors that end a command with a sentence: whose fault it is, and what to do."""


class StateError(Exception):
    """The state folder cannot be used: says why and what to do."""


class ServerUnavailable(ConnectionError):
    """There is no server, no answer came in time, or the server ended the connection: says which."""


class WrongServer(OSError):
    """Something else answers there: says what it said."""
