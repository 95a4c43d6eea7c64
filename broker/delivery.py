"""Delivery: next, ack, nack, and what an operator sees of it (sections 6 and 7)."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from broker import ack_tokens
from broker.engine import Engine
from broker.errors import InvalidRequest
from broker.messages import complete
from broker.streams import message_id
from broker.times import rfc3339

Outcome = Literal["retry", "release", "reject"]
DEAD_LETTERS_A_STEP = 200


class Delivery(msgspec.Struct, frozen=True):
    """A message handed to a worker. `label` is `record` or `event`, `json` the message."""

    ack_token: str
    id: str
    deliver_count: int
    label: str
    json: bytes


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


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that used up max_deliver or was rejected."""

    id: str
    label: str
    json: bytes
    deliver_count: int
    reason: str
    last_nack_reason: str | None
    last_delivered_at: str
    dead_at: str


class Deliveries:
    """The deliveries of a store's consumers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def next(self, consumer: str, batch_size: int = 1, min_batch: int = 1) -> Batch:
        """Deliver up to `batch_size` messages now, or none where there are fewer than `min_batch`. ConsumerNotFound."""
        stream, reply = await self._engine.on_consumer("next", consumer, batch_size, min_batch, ready=True)
        epoch, num_pending, num_ack_pending, due_in, max_waiting, seen = reply[:6]
        epoch = int(epoch)
        deliveries = []
        for i in range(6, len(reply), 6):
            message, number, count, idx, inserted_at, body = reply[i : i + 6]
            name = message.decode()
            deliveries.append(
                Delivery(
                    ack_tokens.encode(epoch, name, number), name, count, _label(inserted_at), complete(stream, name, idx, inserted_at, body)
                )
            )
        return Batch(deliveries, num_pending, num_ack_pending, due_in if due_in >= 0 else None, max_waiting, seen.decode())

    async def ack(self, consumer: str, tokens: Sequence[str]) -> Settled:
        """Settle deliveries as done (C24). InvalidAckToken: one is no token, and nothing is settled."""
        arguments = [field for token in tokens for field in ack_tokens.decode(token)]
        _, reply = await self._engine.on_consumer("ack", consumer, *arguments)
        return Settled(reply[0], [tokens[position - 1] for position in reply[1:]])

    async def nack(self, consumer: str, nacks: Sequence[Nack]) -> Settled:
        """Settle deliveries as not done (C26, C34). InvalidAckToken: one is no token, and nothing is settled."""
        arguments: list[str | int] = []
        for nack in nacks:
            delay = "" if nack.delay_ms is None else nack.delay_ms
            arguments += (*ack_tokens.decode(nack.ack_token), delay, nack.outcome, nack.reason or "")
        _, reply = await self._engine.on_consumer("nack", consumer, *arguments)
        return Settled(reply[0], [nacks[position - 1].ack_token for position in reply[1:]])

    async def peek(self, consumer: str, limit: int = 10) -> list[Peeked]:
        """The next messages, without delivering them (C36)."""
        stream, reply = await self._engine.on_consumer("peek", consumer, limit, ready=True)
        return [
            Peeked(
                reply[i].decode(), reply[i + 2], _label(reply[i + 4]), complete(stream, reply[i].decode(), *reply[i + 3 : i + 6])
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

    async def dead_letters(
        self,
        consumer: str,
        after: str | None = None,
        limit: int = 100,
        collection_id: str | None = None,
        reason: str | None = None,
    ) -> tuple[list[DeadLetter], str | None]:
        """A page of dead letters, in the order of their deaths, and the cursor of the next one (C37)."""
        if reason not in (None, "max_deliver", "rejected"):
            raise InvalidRequest("reason must be max_deliver or rejected.")
        position, found = message_id(after) if after else "", list[DeadLetter]()
        while True:
            wanted = limit - len(found)
            stream, reply = await self._engine.on_consumer(
                "dead_letters", consumer, position, wanted, collection_id or "", reason or ""
            )
            position = reply[0].decode()
            for i in range(1, len(reply), 9):
                found.append(_dead_letter(stream, reply[i : i + 9]))
            if not position or len(found) >= limit:
                return found, position or None


def _label(inserted_at: bytes) -> str:
    """Only a record carries the time when it first entered; see lua/shared/entries.lua."""
    return "record" if inserted_at.isdigit() else "event"


def _dead_letter(stream: str, row: list[bytes]) -> DeadLetter:
    name = row[0].decode()
    _, count, reason, note, delivered, dead, idx, inserted_at, body = row
    return DeadLetter(
        id=name,
        label=_label(inserted_at),
        json=complete(stream, name, idx, inserted_at, body),
        deliver_count=int(count),
        reason=reason.decode(),
        last_nack_reason=note.decode() or None,
        last_delivered_at=rfc3339(int(delivered)),
        dead_at=rfc3339(int(dead)),
    )
