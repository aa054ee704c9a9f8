"""Measures what a run of the playbooks costs, beside pyinfra doing the same on the same hosts."""

from bench.deploy.scenarios import scenarios, smoke

__all__ = ["scenarios", "smoke"]
