"""Engine: runs a command on one stream, and looks up the stream of a consumer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from broker import keys
from broker.commands.running import run
from broker.commands.scripts import Scripts
from broker.errors import BrokerError, ConsumerNotFound, StreamNotFound
from broker.messages.names import is_name
from broker.store.client import Store
from broker.store.connection import Argument

T = TypeVar("T")
# The reply of a command that only made a bounded step of upkeep.
AGAIN = [1]
# The streams that the first start creates, and their kinds.
FIRST_STREAMS: dict[str, Literal["records", "events"]] = {"records": "records", "events": "events"}
# The most bytes that a message adds to an answer besides its body.
MESSAGE_BYTES = 640
# How many rows of a list are read in one round trip.
ROWS_AT_ONCE = 8


class Engine:
    """Runs scripts on one store."""

    def __init__(self, store: Store, scripts: Scripts | None = None) -> None:
        self.store = store
        self.scripts = scripts or Scripts()
        self._stream_of: dict[str, str] = {}
        self.make_first: Callable[[], Awaitable[bool]] | None = None

    async def run(self, command: str, stream: str, *args: Argument) -> Any:
        """Run a command on a stream."""
        script, key = self.scripts[command], keys.stream(stream)
        try:
            return await run(self.store, script, key, args)
        except (StreamNotFound, ConsumerNotFound) as exc:
            if type(exc) is not StreamNotFound or not await self.missed(stream):
                raise _named(exc, stream, args) from exc.__cause__
        return await run(self.store, script, key, args)

    async def missed(self, stream: str) -> bool:
        """Recreate the first streams if Redis lost them (C8). Returns whether this stream exists now."""
        return stream in FIRST_STREAMS and self.make_first is not None and await self.make_first()

    async def run_ready(self, command: str, stream: str, *args: Argument) -> Any:
        """Run a command until it no longer replies `again`. Each call makes one bounded step of upkeep."""
        while (reply := await self.run(command, stream, *args)) == AGAIN:
            pass
        return reply

    async def on_consumer(
        self, command: str, consumer: str, *args: Argument, by: Callable[..., Awaitable[Any]] | None = None
    ) -> tuple[str, Any]:
        """Run a command on a consumer, by `run_ready` or the given function. Returns the stream and the reply.

        The stream of a consumer is cached. If the consumer is not found there, it is looked up once more: another
        server may have deleted it and created it on another stream.
        """
        by = by or self.run_ready
        known = self._stream_of.get(consumer)
        if known is not None:
            try:
                return known, await by(command, known, consumer, *args)
            except ConsumerNotFound:
                self.forget(consumer)
        stream = await self.stream_of(consumer)
        if stream is None or stream == known:
            raise ConsumerNotFound(f"There is no consumer {consumer!r}.")
        reply = await by(command, stream, consumer, *args)
        self._stream_of[consumer] = stream
        return stream, reply

    async def stream_of(self, consumer: str) -> str | None:
        """The stream of a consumer, from the registry."""
        if not is_name(consumer):
            return None
        stream: bytes | None = await self.store.call("HGET", keys.CONSUMERS, consumer)
        return stream.decode() if stream is not None else None

    def forget(self, consumer: str) -> None:
        """Look up the consumer's stream at its next call."""
        self._stream_of.pop(consumer, None)


def _named(error: StreamNotFound | ConsumerNotFound, stream: str, args: Sequence[Argument]) -> BrokerError:
    """The same error with the name that was not found. A script's first argument is its consumer."""
    if type(error) is StreamNotFound:
        return StreamNotFound(f"There is no stream {stream!r}.")
    return ConsumerNotFound(f"There is no consumer {args[0]!r}.") if isinstance(error, ConsumerNotFound) else error


async def rows_of(names: Sequence[str], read: Callable[[str], Awaitable[T]], missing: type[BrokerError]) -> AsyncIterator[T]:
    """Read the rows of a list in order, ROWS_AT_ONCE per round trip. Rows that `read` finds `missing` are left out."""

    async def row(name: str) -> T | None:
        try:
            return await read(name)
        except missing:
            return None

    for start in range(0, len(names), ROWS_AT_ONCE):
        for found in await asyncio.gather(*map(row, names[start : start + ROWS_AT_ONCE])):
            if found is not None:
                yield found


def room_of(heads: Sequence[bytes], bodies: Sequence[bytes]) -> int:
    """The most bytes that messages take of an answer; lua/prelude.lua uses the same number."""
    return sum(map(len, heads)) + sum(map(len, bodies)) + MESSAGE_BYTES * len(heads)


def size_of(row: msgspec.Struct) -> int:
    """The bytes that a row of a list takes of an answer."""
    return len(msgspec.json.encode(row)) + 1


def fitting(rows: Sequence[msgspec.Struct], room: int) -> int:
    """How many rows of a list an answer has room for, the first in any case."""
    for count, row in enumerate(rows):
        room -= size_of(row)
        if count and room < 0:
            return count
    return len(rows)


def flatten(rows: Iterable[Iterable[Argument]]) -> list[Argument]:
    """Rows of arguments as one flat list for a script."""
    return [argument for row in rows for argument in row]
