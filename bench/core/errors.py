"""The two reasons for a run without a result."""


class CannotRunError(Exception):
    """Something is missing on this machine; the text explains what to do."""


class InvalidRunError(Exception):
    """A side violated its contract during its measurement, so that its figures are not valid."""
