"""Publishing: parses a request's bytes and stores the messages (C12-C17)."""

import asyncio
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import msgspec

from broker.commands.engine import Engine, flatten
from broker.commands.group_commit import GroupCommit
from broker.errors import BrokerError, OutcomeUnknown, PayloadTooLarge, StoreFull, StoreUnavailable, ValidationFailed, WrongKind
from broker.messages.incoming import Kind, Outgoing, decode_batch, decode_one, outgoing
from broker.streams.confirmation import Durability, Mark
from broker.streams.lifecycle import Known, Streams

Status = Literal["created", "updated", "deleted", "unchanged", "stale", "duplicate"]
MAX_MESSAGE_BYTES = 1 << 20
LINES_A_CHUNK = 250  # more do not fit into a socket's buffer, where they would wait while the next are read
BYTES_A_CHUNK = 1 << 20
# Marks a pause in the input: store the lines read so far without waiting for the next one.
PAUSE = b"\n"


class Published(msgspec.Struct, frozen=True):
    """The result for one message: its id, its place in the stream (None: it is scheduled), and its status."""

    id: str
    message_id: str | None
    status: Status


class PublishFailed(BrokerError):
    """Publishing lines failed: the cause, and how many messages before it are stored."""

    def __init__(self, cause: BrokerError, stored: int) -> None:
        before = "1 message before it is" if stored == 1 else f"{stored} messages before it are"
        summary = f"{cause.summary} {before} stored."
        if isinstance(cause, StoreUnavailable | StoreFull):  # "nothing happened" holds only for the rest
            summary = f"{cause.summary.partition(';')[0].rstrip('.')}; {before} stored, and nothing after them."
        super().__init__(summary)
        self.cause = cause
        self.stored = stored


class Repeatable(msgspec.Struct, frozen=True):
    """A message that may be stored. Publishing it again with this id stores it once. `message_id` None: unknown."""

    id: str
    message_id: str | None


class Unconfirmed(OutcomeUnknown):
    """A publish that was not confirmed by replicas or the disk. It may be stored."""

    def __init__(self, messages: Sequence[Repeatable]) -> None:
        super().__init__("It was not confirmed that replicas or the disk have it; publishing it again with the ids given here is safe.")
        self.messages = messages


class _Call(msgspec.Struct, frozen=True):
    """The messages of one request, or of a chunk of lines."""

    kind: Kind
    ready: list[Outgoing]
    durable: bool

    @property
    def weight(self) -> int:
        """The number of messages."""
        return len(self.ready)

    @property
    def ids(self) -> set[str]:
        """The ids of the messages."""
        return {message.id for message in self.ready}


class Publisher:
    """Publishes to the streams of a store. `max_message_bytes` bounds one message's stored JSON (C14)."""

    def __init__(self, engine: Engine, streams: Streams, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._engine = engine
        self._streams = streams
        self._limit = max_message_bytes
        self._commit = GroupCommit(self._publish_round, _share, fits=_fits)
        self._durability = Durability(engine.store)

    async def publish(self, stream: str, messages: Sequence[dict[str, Any]]) -> list[Published]:
        """Publish 1-1000 messages, all or none (C13). Returns one result per message, in order."""
        return await self.publish_json(stream, msgspec.json.encode({"messages": messages}))

    async def publish_json(self, stream: str, body: bytes, trace: dict[str, str] | None = None) -> list[Published]:
        """Publish a request body `{"messages": [...]}`, all or none (C13). `trace`: see `outgoing`."""

        known = await self._streams.known(stream)
        try:
            return await self._publish_batch(stream, known, body, trace)
        except (WrongKind, ValidationFailed, PayloadTooLarge):
            # Another server may have created the stream again with the other kind: read it before refusing.
            self._streams.forget(stream)
            now = await self._streams.known(stream)
            if now.kind == known.kind:
                raise
            return await self._publish_batch(stream, now, body, trace)

    async def _publish_batch(
        self, stream: str, known: Known, body: bytes, trace: dict[str, str] | None
    ) -> list[Published]:  # fmt: skip
        batch = decode_batch(known.kind, body)
        ready = [
            outgoing(stream, m, f"messages[{i}]", self._limit, remember=known.durable, trace=trace)
            for i, m in enumerate(batch)
        ]  # fmt: skip
        return await self._store(stream, _Call(known.kind, ready, known.durable))

    async def publish_lines(
        self, stream: str, lines: AsyncIterator[bytes], trace: dict[str, str] | None = None
    ) -> AsyncIterator[list[Published]]:
        """Publish NDJSON lines as they arrive, and yield the results chunk by chunk. `trace`: see `outgoing`.

        PublishFailed: a line is invalid. The lines before it are stored.
        """
        self._streams.forget(stream)
        known = await self._streams.known(stream)
        under_way: asyncio.Task[list[Published]] | None = None
        fault: BrokerError | None = None
        stored = 0
        try:
            try:
                # Lines are read while the previous chunk is stored.
                async for ready in self._chunks(stream, known, lines, trace):
                    if under_way is not None:
                        before, under_way = under_way, None
                        done = await before
                        stored += len(done)
                        yield done
                    under_way = asyncio.create_task(self._store(stream, _Call(known.kind, ready, known.durable)))
                    for _ in range(2):  # turns of the event loop until the chunk is sent; reading would delay it
                        await asyncio.sleep(0)
            except BrokerError as exc:
                fault = exc
            if under_way is not None:
                done = await under_way
                stored += len(done)
                yield done
            if fault is not None:
                raise fault
        except BrokerError as exc:
            raise PublishFailed(exc, stored) from exc
        finally:
            fault = None  # breaks a reference cycle that would keep the received lines

    async def _chunks(
        self, stream: str, known: Known, lines: AsyncIterator[bytes], trace: dict[str, str] | None
    ) -> AsyncIterator[list[Outgoing]]:
        """The messages of the lines in chunks. At an invalid line: those before it, then the error."""
        ready: list[Outgoing] = []
        size = number = 0
        async for line in lines:
            if line is PAUSE:
                if ready:
                    yield ready
                    ready, size = [], 0
                continue
            number += 1
            if number == 1:
                line = line.removeprefix(BOM_UTF8)
            if not line or line.isspace():
                continue
            path = f"line[{number}]"
            try:
                if len(line) > self._limit + 4096:
                    raise PayloadTooLarge(f"{path} is longer than {self._limit} bytes.")
                message = decode_one(known.kind, line, path)
                ready.append(outgoing(stream, message, path, self._limit, remember=known.durable, trace=trace))
            except BrokerError as exc:
                if ready:
                    yield ready
                raise _at_line(exc, path) from exc
            size += len(line)
            if len(ready) >= LINES_A_CHUNK or size >= BYTES_A_CHUNK:
                yield ready
                ready, size = [], 0
        if ready:
            yield ready

    async def _store(self, stream: str, call: _Call) -> list[Published]:
        """Store the messages of a call, and wait for confirmation. Unconfirmed: it did not come in time."""
        try:
            published, mark = await self._commit(stream, call)
        except OutcomeUnknown as exc:
            if not call.durable:
                raise
            raise Unconfirmed([Repeatable(message.id, None) for message in call.ready]) from exc
        if call.durable != (mark is not None):
            self._streams.forget(stream)  # it has changed since it was looked up
        if mark is not None and not await self._durability.confirm(stream, mark):
            if not call.durable and call.kind == "events":  # generated ids are not remembered
                raise OutcomeUnknown("It is stored, and was not confirmed as the stream asks for since a moment ago.")
            raise Unconfirmed([Repeatable(row.id, row.message_id) for row in published])
        return published

    async def close(self) -> None:
        """Close the connections that wait for confirmations."""
        await self._durability.close()

    async def _publish_round(self, stream: str, calls: Sequence[_Call]) -> list[Any]:
        arguments = flatten(message.arguments for call in calls for message in call.ready)
        reply: list[Any] = await self._engine.run_ready(f"publish_{calls[0].kind}", stream, *arguments)
        return reply


def _share(calls: Sequence[_Call], reply: list[Any]) -> list[tuple[list[Published], Mark | None]]:
    mark = None
    if len(reply) % 2:
        replicas, fsync, name = reply.pop()
        mark = Mark(replicas, bool(fsync), name.decode())
    rows = zip(reply[1::2], reply[::2], strict=True)
    return [([Published(message.id, *_outcome(*next(rows))) for message in call.ready], mark) for call in calls]


def _outcome(message_id: bytes, status: bytes) -> tuple[str | None, Status]:
    return message_id.decode() or None, status.decode()  # type: ignore[return-value]


def _fits(calls: Sequence[_Call], call: _Call) -> bool:
    """Records with a common id do not fit: in one script the first version would be replaced without a trace."""
    if call.kind != calls[0].kind:
        return False
    return call.kind == "events" or all(call.ids.isdisjoint(other.ids) for other in calls)


def _at_line(error: BrokerError, path: str) -> BrokerError:
    """An error of a line as ValidationFailed, unless the line is too large."""
    if isinstance(error, ValidationFailed | PayloadTooLarge):
        return error
    return ValidationFailed({path: [error.summary.rstrip(".")]})


def count_by_status(results: Sequence[Published]) -> dict[str, int]:
    """The number of messages per status."""
    return dict(Counter(result.status for result in results))
