from frota.core.backoff import Backoff


def pauses(backoff: Backoff, count: int) -> list[float]:
    return [backoff.pause() for _ in range(count)]


def test_each_pause_is_up_to_twice_the_one_before_and_none_is_above_the_limit() -> None:
    for pause, longest in zip(pauses(Backoff(0.1, 1.0), 7), [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0], strict=True):
        assert longest / 2 <= pause <= longest


def test_two_clients_of_one_server_do_not_come_back_in_the_same_moment() -> None:
    assert len(set(pauses(Backoff(1, 1), 20))) > 1


def test_a_success_begins_anew() -> None:
    backoff = Backoff(0.1, 60.0)
    pauses(backoff, 30)
    backoff.reset()
    assert backoff.pause() <= 0.1


def test_a_year_of_failures_overflows_nothing() -> None:
    backoff = Backoff(0.1, 2.0)
    backoff.failures = 10**6
    assert backoff.pause() <= 2.0
