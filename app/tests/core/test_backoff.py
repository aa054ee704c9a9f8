from frota.core.backoff import Backoff


def pauses(backoff: Backoff, count: int) -> list[float]:
    return [backoff.pause() for _ in range(count)]


def test_pauses_double_up_to_the_limit() -> None:
    """Pauses double up to the limit, and jitter shortens each by at most a half."""
    for pause, longest in zip(pauses(Backoff(0.1, 1.0), 7), [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0], strict=True):
        assert longest / 2 <= pause <= longest


def test_pauses_have_jitter() -> None:
    """Pauses of one length differ, so that clients do not retry at the same moment."""
    assert len(set(pauses(Backoff(1, 1), 20))) > 1


def test_reset_starts_over() -> None:
    """After a reset, the first pause is short again."""
    backoff = Backoff(0.1, 60.0)
    pauses(backoff, 30)
    backoff.reset()
    assert backoff.pause() <= 0.1


def test_many_failures_do_not_overflow() -> None:
    """A million failures do not overflow the pause."""
    backoff = Backoff(0.1, 2.0)
    backoff.failures = 10**6
    assert backoff.pause() <= 2.0
