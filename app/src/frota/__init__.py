"""frota: five classic distributed systems that run as one fleet of Linux hosts."""

__version__ = "0.1.0"  # as in pyproject.toml; here, because importlib.metadata is 2 MiB that the agent saves
