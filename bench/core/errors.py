"""The two ways in which there is no result."""


class CannotRunError(Exception):
    """Something is missing on this machine; the text says what to do about it."""


class InvalidRunError(Exception):
    """A side broke its contract while measured: its figures mean nothing."""
