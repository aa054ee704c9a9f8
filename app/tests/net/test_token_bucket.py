"""The rate limit of input."""

from frota.net.token_bucket import TokenBucket


def take_all(bucket: TokenBucket) -> int:
    count = 0
    while not bucket.empty:
        bucket.take(1)
        count += 1
    return count


def test_burst_then_rate() -> None:
    """So much as the burst at once, then so much as the rate, however often the bucket is refilled."""
    bucket = TokenBucket(100, 0.5, now=0.0)
    assert take_all(bucket) == 50
    taken = 0
    for tick in range(1, 101):
        bucket.refill(100, tick / 10)
        taken += take_all(bucket)
    assert taken == 1000


def test_unused_tokens_are_not_saved() -> None:
    """After a pause there are the tokens of a burst, not those of the pause; a new rate counts at once."""
    bucket = TokenBucket(100, 0.5, now=0.0)
    bucket.refill(100, 1000.0)
    assert take_all(bucket) == 50
    bucket.refill(10, 2000.0)
    assert take_all(bucket) == 5


def test_credit_is_paid_back() -> None:
    """What was taken beyond the last token has to be refilled first."""
    bucket = TokenBucket(100, 0.5, now=0.0)
    bucket.take(150)
    bucket.refill(100, 0.5)
    assert bucket.empty
    bucket.refill(100, 1.25)
    assert take_all(bucket) == 25
