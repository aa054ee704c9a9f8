"""Numbers that tell apart the agents of one address who do not say who they are."""

from collections import defaultdict
from heapq import heappop, heappush


class _Address:
    def __init__(self) -> None:
        self.highest = 0  # that was ever taken
        self.free: list[int] = []  # a heap of those up to it that were given back


class UnnamedAgents:
    """For each address the numbers from 1 on, taken and given back in O(log n): a whole site may come from one."""

    def __init__(self) -> None:
        self._addresses: defaultdict[str, _Address] = defaultdict(_Address)

    def __len__(self) -> int:
        return len(self._addresses)

    def take(self, address: str) -> int:
        """Return the lowest number that is free, so that who comes back finds its former one."""
        one = self._addresses[address]
        if one.free:
            return heappop(one.free)
        one.highest += 1
        return one.highest

    def give_back(self, address: str, number: int) -> None:
        """Let others have a number; an address whose numbers are all free is forgotten."""
        one = self._addresses[address]
        heappush(one.free, number)
        if len(one.free) == one.highest:
            del self._addresses[address]
