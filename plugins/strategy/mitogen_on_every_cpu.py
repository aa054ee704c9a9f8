"""mitogen's linear strategy without CPU affinity.

mitogen reserves one CPU for itself, two on a machine of four CPUs or more. All child processes inherit this affinity:
Ansible's workers, and the local hosts with all their processes.
"""

import ansible_mitogen.affinity

ansible_mitogen.affinity.policy = ansible_mitogen.affinity.Policy()  # sets no affinity; before any process starts

from ansible_mitogen.plugins.strategy.mitogen_linear import StrategyModule  # noqa: E402 -- after the policy

__all__ = ["StrategyModule"]
