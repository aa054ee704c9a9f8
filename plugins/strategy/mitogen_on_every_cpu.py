"""mitogen's linear strategy, without the placement on CPUs that it does besides.

On a machine of less than four CPUs mitogen keeps the first for itself, and on a larger one two. Whatever it starts
inherits that: the playbook's workers, and the hosts of this machine with all that runs on them.
"""

import ansible_mitogen.affinity

ansible_mitogen.affinity.policy = ansible_mitogen.affinity.Policy()  # places nothing; taken before any process starts

from ansible_mitogen.plugins.strategy.mitogen_linear import StrategyModule  # noqa: E402 -- the policy comes first

__all__ = ["StrategyModule"]
