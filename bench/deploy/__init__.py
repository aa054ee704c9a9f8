"""The cost of a run of the playbooks, compared with pyinfra on the same hosts."""

from bench.deploy.scenarios import scenarios, smoke

__all__ = ["scenarios", "smoke"]
