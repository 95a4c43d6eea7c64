"""Consumers: create, read, list, change, reset, pause and delete (C18, C38, C39)."""

import contextlib
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET

from broker import keys
from broker.commands import registry
from broker.commands.engine import MESSAGE_BYTES, Engine, flatten, rows_of, size_of
from broker.commands.registry import Taken
from broker.commands.replies import ConsumerInfoHead, FieldRows, parse_reply
from broker.consumers.fields import (
    Consumer,
    ConsumerChanges,
    ConsumerSpec,
    ack_wait_of,
    info_of,
    start_of,
    stored,
)
from broker.consumers.filters import Filters, filter_id
from broker.errors import (
    BrokerError,
    ConsumerExists,
    ConsumerNotFound,
    InvalidRequest,
    StreamNotFound,
    ValidationFailed,
    after_a_change,
)  # fmt: skip
from broker.messages import times
from broker.messages.names import is_name
from broker.messages.validation import checked
from broker.store.connection import Argument


class Consumers:
    """The consumers of a store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._registry = registry.of_consumers(engine)

    async def create(self, spec: ConsumerSpec) -> tuple[Consumer, bool]:
        """Create a consumer. Returns it, and whether it is new (C18).

        ConsumerExists: it exists with other fields. ValidationFailed: a field is invalid, or the stream does not exist.
        """
        spec = checked(spec, ConsumerSpec)
        assert spec.stream_id is not None and spec.deliver_policy is not None and spec.filters is not None  # noqa: S101 - no null is left
        spec.filters.check()
        name = spec.name or f"consumer-{secrets.token_hex(8)}"
        start, canonical = start_of(spec.deliver_policy), spec.filters.canonical()
        fields = stored(
            spec, "max_deliver", "max_ack_pending", "max_waiting", "deliver_policy", "ordering", "backoff_ms", "metadata", "filters"
        )
        fields["ack_wait_ms"] = str(ack_wait_of(spec.ack_wait_ms, spec.ack_wait) or 30_000)
        if not is_name(spec.stream_id):
            raise _no_such_stream(spec.stream_id)
        arguments = name, start, filter_id(canonical), canonical, *flatten(fields.items())
        while True:
            is_new = await self._create(name, spec.stream_id, arguments)
            with contextlib.suppress(ConsumerNotFound):
                made = await self._changed(name, exact=False)
                if made.stream_id == spec.stream_id:
                    return made, is_new
            # Another caller has deleted it since: create it again.

    async def _create(self, name: str, stream: str, arguments: Sequence[Argument]) -> bool:
        """Create a consumer and its row in the registry. Returns whether it is new."""
        epoch = secrets.token_hex(8)  # of this life: a later one of the same call has another
        try:
            await self._registry.claim(name, stream)
            created = await self._engine.run_ready("consumer_create", stream, *arguments, "epoch", epoch) == b"created"
            with after_a_change():
                if not created:
                    await self._registry.claim(name, stream)
                    return False
                await self._confirm(name, stream, epoch)
        except StreamNotFound as exc:
            await self._registry.release([name], stream)
            raise _no_such_stream(stream) from exc
        except ConsumerExists as exc:
            if await self._engine.store.call("SISMEMBER", keys.consumers(stream), name):
                raise
            await self._registry.release([name], stream)
            raise ConsumerExists(
                f"A consumer group {name!r} that another Redis client made is on the stream {stream!r}, and is no consumer here."
            ) from exc
        except Taken as taken:
            raise ConsumerExists(f"A consumer {name!r} exists on the stream {taken.value!r}.") from taken
        return True

    async def _confirm(self, name: str, stream: str, epoch: str) -> None:
        """Confirm the row of a new consumer. If another caller was faster, delete the consumer. Taken."""
        try:
            await self._registry.confirm(name, stream)
        except Taken:
            with contextlib.suppress(StreamNotFound, ConsumerNotFound):
                await self._engine.run("consumer_delete", stream, name, epoch)
            raise

    async def get(self, name: str, *, exact: bool = True) -> Consumer:
        """One consumer with its counts. ConsumerNotFound.

        With ordering by key it makes one step per 500 messages that may be blocked. If not `exact`, it makes one step
        only.
        """
        stream, reply = await self._engine.on_consumer("consumer_info", name)
        head, rows = parse_reply(reply, ConsumerInfoHead, FieldRows)
        step = head
        while exact and (step.blocked_after or step.waiting_after):
            _, reply = await self._engine.on_consumer("consumer_info", name, step.blocked_after, step.waiting_after)
            step, _ = parse_reply(reply, ConsumerInfoHead, FieldRows)
            oldest = [at for at in (head.oldest_pending, step.oldest_pending) if at >= 0]
            head = head._replace(num_blocked=head.num_blocked + step.num_blocked, oldest_pending=min(oldest, default=-1))
        fields = {field.decode(): value.decode() for field, value in zip(*rows, strict=True)}
        paused_until = fields.get("paused_until", "")
        return Consumer(
            id=name,
            name=name,
            stream_id=stream,
            ack_wait_ms=int(fields["ack_wait_ms"]),
            max_deliver=int(fields["max_deliver"]),
            max_ack_pending=int(fields["max_ack_pending"]),
            max_waiting=int(fields["max_waiting"]),
            deliver_policy=fields["deliver_policy"],
            filters=msgspec.json.decode(fields["filters"], type=Filters),
            ordering=fields["ordering"],
            backoff_ms=[int(delay) for delay in fields["backoff_ms"].split(",") if delay],
            metadata=msgspec.json.decode(fields["metadata"]),
            created_at=times.rfc3339(int(fields["created_at"])),
            updated_at=times.rfc3339(int(fields["updated_at"])),
            paused=bool(head.paused),
            paused_until=times.rfc3339(int(paused_until)) if head.paused and paused_until.isdigit() else None,
            info=info_of(head),
        )

    async def _changed(self, name: str, *, exact: bool = True) -> Consumer:
        """A consumer that was just created or changed."""
        with after_a_change():
            return await self.get(name, exact=exact)

    async def page(
        self,
        after: str | None = None,
        limit: int = 100,
        stream_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        *,
        exact: bool = False,
    ) -> tuple[list[Consumer], str | None]:
        """A page of consumers by name and the next cursor. `stream_id` and `metadata` select some of them."""
        registered = await registry.rows(self._engine, keys.CONSUMERS)
        found, room = list[Consumer](), self._engine.scripts.max_answer_bytes - MESSAGE_BYTES
        names = [name for name, stream in registered.items() if (after is None or name > after) and stream_id in (None, stream)]
        async for consumer in rows_of(names, partial(self.get, exact=exact), ConsumerNotFound):
            if metadata is not None and not _contains(consumer.metadata, metadata):
                continue
            room -= size_of(consumer)
            if len(found) == limit or (found and room < 0):
                return found, found[-1].id
            found.append(consumer)
        return found, None

    async def update(self, name: str, changes: ConsumerChanges) -> Consumer:
        """Change the given fields. ValidationFailed: a fixed field was given with another value."""
        consumer = await self.get(name, exact=False)
        changes = checked(changes, ConsumerChanges)
        errors = {}
        for field in ("name", "stream_id", "deliver_policy", "ordering"):
            if getattr(changes, field) not in (UNSET, getattr(consumer, field)):
                errors[field] = ["cannot be changed"]
        if changes.filters and changes.filters.canonical() != consumer.filters.canonical():
            errors["filters"] = ["cannot be changed"]
        if errors:
            raise ValidationFailed(errors)
        given = [f for f in ("max_deliver", "max_ack_pending", "max_waiting", "backoff_ms", "metadata") if getattr(changes, f) is not UNSET]
        fields = stored(changes, *given)
        ack_wait = ack_wait_of(*(None if value is UNSET else value for value in (changes.ack_wait_ms, changes.ack_wait)))
        if ack_wait is not None:
            fields["ack_wait_ms"] = str(ack_wait)
        if fields:
            await self._engine.on_consumer("consumer_update", name, *flatten(fields.items()))
        return await self._changed(name, exact=False)

    async def reset(self, name: str, deliver_policy: str) -> Consumer:
        """Forget all delivery state and dead letters, and start at `deliver_policy` (C38). Tokens become stale."""
        stream, _ = await self._engine.on_consumer("consumer_reset", name, start_of(deliver_policy), deliver_policy, secrets.token_hex(8))
        await self._sweep(stream)
        return await self._changed(name)

    async def pause(self, name: str, until: str | None = None) -> Consumer:
        """Deliver nothing until an RFC 3339 time, or until `resume` (C39). ValidationFailed: `until` is not a time."""
        try:
            until_ms = "inf" if until is None else str(times.microseconds(until) // 1000)
        except ValueError as exc:
            raise ValidationFailed({"until": [str(exc)]}) from exc
        await self._engine.on_consumer("consumer_pause", name, until_ms)
        return await self._changed(name)

    async def resume(self, name: str) -> Consumer:
        """Deliver again."""
        await self._engine.on_consumer("consumer_pause", name, "")
        return await self._changed(name)

    async def delete(self, name: str) -> None:
        """Delete a consumer and all its delivery state. ConsumerNotFound."""
        stream, _ = await self._engine.on_consumer("consumer_delete", name)
        self._engine.forget(name)
        with after_a_change():
            await self._registry.release([name], stream)
        await self._sweep(stream)

    async def _sweep(self, stream: str) -> None:
        """Remove the leftovers of a deleted or reset consumer.

        If that fails, later calls on the stream continue it.
        """
        with contextlib.suppress(BrokerError):
            await self._engine.run_ready("sweep", stream)


def _contains(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(k in value and _contains(value[k], v) for k, v in wanted.items())
    return type(value) is type(wanted) and bool(value == wanted)


def parse_metadata_filter(text: str) -> dict[str, Any]:
    """The JSON object of a `metadata=` query. InvalidRequest: it is not an object."""
    try:
        return msgspec.json.decode(text.encode(), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as exc:
        raise InvalidRequest("metadata must be a JSON object.") from exc


def _no_such_stream(name: str) -> ValidationFailed:
    return ValidationFailed({"stream_id": [f"there is no stream {name[:80]!r}"]})
