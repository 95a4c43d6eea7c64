"""Delivery: next, ack, nack, and what an operator sees of it (sections 6 and 7)."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from broker import ack_tokens
from broker.engine import Engine
from broker.messages import complete
from broker.streams import message_id
from broker.times import rfc3339

Outcome = Literal["retry", "release", "reject"]


class Delivery(msgspec.Struct, frozen=True):
    """A message handed to a worker. `label` is `record` or `event`, `json` the message."""

    ack_token: str
    id: str
    deliver_count: int
    label: str
    json: bytes


class Settlement(msgspec.Struct, frozen=True):
    """What was settled in the same step as a fetch (C35)."""

    acked: int
    nacked: int
    stale: list[str]


class Batch(msgspec.Struct, frozen=True):
    """What one `next` gave, and the counts at that moment (C28).

    `due_in_ms` is how long until something may come due by time alone, None if nothing will; it is told only where
    the batch is empty. `seen` is the last message id of the stream: a reader that waits goes on from there.
    """

    deliveries: list[Delivery]
    num_pending: int
    num_ack_pending: int
    due_in_ms: int | None
    max_waiting: int
    seen: str
    paused: bool
    settled: Settlement


class Settled(msgspec.Struct, frozen=True):
    """How many deliveries were settled, and the tokens that name no live delivery."""

    count: int
    stale: list[str]


class Nack(msgspec.Struct, frozen=True):
    """A delivery to nack. `delay_ms` None = the consumer's backoff; `reason` None = keep the last one."""

    ack_token: str
    delay_ms: int | None = None
    outcome: Outcome = "retry"
    reason: str | None = None


class PendingDelivery(msgspec.Struct, frozen=True):
    """What is out."""

    id: str
    deliver_count: int
    delivered_at: str
    expires_at: str
    reason: str | None


class Peeked(msgspec.Struct, frozen=True):
    """A message that would be delivered, and the deliver count that it would have."""

    id: str
    deliver_count: int
    label: str
    json: bytes


class Deliveries:
    """The deliveries of a store's consumers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def next(
        self, consumer: str, batch_size: int = 1, min_batch: int = 1, ack: Sequence[str] = (), nack: Sequence["Nack"] = ()
    ) -> Batch:
        """Settle, then deliver up to `batch_size` messages, or none where there are fewer than `min_batch`, in one step.

        ConsumerNotFound. InvalidAckToken: one is no token, and nothing is settled or delivered.
        """
        settles = [*_ack_arguments(ack), *_nack_arguments(nack)]
        stream, reply = await self._engine.on_consumer(
            "next", consumer, batch_size, min_batch, len(ack), len(nack), *settles, ready=True
        )
        epoch, num_pending, num_ack_pending, due_in, max_waiting, seen, paused, settled = reply[:8]
        epoch = int(epoch)
        tokens = [*ack, *(n.ack_token for n in nack)]
        outcome = Settlement(settled[0], settled[1], [tokens[position - 1] for position in settled[2:]])
        deliveries = []
        for i in range(8, len(reply), 6):
            message, number, count, idx, inserted_at, body = reply[i : i + 6]
            name = message.decode()
            token, text = ack_tokens.encode(epoch, name, number), complete(stream, name, idx, inserted_at, body)
            deliveries.append(Delivery(token, name, count, label_of(inserted_at), text))
        due = due_in if due_in >= 0 else None
        return Batch(deliveries, num_pending, num_ack_pending, due, max_waiting, seen.decode(), bool(paused), outcome)

    async def ack(self, consumer: str, tokens: Sequence[str]) -> Settled:
        """Settle deliveries as done (C24). InvalidAckToken: one is no token, and nothing is settled."""
        _, reply = await self._engine.on_consumer("ack", consumer, *_ack_arguments(tokens))
        return Settled(reply[0], [tokens[position - 1] for position in reply[1:]])

    async def nack(self, consumer: str, nacks: Sequence[Nack]) -> Settled:
        """Settle deliveries as not done (C26, C34). InvalidAckToken: one is no token, and nothing is settled."""
        _, reply = await self._engine.on_consumer("nack", consumer, *_nack_arguments(nacks))
        return Settled(reply[0], [nacks[position - 1].ack_token for position in reply[1:]])

    async def extend(self, consumer: str, tokens: Sequence[str]) -> Settled:
        """Begin the ack wait of deliveries anew (C33). InvalidAckToken: one is no token, and nothing is extended."""
        _, reply = await self._engine.on_consumer("extend", consumer, *_ack_arguments(tokens))
        return Settled(reply[0], [tokens[position - 1] for position in reply[1:]])

    async def peek(self, consumer: str, limit: int = 10) -> list[Peeked]:
        """The next messages, without delivering them (C36)."""
        stream, reply = await self._engine.on_consumer("peek", consumer, limit, ready=True)
        return [
            Peeked(
                reply[i].decode(), reply[i + 2], label_of(reply[i + 4]), complete(stream, reply[i].decode(), *reply[i + 3 : i + 6])
            )
            for i in range(0, len(reply), 6)
        ]

    async def pending(
        self, consumer: str, after: str | None = None, limit: int = 100
    ) -> tuple[list[PendingDelivery], str | None]:
        """A page of what is out, in stream order, and the cursor of the next one (C36)."""
        _, reply = await self._engine.on_consumer("pending", consumer, message_id(after) if after else "", limit)
        rows = [
            PendingDelivery(
                reply[i].decode(), reply[i + 1], rfc3339(reply[i + 2]), rfc3339(reply[i + 3]), reply[i + 4].decode() or None
            )
            for i in range(1, len(reply), 5)
        ]
        return rows, reply[0].decode() or None


def _ack_arguments(tokens: Sequence[str]) -> list[str | int]:
    return [field for token in tokens for field in ack_tokens.decode(token)]


def _nack_arguments(nacks: Sequence[Nack]) -> list[str | int]:
    arguments: list[str | int] = []
    for nack in nacks:
        delay = "" if nack.delay_ms is None else nack.delay_ms
        arguments += (*ack_tokens.decode(nack.ack_token), delay, nack.outcome, nack.reason or "")
    return arguments


def label_of(inserted_at: bytes) -> str:
    """`record` or `event`: only a record carries the time when it first entered; see lua/shared/entries.lua."""
    return "record" if inserted_at.isdigit() else "event"
