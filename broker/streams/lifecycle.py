"""Streams: create, read, list, change and delete (C8-C11)."""

import contextlib
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from broker import keys
from broker.commands import registry
from broker.commands.engine import AGAIN, FIRST_STREAMS, MESSAGE_BYTES, Engine, flatten, rows_of, size_of
from broker.commands.replies import FieldRows, StreamInfoHead, parse_reply
from broker.errors import ConsumerNotFound, RecordNotFound, StreamInUse, StreamNotFound, ValidationFailed, after_a_change
from broker.messages.incoming import Kind
from broker.messages.names import Name, is_name, message_id
from broker.messages.outgoing import complete
from broker.messages.times import rfc3339
from broker.messages.validation import checked, metadata_json, nulls_are_absent
from broker.store import disk
from broker.streams.search import Page, Search, StoredMessage, search

MaxMessages = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
MaxAge = Annotated[int, msgspec.Meta(ge=1000, le=2**53)]
Replicas = Annotated[int, msgspec.Meta(ge=0, le=100)]
DedupeWindow = Annotated[int, msgspec.Meta(ge=0, le=86_400_000)]


class StreamSpec(msgspec.Struct, forbid_unknown_fields=True):
    """The input of creating a stream. Limits are for event streams: beyond them the oldest events are dropped.

    A publish is answered when this many `replicas` have it and, with `fsync`, the disk.
    """

    name: Name
    kind: Kind | None = "records"
    max_messages: MaxMessages | None = None
    max_age_ms: MaxAge | None = None
    dedupe_window_ms: DedupeWindow | None = 120_000
    replicas: Replicas | None = 0
    fsync: bool | None = False
    metadata: dict[str, Any] | None = {}

    def __post_init__(self) -> None:
        nulls_are_absent(self)


class StreamChanges(msgspec.Struct, forbid_unknown_fields=True):
    """Changes to a stream. `name` and `kind` may be given with their current value.

    Null removes a limit; for other fields it changes nothing.
    """

    name: str | UnsetType | None = UNSET
    kind: Kind | UnsetType | None = UNSET
    max_messages: MaxMessages | UnsetType | None = UNSET
    max_age_ms: MaxAge | UnsetType | None = UNSET
    dedupe_window_ms: DedupeWindow | UnsetType | None = UNSET
    replicas: Replicas | UnsetType | None = UNSET
    fsync: bool | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        nulls_are_absent(self, "max_messages", "max_age_ms")


class StreamInfo(msgspec.Struct, frozen=True):
    """The current contents of a stream. `bytes`: the Redis memory of its messages."""

    messages: int
    bytes: int
    first_id: str | None
    last_id: str | None
    consumers: int


class Stream(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stream as the API shows it; `replicas` and `fsync` only if its publishes wait for them."""

    id: str
    name: str
    kind: Kind
    max_messages: int | None
    max_age_ms: int | None
    dedupe_window_ms: int
    metadata: dict[str, Any]
    created_at: str
    updated_at: str
    info: StreamInfo
    replicas: int = 0
    fsync: bool = False


class Known(msgspec.Struct, frozen=True):
    """Cached facts of a stream: its kind, and whether its publishes wait for confirmation."""

    kind: Kind
    durable: bool


def check_name(name: str) -> None:
    """StreamNotFound: the name is invalid, so no stream has it."""
    if not is_name(name):
        raise StreamNotFound(f"There is no stream {name[:80]!r}.")


class Streams:
    """The streams of a store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._registry = registry.of_streams(engine)
        self._consumers = registry.of_consumers(engine)
        self._known: dict[str, Known] = {}
        engine.make_first = self.make_first

    async def make_first(self) -> bool:
        """Create `records` and `events` if Redis is new or lost its data. Returns whether it did so (C8)."""
        if await self._engine.store.call("EXISTS", keys.STARTED):
            return False
        for name, kind in FIRST_STREAMS.items():
            await self.create(StreamSpec(name=name, kind=kind))
        await self._engine.store.call("SET", keys.STARTED, 1)
        return True

    async def create(self, spec: StreamSpec) -> tuple[Stream, bool]:
        """Create a stream. Returns it, and whether it is new (C9). StreamExists: it exists with other fields."""
        spec = checked(spec, StreamSpec)
        assert spec.kind is not None  # noqa: S101 - no null is left
        _only_for_events(spec.kind, spec.max_messages, spec.max_age_ms)
        _check_repeatable(spec.kind, spec.dedupe_window_ms, waited_for=bool(spec.replicas or spec.fsync))
        await self._check_fsync(spec.name, spec.fsync)
        fields = {"kind": spec.kind} | _stored(spec)
        while True:
            await self._registry.claim(spec.name, "")
            is_new = await self._engine.run("stream_create", spec.name, *flatten(fields.items())) == b"created"
            with after_a_change(), contextlib.suppress(StreamNotFound):  # another caller has deleted it since: create it again
                if is_new:
                    await self._registry.confirm(spec.name, "")
                return await self.get(spec.name), is_new

    async def get(self, name: str) -> Stream:
        """One stream. StreamNotFound."""
        check_name(name)
        reply = await self._engine.run_ready("stream_info", name)
        info, rows = parse_reply(reply, StreamInfoHead, FieldRows)
        fields = {field.decode(): value.decode() for field, value in zip(*rows, strict=True)}
        return Stream(
            id=name,
            name=name,
            kind=fields["kind"],
            max_messages=_number(fields["max_messages"]),
            max_age_ms=_number(fields["max_age_ms"]),
            dedupe_window_ms=int(fields["dedupe_window_ms"]),
            metadata=msgspec.json.decode(fields["metadata"]),
            created_at=rfc3339(int(fields["created_at"])),
            updated_at=rfc3339(int(fields["updated_at"])),
            info=StreamInfo(info.messages, info.bytes, info.first_id.decode() or None, info.last_id.decode() or None, info.consumers),
            replicas=int(fields.get("replicas") or 0),
            fsync=fields.get("fsync") == "1",
        )

    async def known(self, name: str) -> Known:
        """Cached facts of a stream. Publishing notices if they have changed. StreamNotFound."""
        known = self._known.get(name)
        if known is None:
            check_name(name)
            fields = await self._engine.store.call("HMGET", keys.stream(name), "kind", "replicas", "fsync")
            if fields[0] is None and await self._engine.missed(name):
                return await self.known(name)
            if fields[0] is None:
                raise StreamNotFound(f"There is no stream {name[:80]!r}.")
            known = self._known[name] = Known(fields[0].decode(), bool(fields[1] or fields[2]))
        return known

    def forget(self, name: str) -> None:
        """Drop the cached facts of a stream."""
        self._known.pop(name, None)

    async def _check_fsync(self, name: str, fsync: object) -> None:
        """ValidationFailed: Redis cannot confirm that the disk has a message."""
        if fsync is True and (reason := await disk.make_sure(self._engine.store, keys.stream(name))):
            raise ValidationFailed({"fsync": [reason]})

    async def page(self, after: str | None = None, limit: int = 100) -> tuple[list[Stream], str | None]:
        """A page of streams by name, and the cursor of the next page."""
        names, cursor = await registry.page_of_names(self._engine, keys.STREAMS, after, limit)
        if not names and after is None and await self.make_first():
            names, cursor = await registry.page_of_names(self._engine, keys.STREAMS, after, limit)
        streams, room = list[Stream](), self._engine.scripts.max_answer_bytes - MESSAGE_BYTES
        async for stream in rows_of(names, self.get, StreamNotFound):
            room -= size_of(stream)
            if streams and room < 0:
                return streams, streams[-1].id
            streams.append(stream)
        return streams, cursor

    async def update(self, name: str, changes: StreamChanges) -> Stream:
        """Change the given fields. ValidationFailed: a fixed field was given with another value."""
        stream = await self.get(name)
        changes = checked(changes, StreamChanges)
        for field in ("name", "kind"):
            if getattr(changes, field) not in (UNSET, getattr(stream, field)):
                raise ValidationFailed({field: ["cannot be changed"]})
        given = {f: getattr(changes, f) for f in _CHANGEABLE if getattr(changes, f) is not UNSET}
        _only_for_events(stream.kind, given.get("max_messages"), given.get("max_age_ms"))
        if given:
            after = {f: given.get(f, getattr(stream, f)) for f in ("dedupe_window_ms", "replicas", "fsync")}
            _check_repeatable(stream.kind, after["dedupe_window_ms"], waited_for=bool(after["replicas"] or after["fsync"]))
            await self._check_fsync(name, given.get("fsync"))
            fields = {field: text for field, text in _stored(changes).items() if field in given}
            again = await self._engine.run("stream_update", name, *flatten(fields.items())) == AGAIN
            with after_a_change():  # the further steps drop messages beyond a tighter limit
                if again:
                    await self._engine.run_ready("stream_update", name, *flatten(fields.items()))
                return await self.get(name)
        return stream

    async def delete(self, name: str, *, force: bool = False) -> list[str]:
        """Delete a stream, its messages and its consumers. Returns the names of the consumers.

        StreamInUse: it has consumers, and `force` is not set.
        """
        check_name(name)
        try:
            consumers = await self._engine.run("stream_delete", name, "1" if force else "")
        except StreamInUse:
            if not await self._end_unnamed(name):
                raise
            consumers = await self._engine.run("stream_delete", name, "")
        self.forget(name)
        names = [consumer.decode() for consumer in consumers]
        with after_a_change():
            await self._registry.release([name], "")
            await self._consumers.release(names, name)
            for consumer in names:
                self._engine.forget(consumer)
        return names

    async def _end_unnamed(self, stream: str) -> bool:
        """Delete consumers whose creator has died before it found that the name is another's. Returns whether any.

        Those that only lack a row in the registry get it, so that the list shows them.
        """
        ended = False
        names = [name.decode() for name in await self._engine.store.call("SMEMBERS", keys.consumers(stream))]
        for name in await self._consumers.astray(names, stream):
            try:
                await self._consumers.claim(name, stream)
            except registry.Taken:
                with contextlib.suppress(ConsumerNotFound):
                    await self._engine.run("consumer_delete", stream, name)
                ended = True
        return ended

    async def messages(
        self, name: str, after: str | None = None, limit: int = 100, collection_id: str | None = None, what: Search | None = None
    ) -> Page:
        """A page of the stream's messages, oldest first, or of those that match a search (C17, C58)."""
        check_name(name)
        what = what or Search(collection_id=collection_id)
        return await search(self._engine, name, what, message_id(after) if after else None, limit)

    async def record(self, name: str, record_id: str) -> StoredMessage:
        """The current version of a record. StreamNotFound. RecordNotFound, always for event streams."""
        check_name(name)
        try:
            entry = await self._engine.run("record", name, record_id)
        except RecordNotFound as exc:
            raise RecordNotFound(f"The stream {name!r} holds no record {record_id[:80]!r}.") from exc
        return StoredMessage(entry[0].decode(), "record", complete(name, *([part] for part in entry))[0])


_CHANGEABLE = ("max_messages", "max_age_ms", "dedupe_window_ms", "replicas", "fsync", "metadata")


def _check_repeatable(kind: str, dedupe_window_ms: int | None, *, waited_for: bool) -> None:
    """ValidationFailed: ids are not remembered, so an unconfirmed publish could not be repeated safely."""
    if kind == "events" and dedupe_window_ms == 0 and waited_for:
        raise ValidationFailed({"dedupe_window_ms": ["must not be 0 where publishes wait for replicas or fsync"]})


def _only_for_events(kind: str, max_messages: object, max_age_ms: object) -> None:
    given = {"max_messages": max_messages, "max_age_ms": max_age_ms}
    errors = {field: ["only an event stream has this limit"] for field, value in given.items() if value is not None}
    if errors and kind != "events":
        raise ValidationFailed(errors)


def _stored(source: StreamSpec | StreamChanges) -> dict[str, str]:
    fields = {}
    for field in _CHANGEABLE:
        value = getattr(source, field)
        if field == "metadata" and value is not UNSET:
            fields[field] = metadata_json(value)
        elif field in ("replicas", "fsync"):
            fields[field] = str(int(value)) if value is not UNSET and value else ""
        else:
            fields[field] = "" if value is None else str(value)
    return fields


def _number(text: str) -> int | None:
    return int(text) if text else None
