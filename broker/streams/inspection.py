"""Inspection: the state of one message, scheduled events, and retrying messages."""

from typing import Any, Literal

import msgspec

from broker.commands.engine import MESSAGE_BYTES, Engine, fitting
from broker.commands.replies import Again, Cursor, RetryingRows, ScheduledRows, StateRows, parse_reply
from broker.errors import InvalidRequest, MessageNotFound
from broker.messages.names import message_id
from broker.messages.outgoing import complete, label_of
from broker.messages.times import rfc3339
from broker.streams.lifecycle import check_name
from broker.streams.search import StoredMessage

State = Literal["filtered", "before_start", "new", "out", "retrying", "blocked", "done", "dead"]
STATES_A_STEP = 50


class Retrying(msgspec.Struct, frozen=True):
    """A message that waits to be redelivered. `blocked`: another message holds its key."""

    id: str
    deliver_count: int
    due_at: str
    reason: str | None
    key: str | None
    blocked: bool


class Scheduled(msgspec.Struct, frozen=True):
    """An event that waits for its `deliver_at`."""

    id: str
    collection_id: str
    key: str | None
    deliver_at: str


class MessageState(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of a message for one consumer.

    `out` has worker, deliver_count, delivered_at and expires_at; `retrying` deliver_count, due_at and reason; `dead`
    deliver_count and reason.
    """

    consumer: str
    state: State
    worker: str | msgspec.UnsetType | None = msgspec.UNSET
    deliver_count: int | msgspec.UnsetType = msgspec.UNSET
    delivered_at: str | msgspec.UnsetType = msgspec.UNSET
    expires_at: str | msgspec.UnsetType = msgspec.UNSET
    due_at: str | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType | None = msgspec.UNSET


class Inspection:
    """Reads the state of messages. Only `cancel` changes anything."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._room = engine.scripts.max_answer_bytes - MESSAGE_BYTES

    async def message(self, stream: str, message: str) -> tuple[StoredMessage, list[MessageState]]:
        """A message, and its state for each consumer, sorted by name. StreamNotFound, MessageNotFound."""
        check_name(stream)
        try:
            name = message_id(message)
        except InvalidRequest as exc:
            raise MessageNotFound(f"{message[:64]!r} is not a message id.") from exc
        _, head, body, consumers = await self._engine.run_ready("message", stream, name)
        states = list[MessageState]()
        for i in range(0, len(consumers), STATES_A_STEP):
            reply = await self._engine.run_ready("message", stream, name, *consumers[i : i + STATES_A_STEP])
            _, rows = parse_reply(reply, Again, StateRows)
            states += [_state(*row) for row in zip(*rows, strict=True)]
        [text] = complete(stream, [name.encode()], [head], [body])
        return StoredMessage(name, label_of(head), text), states

    async def scheduled(self, stream: str, after: str | None = None, limit: int = 100) -> tuple[list[Scheduled], str | None]:
        """A page of scheduled events, in order of time, and the cursor of the next page.

        StreamNotFound.
        """
        check_name(stream)
        if after is not None:
            message_id(after)
        while True:
            reply = await self._engine.run_ready("scheduled", stream, after or "", limit)
            head, rows = parse_reply(reply, Cursor, ScheduledRows)
            found = [
                Scheduled(name.decode(), collection.decode(), key.decode() or None, rfc3339(at))
                for name, collection, key, at in zip(*rows, strict=True)
            ]
            if (fit := fitting(found, self._room)) == len(found):
                return found, head.after.decode() or None
            limit = fit  # only the script knows the cursor of a shorter page

    async def cancel(self, stream: str, event: str) -> None:
        """Delete a scheduled event. StreamNotFound. EventNotFound: the event is not scheduled."""
        check_name(stream)
        await self._engine.run_ready("cancel", stream, event)

    async def retrying(self, consumer: str, after: str | None = None, limit: int = 100) -> tuple[list[Retrying], str | None]:
        """A page of messages that wait to be redelivered, in stream order, and the cursor of the next page.

        ConsumerNotFound.
        """
        position, found = message_id(after) if after else "", list[Retrying]()
        while True:
            _, reply = await self._engine.on_consumer("retrying", consumer, position, limit - len(found))
            head, rows = parse_reply(reply, Cursor, RetryingRows)
            for name, count, due_at, reason, key, blocked in zip(*rows, strict=True):
                found.append(Retrying(name.decode(), count, rfc3339(due_at), reason.decode() or None, key.decode() or None, bool(blocked)))
            if (fit := fitting(found, self._room)) < len(found):
                return found[:fit], found[fit - 1].id
            position = head.after.decode()
            if not position or len(found) >= limit:
                return found, position or None


def _state(
    consumer: bytes, state: bytes, worker: bytes, count: int, delivered_at: int, expires_at: int, due_at: int, reason: bytes
) -> MessageState:
    fields: dict[str, Any] = {"consumer": consumer.decode(), "state": state.decode()}
    if state == b"out":
        fields["worker"] = worker.decode() or None
    if count >= 0:
        fields["deliver_count"] = count
    if state in (b"retrying", b"dead"):
        fields["reason"] = reason.decode() or None
    for name, at in (("delivered_at", delivered_at), ("expires_at", expires_at), ("due_at", due_at)):
        if at >= 0:
            fields[name] = rfc3339(at)
    return MessageState(**fields)
