"""Delivery: next, ack, nack, extend, release, peek and pending (C20-C36, C60)."""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import msgspec

from broker.commands.engine import MESSAGE_BYTES, Engine, fitting, flatten
from broker.commands.group_commit import GroupCommit
from broker.commands.replies import Again, DeliveryRows, NextHead, Page, PendingRows, parse_reply
from broker.consumers import ack_tokens
from broker.consumers.ack_tokens import tail
from broker.consumers.batches import Batch, DeliveryList, Nack, Peeked, PendingDelivery, Settled, Settlement
from broker.consumers.fast_read import FastRead, worker_argument
from broker.errors import OutcomeUnknown, StoreUnavailable, after_a_change
from broker.messages.names import message_id
from broker.messages.outgoing import columns, complete, label_of
from broker.messages.times import rfc3339
from broker.store.connection import Argument

IDS_A_STEP = 500
# Tries, and the pause between them, to release undelivered messages while Redis cannot be reached. In total less than
# a server has for its shutdown (C45).
RELEASE_TRIES, RELEASE_PAUSE_S = 25, 0.2


class _Call(msgspec.Struct, frozen=True):
    """A call of next, ack or nack. `batch_size` 0: it only settles."""

    tokens: Sequence[str] = ()
    acks: list[ack_tokens.Group] = []
    nacks: Sequence[Nack] = ()
    nack_arguments: Sequence[Argument] = ()
    batch_size: int = 0

    @property
    def weight(self) -> int:
        """The number of messages that the call concerns."""
        return len(self.tokens) + len(self.nacks) + self.batch_size


class _Reader(NamedTuple):
    """The calls that share scripts: those of one named worker, or those of all workers without a name."""

    consumer: str
    worker: str = ""


class _Answer(NamedTuple):
    """The reply of a round's script: positions of stale tokens and, if it fetched, counts and messages."""

    stream: str
    stale: list[int]
    head: NextHead | None = None
    rows: DeliveryRows = DeliveryRows()


class Deliveries:
    """The deliveries of a store's consumers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._commit = GroupCommit(self._run_round, self._share, self._give_back, kind=lambda call: call.batch_size > 0)
        self._fast_read = FastRead(engine)

    async def fetch(
        self, consumer: str, batch_size: int = 1, min_batch: int = 1, ack: Sequence[str] = (), nack: Sequence["Nack"] = (),
        worker: str = "",
    ) -> Batch:  # fmt: skip
        """In one step, settle, then deliver up to `batch_size` messages, or none if there are fewer than `min_batch`.

        `worker`: the caller's name. ConsumerNotFound. InvalidAckToken: a string is not an ack token; nothing is
        settled or delivered.
        """
        reader = _Reader(consumer, worker)
        call = _Call(ack, ack_tokens.parse(ack), nack, _nack_arguments(nack), batch_size)
        if min_batch > 1:
            [batch] = self._share([call], await self._next(reader, [call], min_batch))
            return batch
        batch = await self._commit(reader, call)
        while batch.cut:
            with after_a_change() if ack or nack else nullcontext():
                again = await self._commit(reader, _Call(batch_size=batch_size))
            batch = msgspec.structs.replace(again, settled=batch.settled)
        return batch

    def ask(self, consumer: str, batch_size: int, min_batch: int, worker: str) -> asyncio.Future[Batch]:
        """Start a `next` and return its answer as a future. Calls of one turn of the event loop share scripts."""
        if min_batch > 1:
            return asyncio.ensure_future(self.fetch(consumer, batch_size, min_batch, worker=worker))
        return self._commit.submit(_Reader(consumer, worker), _Call(batch_size=batch_size))

    async def ack(self, consumer: str, tokens: Sequence[str]) -> Settled:
        """Settle deliveries as done (C24). InvalidAckToken: one is not an ack token; nothing is settled."""
        settled = (await self._commit(_Reader(consumer), _Call(tokens, ack_tokens.parse(tokens)))).settled
        return Settled(settled.acked, settled.stale)

    async def nack(self, consumer: str, nacks: Sequence[Nack]) -> Settled:
        """Settle deliveries as not done (C26, C34). InvalidAckToken: one is not an ack token; nothing is settled."""
        settled = (await self._commit(_Reader(consumer), _Call(nacks=nacks, nack_arguments=_nack_arguments(nacks)))).settled
        return Settled(settled.nacked, settled.stale)

    async def _run_round(self, reader: _Reader, calls: Sequence[_Call]) -> _Answer:
        """Run the cheapest script that serves all calls of a round."""
        acks = any(call.acks for call in calls)
        if any(call.batch_size for call in calls) or (acks and any(call.nacks for call in calls)):
            return await self._next(reader, calls)
        if acks:
            command, arguments = "ack", _group_arguments(calls)
        else:
            command, arguments = "nack", flatten(call.nack_arguments for call in calls)
        stream, reply = await self._engine.on_consumer(command, reader.consumer, *arguments, by=self._engine.run)
        return _Answer(stream, reply[1:])

    async def _next(self, reader: _Reader, calls: Sequence[_Call], min_batch: int = 1) -> _Answer:
        consumer, worker = reader
        groups = _group_arguments(calls)
        nacks, batch = flatten(call.nack_arguments for call in calls), sum(call.batch_size for call in calls)
        if min_batch == 1 and not nacks and batch and (read := await self._fast_read(consumer, batch, groups, worker)) is not None:
            stream, head, rows = read
            return _Answer(stream, head.settled[2:], head, rows)
        stream, reply = await self._engine.on_consumer("next", consumer, batch, min_batch, *groups, *nacks, *worker_argument(worker))
        settled = None
        while reply[0] == 1:  # it settled, and made a step of upkeep
            settled = settled or reply[1]
            with after_a_change():
                stream, reply = await self._engine.on_consumer("next", consumer, batch, min_batch, 0, *worker_argument(worker))
        head, rows = parse_reply(reply, NextHead, DeliveryRows)
        return _Answer(stream, (settled or head.settled)[2:], head, rows)

    def _share(self, calls: Sequence[_Call], answer: _Answer) -> list[Batch]:
        settlements = _settlements(calls, answer.stale)
        head, rows = answer.head, answer.rows
        if head is None:
            return [Batch(settled=settlement) for settlement in settlements]
        epoch = head.epoch.decode()
        ends = {number: tail(number, epoch) for number in set(rows.number)}
        tails = [*map(ends.__getitem__, rows.number)]
        messages = columns(answer.stream, rows.id, rows.head, rows.body)
        whole = DeliveryList(answer.stream, label_of(rows.head[0]) if tails else "", rows.id, tails, rows.deliver_count, messages)
        batches, given = [], 0
        for call, settlement in zip(calls, settlements, strict=True):
            share = whole.share(given, given + call.batch_size)
            missed = bool(tails) and not share  # a call that got nothing while others did must ask again
            due = head.due_in if head.due_in >= 0 else 0 if missed else None
            cut = missed and call.batch_size > 0 and head.due_in == 0
            batches.append(
                Batch(
                    share, head.num_pending, head.num_ack_pending, due, head.max_waiting, head.seen.decode(), bool(head.paused),
                    settlement, cut,
                )
            )  # fmt: skip
            given += call.batch_size
        return batches

    async def extend(self, consumer: str, tokens: Sequence[str]) -> Settled:
        """Restart the ack wait of deliveries (C33). InvalidAckToken: one is not an ack token; nothing is extended."""
        call = _Call(tokens, ack_tokens.parse(tokens))
        _, reply = await self._engine.on_consumer("extend", consumer, *_group_arguments([call]), by=self._engine.run)
        return Settled(reply[0], _named(call, reply[1:]))

    async def _give_back(self, reader: _Reader, batch: Batch) -> None:
        await self.release(reader.consumer, batch)

    async def release(self, consumer: str, batch: Batch) -> None:
        """Release a batch whose caller has disconnected. The deliveries do not count.

        Retries for some seconds while Redis cannot be reached: otherwise a message could die on a last delivery that
        nobody received. Repeating is safe.
        """
        nacks = [Nack(d.ack_token, 0, "release") for d in batch.deliveries]
        for tries_left in reversed(range(RELEASE_TRIES if nacks else 0)):
            try:
                await self.nack(consumer, nacks)
                return
            except (StoreUnavailable, OutcomeUnknown):
                if not tries_left:
                    raise
                await asyncio.sleep(RELEASE_PAUSE_S)

    async def release_out(self, consumer: str, ids: Sequence[str] = (), worker: str = "") -> int:
        """Release these messages, or all that a worker holds, without counting the delivery (C60). Returns how many.

        Ids without a pending delivery are skipped. Earlier tokens become stale.
        """
        wanted, released = [*dict.fromkeys(message_id(i, "name messages by the ids that pending shows") for i in ids)], 0
        for n in range(0, len(wanted), IDS_A_STEP):
            _, (count, _) = await self._engine.on_consumer("release", consumer, "", *wanted[n : n + IDS_A_STEP])
            released += count
        left = 1 if worker else 0
        while left > 0:  # but not what the worker takes meanwhile
            _, (count, more) = await self._engine.on_consumer("release", consumer, worker)
            left = more if not released else left - count
            released += count
        return released

    async def peek(self, consumer: str, limit: int = 10) -> list[Peeked]:
        """The next messages, without delivering them (C36)."""
        stream, reply = await self._engine.on_consumer("peek", consumer, limit)
        _, found = parse_reply(reply, Again, DeliveryRows)
        rows = zip(found.id, found.deliver_count, found.head, complete(stream, found.id, found.head, found.body), strict=True)
        return [Peeked(message.decode(), count, label_of(head), text) for message, count, head, text in rows]

    async def pending(self, consumer: str, after: str | None = None, limit: int = 100) -> tuple[list[PendingDelivery], str | None]:
        """A page of pending deliveries in stream order, and the cursor of the next page (C36)."""
        _, reply = await self._engine.on_consumer("pending", consumer, message_id(after) if after else "", limit)
        head, found = parse_reply(reply, Page, PendingRows)
        rows = [
            PendingDelivery(
                message.decode(), count, rfc3339(delivered_at), rfc3339(expires_at), bool(expired), worker.decode() or None,
                reason.decode() or None,
            )
            for message, count, delivered_at, expires_at, reason, worker, expired in zip(*found, strict=True)
        ]  # fmt: skip
        if (fit := fitting(rows, self._engine.scripts.max_answer_bytes - MESSAGE_BYTES)) < len(rows):
            return rows[:fit], rows[fit - 1].id
        return rows, head.after.decode() or None


def _group_arguments(calls: Sequence[_Call]) -> list[Argument]:
    """The number of ack groups of the calls, followed by the groups."""
    groups = [group for call in calls for group in call.acks]
    return [len(groups), *flatten((group.epoch, group.number, group.ids) for group in groups)]


def _nack_arguments(nacks: Sequence[Nack]) -> list[Argument]:
    arguments: list[Argument] = []
    for nack in nacks:
        [group] = ack_tokens.parse([nack.ack_token])
        delay = "" if nack.delay_ms is None else nack.delay_ms
        arguments += (group.epoch, nack.ack_token.partition(".")[0], group.number, delay, nack.outcome, nack.reason or "")
    return arguments


def _named(call: _Call, stale: Sequence[int]) -> list[str]:
    """The tokens at these positions (from 1, over all groups), in the order in which they were given."""
    if not stale:
        return []
    order = [position for group in call.acks for position in group.positions]
    return [call.tokens[i] for i in sorted(order[position - 1] for position in stale)]


def _settlements(calls: Sequence[_Call], stale: list[int]) -> list[Settlement]:
    """Split the settled tokens among the calls.

    `stale`: positions among the tokens of all calls, first the acks, then the nacks.
    """
    found, from_ack, from_nack = [], 0, sum(len(call.tokens) for call in calls)
    for call in calls:
        acks = [i - from_ack for i in stale if from_ack < i <= from_ack + len(call.tokens)]
        nacks = [call.nacks[i - from_nack - 1].ack_token for i in stale if from_nack < i <= from_nack + len(call.nacks)]
        from_ack, from_nack = from_ack + len(call.tokens), from_nack + len(call.nacks)
        found.append(Settlement(len(call.tokens) - len(acks), len(call.nacks) - len(nacks), _named(call, acks) + nacks))
    return found
