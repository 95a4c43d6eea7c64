"""Dead letters: messages that a consumer no longer gets, kept with the reason (C37)."""

from collections.abc import Sequence

import msgspec

from broker.commands.engine import Engine, room_of
from broker.commands.replies import LetterRows, LettersHead, SummaryHead, SummaryRows, parse_reply
from broker.errors import InvalidRequest, OutcomeUnknown, StoreFull, StoreUnavailable
from broker.messages.names import message_id
from broker.messages.outgoing import complete, label_of
from broker.messages.times import rfc3339
from broker.store.connection import Argument

IDS_A_STEP = 100
SUMMARY_LETTERS, SUMMARY_GROUPS = 10_000, 100
_ADVICE = "name dead letters by the ids that their list shows"


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that used up max_deliver or was rejected."""

    id: str
    label: str
    json: bytes
    deliver_count: int
    reason: str
    last_nack_reason: str | None
    last_delivered_at: str
    last_worker: str | None
    dead_at: str


class Redriven(msgspec.Struct, frozen=True):
    """How many messages were redriven, and how many were not, because the stream no longer holds them."""

    redriven: int
    gone: int


class LetterGroup(msgspec.Struct, frozen=True):
    """Dead letters with the same reason, last nack reason and collection."""

    reason: str
    last_nack_reason: str | None
    collection_id: str
    count: int
    first_dead_at: str
    last_dead_at: str


class LettersSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """The number of dead letters, and the largest groups. `truncated`: only the first letters were examined."""

    total: int
    groups: list[LetterGroup]
    truncated: bool = False


class DeadLetters:
    """The dead letters of a store's consumers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def page(
        self,
        consumer: str,
        after: str | None = None,
        limit: int = 100,
        collection_id: str | None = None,
        reason: str | None = None,
    ) -> tuple[list[DeadLetter], str | None]:
        """A page of dead letters, the oldest first, and the cursor of the next page (C37)."""
        if reason not in (None, "max_deliver", "rejected"):
            raise InvalidRequest("reason must be max_deliver or rejected.")
        position, until = message_id(after).encode() if after else b"", b""
        found, room = list[DeadLetter](), self._engine.scripts.max_answer_bytes
        while True:  # up to the last letter of the first step: letters added meanwhile must not prolong it
            before, wanted = position, limit - len(found)
            stream, reply = await self._engine.on_consumer(
                "dead_letters", consumer, position, wanted, collection_id or "", reason or "", until, room
            )
            (position, until), rows = parse_reply(reply, LettersHead, LetterRows)
            found += _dead_letters(stream, rows)
            room -= room_of(rows.head, rows.body) + 6 * sum(map(len, rows.last_nack_reason))
            if not position or len(found) >= limit or position == before:
                return found, position.decode() or None

    async def summary(self, consumer: str) -> LettersSummary:
        """Group the letters by reason, last nack reason and collection, the largest group first (C61).

        ConsumerNotFound.
        """
        groups: dict[tuple[bytes, bytes, bytes], list[int]] = {}
        position, until, looked, total = b"", b"", 0, 0
        while True:
            _, reply = await self._engine.on_consumer("letters_summary", consumer, position, until)
            (_, total, position, until), rows = parse_reply(reply, SummaryHead, SummaryRows)
            for reason, note, collection, dead_at in zip(*rows, strict=True):
                at = int(dead_at)
                group = groups.setdefault((reason, note, collection), [0, at, at])
                group[:] = group[0] + 1, min(group[1], at), max(group[2], at)
            looked += len(rows.reason)
            if not position or looked >= SUMMARY_LETTERS:
                break
        largest = sorted(groups.items(), key=lambda row: (-row[1][0], row[0]))[:SUMMARY_GROUPS]
        return LettersSummary(total, [_group(*row) for row in largest], truncated=bool(position) and total > looked)

    async def redrive(self, consumer: str, ids: Sequence[str], *, dry_run: bool = False) -> Redriven:
        """Redrive these messages to this consumer alone, with a deliver count of 0. Ignores ids that are not dead."""
        wanted, done = [*dict.fromkeys(message_id(i, _ADVICE) for i in ids)], Redriven(0, 0)
        for i in range(0, len(wanted), IDS_A_STEP):
            some = wanted[i : i + IDS_A_STEP]
            done, _ = await self._redrive(consumer, done, dry_run, len(some), *some)
        return done

    async def redrive_matching(
        self,
        consumer: str,
        collection_id: str | None = None,
        reason: str | None = None,
        limit: int | None = None,
        *,
        dry_run: bool = False,
    ) -> Redriven:
        """Redrive the letters that match and are dead now, the oldest first, at most `limit` of them.

        If cancelled, it stops after the current step.
        """
        done, position, until = Redriven(0, 0), b"", b""
        while True:
            wanted = "" if limit is None else limit - done.redriven
            done, (position, until) = await self._redrive(
                consumer, done, dry_run, 0, wanted, collection_id or "", reason or "", position, until
            )
            if not position or done.redriven == limit:
                return done

    async def _redrive(self, consumer: str, done: Redriven, dry_run: bool, *which: Argument) -> tuple[Redriven, list[bytes]]:
        """Make one step and return the sums so far. OutcomeUnknown: this step failed, but earlier ones took effect."""
        try:
            _, (redriven, gone, *rest) = await self._engine.on_consumer("redrive", consumer, "1" if dry_run else "", *which)
        except (StoreUnavailable, StoreFull) as exc:
            if dry_run or not done.redriven:
                raise
            raise OutcomeUnknown(f"{done.redriven} messages were put back before Redis refused to go on.") from exc
        return Redriven(done.redriven + redriven, done.gone + gone), rest

    async def purge(self, consumer: str, ids: Sequence[str] | None = None) -> int:
        """Delete these dead letters, or all if no ids are given. Returns how many."""
        if ids is not None and not ids:
            return 0
        _, count = await self._engine.on_consumer("purge", consumer, *(message_id(i, _ADVICE) for i in ids or ()))
        return int(count)


def _group(alike: tuple[bytes, bytes, bytes], counted: list[int]) -> LetterGroup:
    reason, note, collection = (text.decode() for text in alike)
    count, first, last = counted
    return LetterGroup(reason, note or None, collection, count, rfc3339(first), rfc3339(last))


def _dead_letters(stream: str, rows: LetterRows) -> list[DeadLetter]:
    texts = complete(stream, rows.id, rows.head, rows.body)
    return [
        DeadLetter(
            name.decode(), label_of(head), text, int(count), reason.decode(), note.decode() or None,
            rfc3339(int(delivered)), worker.decode() or None, rfc3339(int(dead)),
        )
        for text, (name, count, reason, note, delivered, dead, head, _, worker) in zip(texts, zip(*rows, strict=True), strict=True)
    ]  # fmt: skip
