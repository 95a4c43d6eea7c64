"""A stream as a small Python model, and its time.

Times are in ms. `wall` is Redis' clock, which the machine alone moves, forward and back. What waits for a time span
goes by the time of its stream, which never goes back (StreamModel.open). Ids are Redis entry ids, compared as numbers.
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.property.model import ConsumerModel


def order(message_id: str) -> tuple[int, int]:
    """Stream order."""
    ms, _, seq = message_id.partition("-")
    return int(ms), int(seq)


@dataclass
class Message:
    """What lies in a stream."""

    id: str
    key: str
    collection_id: str
    data: int
    deleted: bool = False
    lapses_at: float = math.inf


@dataclass
class Delayed:
    """An event that is not yet in the log: when it is due by the machine's clock, and in ms since the epoch."""

    due: int
    due_ms: int
    event: Message
    ttl: float


@dataclass
class StreamModel:
    """A stream: what it holds, in order."""

    kind: str
    max_messages: int | None = None
    dedupe_window_ms: int = 0
    log: dict[str, Message] = field(default_factory=dict)
    consumers: list["ConsumerModel"] = field(default_factory=list)
    remembered: dict[str, tuple[str, int]] = field(default_factory=dict)
    lapsed: set[str] = field(default_factory=set)
    delayed: list[Delayed] = field(default_factory=list)
    last_id: str = "0-0"
    now: int = 0
    lead: int = 0
    steps: int = 0

    def open(self, wall: int) -> int:
        """A call looks at the clock: the stream's time goes on from where it was last seen."""
        if wall + self.lead < self.now:
            self.lead, self.steps = self.now - wall, self.steps + 1
        self.now = wall + self.lead
        return self.now

    def release(self, wall: int) -> None:
        """A call that publishes or looks appends the delayed events that are due, as of when they were."""
        self.open(wall)
        due = sorted((d for d in self.delayed if d.due <= wall), key=lambda d: (d.due_ms, d.event.data))
        self.delayed = [d for d in self.delayed if d.due > wall]
        for late in due:
            ms, seq = order(self.last_id)
            late.event.id = f"{late.due_ms}-0" if late.due_ms > ms else f"{ms}-{seq + 1}"
            late.event.lapses_at = self.now - (wall - late.due) + late.ttl
            self.append(late.event)

    def look(self, wall: int) -> None:
        """A call brings the stream up to date.

        Times to live are over: what was never delivered is not delivered any more.
        """
        self.release(wall)
        for message in self.log.values():
            if message.lapses_at <= self.now and message.id not in self.lapsed:
                self.lapsed.add(message.id)
                for consumer in self.consumers:
                    if message.id not in consumer.delivered:
                        consumer.drop(message.id)

    def current(self, key: str) -> Message | None:
        """The record of this key."""
        return next((m for m in self.log.values() if m.key == key), None)

    def append(self, message: Message) -> None:
        """A message was appended."""
        assert order(message.id) > order(self.last_id)
        self.last_id = message.id
        self.log[message.id] = message
        for consumer in self.consumers:
            if consumer.matches(message) and order(message.id)[0] >= consumer.start_ms:
                consumer.new.append(message.id)
        while self.max_messages is not None and len(self.log) > self.max_messages:
            self.remove(next(iter(self.log)))

    def remove(self, message_id: str) -> None:
        """A message left the stream: nobody waits for it any more; where it is out it stays out."""
        del self.log[message_id]
        for consumer in self.consumers:
            consumer.drop(message_id)
