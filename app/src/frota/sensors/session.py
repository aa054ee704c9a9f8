"""One client's session: its phase, its producer id and its sequence numbers. No I/O."""

from enum import Enum
from uuid import UUID

from frota.sensors.framing import Event, Framer
from frota.sensors.messages import MAX_NUMBER
from frota.storage.wal.segment import NO_PRODUCER


class Phase(Enum):
    """What a session does with input."""

    OPEN = "input becomes readings"
    BATCHED = "a packet waits for the end of this turn of the event loop; further input is processed after it"
    HANDSHAKE = "a hello is not answered yet; events are queued"
    STREAMING = "history or new readings are sent; input is discarded"
    ENDING = "input is discarded; what was received is answered, then the connection ends"


class Step(Enum):
    """What takes a session from one phase to the next."""

    PACKET = "a packet that may be exactly one reading is put into a batch"
    FLUSHED = "the batch is processed"
    HELLO = "a client names its producer id"
    NUMBERED = "the hello is answered with the client's last durable number"
    QUERY = "a client requests history or new readings"
    END = "an error, the end of the input or of the process"


TRANSITIONS = {
    (Phase.OPEN, Step.PACKET): Phase.BATCHED,
    (Phase.BATCHED, Step.FLUSHED): Phase.OPEN,
    (Phase.OPEN, Step.HELLO): Phase.HANDSHAKE,
    (Phase.HANDSHAKE, Step.NUMBERED): Phase.OPEN,
    (Phase.OPEN, Step.QUERY): Phase.STREAMING,
    **{(phase, Step.END): Phase.ENDING for phase in Phase},
}
BATCHED = TRANSITIONS[Phase.OPEN, Step.PACKET]  # set without a lookup, once per reading
FLUSHED = TRANSITIONS[Phase.BATCHED, Step.FLUSHED]


class Session:
    """The state of a session.

    `producer` is NO_PRODUCER until a hello, and `producer_id`, the same as text, is empty; readings have sequence
    numbers only after it. `errors` counts the rejected lines.
    """

    __slots__ = ("_next_number", "_queued", "errors", "framer", "phase", "producer", "producer_id")

    def __init__(self, framer: Framer) -> None:
        self.framer = framer
        self.phase = Phase.OPEN
        self.producer = NO_PRODUCER
        self.producer_id = ""
        self.errors = 0
        self._next_number = 0
        self._queued: list[Event] = []

    def advance(self, step: Step) -> None:
        """Enter the next phase."""
        self.phase = TRANSITIONS[self.phase, step]

    def receive(self, data: bytes) -> list[Event]:
        """Return the events that are complete now; none while they are queued or discarded."""
        if self.phase is Phase.STREAMING or self.phase is Phase.ENDING:
            return []
        events = self.framer.feed(data)
        if self.phase is Phase.HANDSHAKE:
            self._queued += events
            return []
        return events

    def defer(self, events: list[Event]) -> None:
        """Queue the events behind a hello; discard them in any other phase."""
        if self.phase is Phase.HANDSHAKE:
            self._queued = events

    def greet(self, argument: str) -> bytes:
        """Begin the handshake of `frota hello UUID`; return the producer id. Raises ValueError saying what is right."""
        try:
            producer = UUID(argument).bytes
        except ValueError:
            producer = NO_PRODUCER
        if producer == NO_PRODUCER or self.producer is not NO_PRODUCER:
            raise ValueError("hello espera um UUID, uma vez por conexão")
        self.producer, self.producer_id = producer, str(UUID(bytes=producer))
        self.advance(Step.HELLO)
        return producer

    def number_after(self, last: int) -> list[Event]:
        """End the handshake: the next line has number `last` + 1. Return the queued events."""
        self._next_number = last + 1
        self.advance(Step.NUMBERED)
        events, self._queued = self._queued, []
        return events

    def skip(self, argument: str) -> int:
        """Continue with the number of `frota skip NUMBER`; return how many readings are lost. Raises ValueError."""
        valid = argument.isascii() and argument.isdigit() and len(argument) <= len(str(MAX_NUMBER))
        if not valid or self.producer is NO_PRODUCER or int(argument) < self._next_number:
            raise ValueError(f"skip espera um número acima do último, até {MAX_NUMBER}, depois de hello")
        new_client = self._next_number <= 1  # which may begin with any number
        lost = 0 if new_client else int(argument) - self._next_number
        self._next_number = int(argument)
        return lost

    def number_lines(self, count: int) -> int:
        """Give the next lines their numbers; return the last of them, 0 without a producer id."""
        if self.producer is NO_PRODUCER:
            return 0
        self._next_number += count
        return self._next_number - 1
