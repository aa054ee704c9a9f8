"""The limit of what all connections buffer."""

from frota.net.buffer_limit import BufferLimit


class Holder:
    """Notes whether it was evicted."""

    evicted = False

    def evict(self) -> None:
        self.evicted = True


def test_largest_is_evicted() -> None:
    """Above the limit those that buffer most are evicted, whoever asked for more; the others stay."""
    limit = BufferLimit(100)
    large, middle, small = Holder(), Holder(), Holder()
    limit.update(large, 60)
    limit.update(middle, 40)
    limit.update(middle, 30)
    limit.update(small, 10)
    assert limit.buffered_bytes == 100
    limit.update(small, 11)
    assert [one.evicted for one in (large, middle, small)] == [True, False, False]
    assert (limit.buffered_bytes, limit.evicted_total) == (41, 1)
    limit.update(large, 0)
    limit.update(small, 0)
    assert limit.buffered_bytes == 30


def test_one_that_is_too_large_is_evicted_alone() -> None:
    """A connection that exceeds the limit by itself costs nobody else anything."""
    limit = BufferLimit(100)
    large, small = Holder(), Holder()
    limit.update(small, 50)
    limit.update(large, 1000)
    assert (large.evicted, small.evicted, limit.buffered_bytes) == (True, False, 50)
