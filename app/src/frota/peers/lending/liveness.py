"""Which peers respond: heartbeats, and who is down. No I/O; `now` is the server's monotonic time."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class LivenessPolicy:
    """When a peer is down; the defaults are those of the legacy protocol."""

    heartbeat_every_s: float = 10.0
    down_after_s: float = 25.0  # without a message
    down_after_failures: int = 5  # attempts to connect or to send, in a row
    retry_every_s: float = 2.0  # after a failed attempt: five of them take 10 s


@dataclass(frozen=True, slots=True)
class SendHeartbeat:
    """Send the peer a heartbeat; report its response, or that the attempt failed."""

    peer: str


@dataclass(frozen=True, slots=True)
class MarkDown:
    """The peer is down: it is not asked for workers, and heartbeats go on."""

    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class MarkUp:
    """The peer responds for the first time, or again."""

    peer: str


LivenessAction: TypeAlias = SendHeartbeat | MarkDown | MarkUp


class _Peer:
    __slots__ = ("failures", "heard_at", "next_heartbeat", "up")

    def __init__(self, now: float) -> None:
        self.up = False
        self.failures = 0  # in a row
        self.heard_at = self.next_heartbeat = now


class Liveness:
    """The peers of one server. A peer is down until it responds for the first time."""

    def __init__(self, policy: LivenessPolicy | None = None) -> None:
        self.policy = policy or LivenessPolicy()
        self._peers: dict[str, _Peer] = {}

    def add(self, peer: str, now: float) -> None:
        """Watch a peer."""
        self._peers.setdefault(peer, _Peer(now))

    def remove(self, peer: str) -> None:
        """Do not watch a peer any more."""
        self._peers.pop(peer, None)

    def is_up(self, peer: str) -> bool:
        """Return whether a peer responds."""
        return peer in self._peers and self._peers[peer].up

    def heard(self, peer: str, now: float) -> list[LivenessAction]:
        """Note any message of a peer."""
        record = self._peers.get(peer)
        if record is None:
            return []
        record.heard_at, record.failures = now, 0
        recovered, record.up = not record.up, True
        return [MarkUp(peer)] if recovered else []

    def failed(self, peer: str, now: float) -> list[LivenessAction]:
        """Note that a connection to a peer, or a heartbeat, failed."""
        record = self._peers.get(peer)
        if record is None:
            return []
        record.failures += 1
        record.next_heartbeat = min(record.next_heartbeat, now + self.policy.retry_every_s)
        if record.failures < self.policy.down_after_failures:
            return []
        return self._down(peer, record, f"{record.failures} attempts failed")

    def tick(self, now: float) -> list[LivenessAction]:
        """Return the heartbeats that are due and the peers that have become silent; call it once a second or more."""
        actions: list[LivenessAction] = []
        for peer, record in self._peers.items():
            if now - record.heard_at > self.policy.down_after_s:
                actions += self._down(peer, record, f"no message for {self.policy.down_after_s:g} s")
            if record.next_heartbeat <= now:
                record.next_heartbeat = now + self.policy.heartbeat_every_s
                actions.append(SendHeartbeat(peer))
        return actions

    @staticmethod
    def _down(peer: str, record: _Peer, reason: str) -> list[LivenessAction]:
        changed, record.up = record.up, False
        return [MarkDown(peer, reason)] if changed else []
