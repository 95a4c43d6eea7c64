"""Types of delivery: batches, deliveries, nacks, pending and peeked messages (C20-C36)."""

from collections.abc import Sequence
from typing import Literal, overload

import msgspec

from broker.messages.outgoing import opening

Outcome = Literal["retry", "release", "reject"]


class Delivery(msgspec.Struct, frozen=True):
    """A message delivered to a worker. `label`: `record` or `event`; `json`: the message."""

    ack_token: str
    id: str
    deliver_count: int
    label: str
    json: bytes


class DeliveryList(Sequence[Delivery]):
    """The deliveries of one fetch, stored as columns. A Delivery object is made on access.

    `ids`: message ids; `tails`: each ack token after its id; `counts`: deliver counts; `messages`: as
    `outgoing.columns` returns them.
    """

    __slots__ = ("counts", "ids", "label", "messages", "stream", "tails")

    def __init__(
        self, stream: str = "", label: str = "", ids: Sequence[bytes] = (), tails: Sequence[str] = (),
        counts: Sequence[int] = (), messages: Sequence[Sequence[bytes]] = ((), (), ()),
    ) -> None:  # fmt: skip
        self.stream, self.label = stream, label
        self.ids, self.tails, self.counts, self.messages = ids, tails, counts, messages

    def share(self, start: int, stop: int) -> "DeliveryList":
        """The deliveries from `start` up to `stop`."""
        part = slice(start, stop)
        numbers, fillings, bodies = self.messages
        messages = numbers[part], fillings[part], bodies[part]
        return DeliveryList(self.stream, self.label, self.ids[part], self.tails[part], self.counts[part], messages)

    def __len__(self) -> int:
        return len(self.tails)

    @overload
    def __getitem__(self, index: int) -> Delivery: ...
    @overload
    def __getitem__(self, index: slice) -> list[Delivery]: ...
    def __getitem__(self, index: int | slice) -> Delivery | list[Delivery]:
        places = range(len(self))[index]
        return self._delivery(places) if isinstance(places, int) else list(map(self._delivery, places))

    def _delivery(self, place: int) -> Delivery:
        name = self.ids[place].decode()
        text = b"".join((opening(self.stream), *(column[place] for column in self.messages)))
        return Delivery(name + self.tails[place], name, self.counts[place], self.label, text)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))


class Settlement(msgspec.Struct, frozen=True):
    """The acks and nacks settled in the same step as a fetch (C35)."""

    acked: int = 0
    nacked: int = 0
    stale: list[str] = []


class Batch(msgspec.Struct, frozen=True):
    """The result of one `next`, and the counts at that moment (C28).

    `due_in_ms`: ms until a message may become due by time alone, None if none will; known only if the batch is empty.
    `cut`: the batch is empty because other calls of its round used up the size limit of an answer. `seen`: the last
    message id of the stream, where a waiting reader continues.
    """

    deliveries: DeliveryList = DeliveryList()
    num_pending: int = 0
    num_ack_pending: int = 0
    due_in_ms: int | None = None
    max_waiting: int = 0
    seen: str = "0-0"
    paused: bool = False
    settled: Settlement = Settlement()
    cut: bool = False


class Settled(msgspec.Struct, frozen=True):
    """How many deliveries were settled, and the stale tokens."""

    count: int
    stale: list[str]


class Nack(msgspec.Struct, frozen=True):
    """A delivery to nack. `delay_ms` None: the consumer's backoff. `reason` None: keep the last one."""

    ack_token: str
    delay_ms: int | None = None
    outcome: Outcome = "retry"
    reason: str | None = None


class PendingDelivery(msgspec.Struct, frozen=True):
    """A delivery awaiting its ack. `expired`: its ack wait is over, and the message will be delivered again.

    `worker`: the worker's name, null if it gave none.
    """

    id: str
    deliver_count: int
    delivered_at: str
    expires_at: str
    expired: bool
    worker: str | None
    reason: str | None


class Peeked(msgspec.Struct, frozen=True):
    """A message that would be delivered, and its deliver count then."""

    id: str
    deliver_count: int
    label: str
    json: bytes
