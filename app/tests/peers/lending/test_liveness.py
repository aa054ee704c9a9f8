"""Which peers respond."""

from frota.peers.lending.liveness import Liveness, LivenessPolicy, MarkDown, MarkUp, SendHeartbeat


def watching(*peers: str) -> Liveness:
    liveness = Liveness(LivenessPolicy())
    for peer in peers:
        liveness.add(peer, 0.0)
    return liveness


def test_heartbeat_every_ten_seconds() -> None:
    """A heartbeat is due at once and then every 10 s."""
    liveness = watching("a")
    liveness.heard("a", 0.0)
    due = [now for now in range(25) if SendHeartbeat("a") in liveness.tick(float(now))]
    assert due == [0, 10, 20]


def test_first_response_marks_up() -> None:
    """A peer is up from its first message on, which is said once."""
    liveness = watching("a")
    assert not liveness.is_up("a")
    assert liveness.heard("a", 1.0) == [MarkUp("a")]
    assert liveness.heard("a", 2.0) == []
    assert liveness.is_up("a")


def test_silence_marks_down() -> None:
    """A peer without a message for 25 s is down, which is said once; heartbeats go on."""
    liveness = watching("a")
    liveness.heard("a", 0.0)
    liveness.tick(20.0)
    assert liveness.tick(25.0) == []
    assert liveness.tick(25.1) == [MarkDown("a", "no message for 25 s")]
    assert liveness.tick(30.0) == [SendHeartbeat("a")]


def test_five_failures_mark_down() -> None:
    """A peer is down after five failed attempts in a row, which take 10 s."""
    liveness = watching("a")
    liveness.heard("a", 0.0)
    now, actions = 0.0, []
    while MarkDown("a", "5 attempts failed") not in actions:
        now += 0.5
        for _ in [action for action in liveness.tick(now) if isinstance(action, SendHeartbeat)]:
            actions += liveness.failed("a", now)
    assert now <= 10.0
    assert not liveness.is_up("a")


def test_success_resets_failures() -> None:
    """Failures count in a row only."""
    liveness = watching("a")
    for _ in range(4):
        assert liveness.failed("a", 0.0) == []
    liveness.heard("a", 1.0)
    assert liveness.failed("a", 2.0) == []
    assert liveness.is_up("a")


def test_peer_comes_back() -> None:
    """A peer that is down is marked up by its next message."""
    liveness = watching("a")
    liveness.heard("a", 0.0)
    liveness.tick(26.0)
    assert liveness.heard("a", 100.0) == [MarkUp("a")]


def test_unknown_peer() -> None:
    """What comes from a peer that is not configured changes nothing."""
    liveness = watching()
    assert (liveness.heard("x", 0.0), liveness.failed("x", 0.0), liveness.tick(0.0)) == ([], [], [])
