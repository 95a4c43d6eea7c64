"""Dead letters: messages that a consumer will not be given again, kept with the reason (C37)."""

from collections.abc import Sequence

import msgspec

from broker.engine import Engine
from broker.errors import InvalidRequest
from broker.splicing import complete, label_of
from broker.streams import message_id
from broker.times import rfc3339

PAGE = 500
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
    dead_at: str


class Redriven(msgspec.Struct, frozen=True):
    """How many were put back, and how many could not be, for the stream no longer holds them."""

    redriven: int
    gone: int


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
            for i in range(1, len(reply), 8):
                found.append(_dead_letter(stream, reply[i : i + 8]))
            if not position or len(found) >= limit:
                return found, position or None

    async def redrive(self, consumer: str, ids: Sequence[str], *, dry_run: bool = False) -> Redriven:
        """Put these messages back for this consumer alone, their deliver count anew; ids that are not dead are passed over."""
        arguments = [message_id(i, _ADVICE) for i in ids]
        _, reply = await self._engine.on_consumer("redrive", consumer, "1" if dry_run else "", *arguments)
        return Redriven(*reply)

    async def redrive_matching(
        self,
        consumer: str,
        collection_id: str | None = None,
        reason: str | None = None,
        limit: int | None = None,
        *,
        dry_run: bool = False,
    ) -> Redriven:
        """Put back those that match, in the order of their deaths, at most `limit` of them."""
        redriven, gone, cursor = 0, 0, None
        while True:
            wanted = PAGE if limit is None else min(PAGE, limit - redriven)
            found, cursor = await self.page(consumer, cursor, wanted, collection_id, reason)
            if found:
                done = await self.redrive(consumer, [letter.id for letter in found], dry_run=dry_run)
                redriven, gone = redriven + done.redriven, gone + done.gone
            if cursor is None or (limit is not None and redriven >= limit):
                return Redriven(redriven, gone)

    async def purge(self, consumer: str, ids: Sequence[str] | None = None) -> int:
        """Delete these dead letters, or all where no ids are given; gives how many."""
        if ids is not None and not ids:
            return 0
        _, count = await self._engine.on_consumer("purge", consumer, *(message_id(i, _ADVICE) for i in ids or ()))
        return int(count)


def _dead_letter(stream: str, row: list[bytes]) -> DeadLetter:
    name, count, reason, note, delivered, dead, head, body = row
    return DeadLetter(
        id=name.decode(),
        label=label_of(head),
        json=complete(stream, [name], [head], [body])[0],
        deliver_count=int(count),
        reason=reason.decode(),
        last_nack_reason=note.decode() or None,
        last_delivered_at=rfc3339(int(delivered)),
        dead_at=rfc3339(int(dead)),
    )
