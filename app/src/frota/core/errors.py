"""Errors that end a command with one sentence: whose fault it is and what to do."""


class StateError(Exception):
    """The state folder cannot be used: says why and what to do."""


class ServerUnavailable(ConnectionError):
    """No server, no response before the timeout, or the server closed the connection: says which."""


class WrongServer(OSError):
    """Another kind of server answered: says what it sent."""
