"""Delivery: next, ack, nack, and what an operator sees of it (sections 6 and 7)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from broker import ack_tokens
from broker.ack_tokens import tail
from broker.batches import Batch, Given, Nack, Peeked, PendingDelivery, Settled, Settlement
from broker.engine import Engine, flatten
from broker.errors import StoreFull
from broker.group_commit import GroupCommit
from broker.link import Argument
from broker.splicing import complete, delivered, label_of
from broker.store import NoTransactions
from broker.streams import message_id
from broker.times import rfc3339


class _Call(msgspec.Struct, frozen=True):
    """A call of next, ack or nack. `batch_size` 0 = it only settles."""

    tokens: Sequence[str] = ()
    acks: list[ack_tokens.Group] = []
    nacks: Sequence[Nack] = ()
    nack_arguments: Sequence[Argument] = ()
    batch_size: int = 0

    @property
    def weight(self) -> int:
        """Messages that it is about."""
        return len(self.tokens) + len(self.nacks) + self.batch_size


class _Answer(NamedTuple):
    """What a round's script answered: positions of stale tokens, and where it fetched, its head and the message rows as
    columns: ids, tails of the ack tokens, deliver counts, heads, bodies."""

    stream: str
    stale: list[int]
    head: list[Any] | None = None
    columns: Sequence[Sequence[Any]] = ((),) * 5


# The script `read` is tried where it was of use the last time; else again after so many more rounds, by its answer: it was not
# of use now; is never of this consumer, until another one of that name is made; has to wait for upkeep, which `next` does
# (where that is so twice in a row, as if it was not of use).
_READ_AGAIN = {1: 8, 2: 10_000, 3: 0}
# A plain client has read what the script counted on: its count is right again this soon.
_SYNC_MS = 1000


class Deliveries:
    """The deliveries of a store's consumers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._commit = GroupCommit(self._send, self._share, self.release, kind=lambda call: call.batch_size > 0)
        self._rounds_without_read: dict[str, int] = {}
        self._tokens = ack_tokens.Remembered()

    async def next(
        self, consumer: str, batch_size: int = 1, min_batch: int = 1, ack: Sequence[str] = (), nack: Sequence["Nack"] = ()
    ) -> Batch:
        """Settle, then deliver up to `batch_size` messages, or none where there are fewer than `min_batch`, in one step.

        ConsumerNotFound. InvalidAckToken: one is no token, and nothing is settled or delivered.
        """
        call = _Call(ack, self._tokens.parse(ack), nack, _nack_arguments(nack), batch_size)
        if min_batch > 1:
            [batch] = self._share([call], await self._fetch(consumer, [call], min_batch))
            return batch
        return await self._commit(consumer, call)

    async def ack(self, consumer: str, tokens: Sequence[str]) -> Settled:
        """Settle deliveries as done (C24). InvalidAckToken: one is no token, and nothing is settled."""
        settled = (await self._commit(consumer, _Call(tokens, self._tokens.parse(tokens)))).settled
        return Settled(settled.acked, settled.stale)

    async def nack(self, consumer: str, nacks: Sequence[Nack]) -> Settled:
        """Settle deliveries as not done (C26, C34). InvalidAckToken: one is no token, and nothing is settled."""
        settled = (await self._commit(consumer, _Call(nacks=nacks, nack_arguments=_nack_arguments(nacks)))).settled
        return Settled(settled.nacked, settled.stale)

    async def _send(self, consumer: str, calls: Sequence[_Call]) -> _Answer:
        """One round: the cheapest script that does what the calls ask for."""
        acks = any(call.acks for call in calls)
        if any(call.batch_size for call in calls) or (acks and any(call.nacks for call in calls)):
            return await self._fetch(consumer, calls)
        if acks:
            stream, reply = await self._engine.on_consumer("ack", consumer, *_group_arguments(calls))
        else:
            stream, reply = await self._engine.on_consumer("nack", consumer, *flatten(call.nack_arguments for call in calls))
        return _Answer(stream, reply[1:])

    async def _fetch(self, consumer: str, calls: Sequence[_Call], min_batch: int = 1) -> _Answer:
        groups = _group_arguments(calls)
        nacks, shares = flatten(call.nack_arguments for call in calls), [call.batch_size for call in calls if call.batch_size]
        if min_batch == 1 and not nacks and shares and (answer := await self._read(consumer, groups, shares)) is not None:
            return answer
        stream, reply = await self._engine.on_consumer("next", consumer, sum(shares), min_batch, *groups, *nacks, ready=True)
        ids, numbers, *columns = (reply[8 + column :: 5] for column in range(5))
        tails = {number: tail(number, reply[0].decode()) for number in set(numbers)}
        return _Answer(stream, reply[7][2:], reply[:8], [ids, list(map(tails.__getitem__, numbers)), *columns])

    async def _read(self, consumer: str, groups: Sequence[Argument], shares: Sequence[int]) -> _Answer | None:
        """Fetch by the read that follows a script, for callers that ask for so many each.

        None: nothing happened, for there is more to do than that.
        """
        rounds = self._rounds_without_read.pop(consumer, None)
        if rounds:
            if rounds > 1:
                self._rounds_without_read[consumer] = rounds - 1
            return None
        try:
            stream, reply = await self._engine.on_consumer("read", consumer, sum(shares), *groups, *shares)
        except (StoreFull, NoTransactions):  # Redis 7 takes no transaction at its memory limit, but goes on to run scripts
            stream, reply = "", [1]
        if reply[0]:
            twice = reply[0] == 3 and rounds == 0
            self._rounds_without_read[consumer] = _READ_AGAIN[1 if twice else reply[0]]
            return None
        _, *head, count, stamps, found = reply
        entries = found[0][1] if found else []
        if len(entries) < count:
            head[2] -= count - len(entries)
            head[3] = _SYNC_MS
        ids, tails = [id_ for id_, _ in entries], list[str]()
        for stamp, share in zip(stamps, shares, strict=True):
            if stamp != head[0] and (own := ids[len(tails) : len(tails) + share]):
                self._tokens.keep(stamp.decode(), own)
            tails += [tail(1, stamp.decode())] * share
        heads, bodies = [fields[1] for _, fields in entries], [fields[3] for _, fields in entries]
        columns = ids, tails[: len(entries)], [1] * len(entries), heads, bodies
        return _Answer(stream, head[7][2:], head, columns)

    def _share(self, calls: Sequence[_Call], answer: _Answer) -> list[Batch]:
        settlements = _settlements(calls, answer.stale)
        if answer.head is None:
            return [Batch(settled=settlement) for settlement in settlements]
        _, num_pending, num_ack_pending, due_in, max_waiting, seen, paused, _ = answer.head
        ids, tails, counts, heads, bodies = answer.columns
        pieces = delivered(answer.stream, ids, tails, counts, heads, bodies)
        whole = Given(answer.stream, label_of(heads[0]) if heads else "", tails, counts, pieces)
        batches, given = [], 0
        for call, settlement in zip(calls, settlements, strict=True):
            batches.append(
                Batch(
                    whole.share(given, given + call.batch_size), num_pending, num_ack_pending,
                    due_in if due_in >= 0 else None, max_waiting, seen.decode(), bool(paused), settlement,
                )
            )  # fmt: skip
            given += call.batch_size
        return batches

    async def extend(self, consumer: str, tokens: Sequence[str]) -> Settled:
        """Begin the ack wait of deliveries anew (C33). InvalidAckToken: one is no token, and nothing is extended."""
        call = _Call(tokens, self._tokens.parse(tokens))
        _, reply = await self._engine.on_consumer("extend", consumer, *_group_arguments([call]))
        return Settled(reply[0], _named(call, reply[1:]))

    async def release(self, consumer: str, batch: Batch) -> None:
        """Give back what was delivered to a caller that has gone: it takes no message with it, and the delivery does not count."""
        if batch.deliveries:
            await self.nack(consumer, [Nack(d.ack_token, 0, "release") for d in batch.deliveries])

    async def peek(self, consumer: str, limit: int = 10) -> list[Peeked]:
        """The next messages, without delivering them (C36)."""
        stream, reply = await self._engine.on_consumer("peek", consumer, limit, ready=True)
        ids, _, counts, heads, bodies = (reply[column::5] for column in range(5))
        rows = zip(ids, counts, heads, complete(stream, ids, heads, bodies), strict=True)
        return [Peeked(message.decode(), count, label_of(head), text) for message, count, head, text in rows]

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


def _group_arguments(calls: Sequence[_Call]) -> list[Argument]:
    """How many groups of acks the calls have, and these."""
    groups = [group for call in calls for group in call.acks]
    return [len(groups), *flatten((group.stamp, group.number, group.ids) for group in groups)]


def _nack_arguments(nacks: Sequence[Nack]) -> list[Argument]:
    arguments: list[Argument] = []
    for nack in nacks:
        [group] = ack_tokens.parse([nack.ack_token])
        delay = "" if nack.delay_ms is None else nack.delay_ms
        arguments += (group.stamp, nack.ack_token.partition(".")[0], group.number, delay, nack.outcome, nack.reason or "")
    return arguments


def _named(call: _Call, stale: Sequence[int]) -> list[str]:
    """The tokens at these positions, from 1, of the groups' ids one after the other; in the order that they were given."""
    if not stale:
        return []
    order = [position for group in call.acks for position in group.positions]
    return [call.tokens[i] for i in sorted(order[position - 1] for position in stale)]


def _settlements(calls: Sequence[_Call], stale: list[int]) -> list[Settlement]:
    """What became of each call's tokens. `stale` are positions among those of all calls, first the acks, then the nacks."""
    found, from_ack, from_nack = [], 0, sum(len(call.tokens) for call in calls)
    for call in calls:
        acks = [i - from_ack for i in stale if from_ack < i <= from_ack + len(call.tokens)]
        nacks = [call.nacks[i - from_nack - 1].ack_token for i in stale if from_nack < i <= from_nack + len(call.nacks)]
        from_ack, from_nack = from_ack + len(call.tokens), from_nack + len(call.nacks)
        found.append(Settlement(len(call.tokens) - len(acks), len(call.nacks) - len(nacks), _named(call, acks) + nacks))
    return found
