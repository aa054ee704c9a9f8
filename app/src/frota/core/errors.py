"""Errors that end a command with a sentence: whose fault it is, and what to do."""


class StateError(Exception):
    """The state folder cannot be used: says why and what to do."""
