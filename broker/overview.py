"""All streams and consumers at a glance, for those who watch: a few bounded scripts a stream, one after the other."""

import asyncio

import msgspec

from broker import keys
from broker.commands.engine import Engine, pairs
from broker.commands.replies import CountRows, StreamCountsHead, taken_apart
from broker.errors import StreamNotFound

CONSUMERS_A_STEP = 50


class StreamCounts(msgspec.Struct, frozen=True):
    """What a stream holds. `appended`: how many messages came into it since it was made, plain XADDs among them."""

    stream: str
    messages: int
    appended: int


class ConsumerCounts(msgspec.Struct, frozen=True):
    """What waits for a consumer, is out, waits to be delivered again, and is dead, as `ConsumerInfo` has it.

    `oldest_pending_s`: the age in seconds of the oldest message that waits; 0 where none does.
    """

    stream: str
    consumer: str
    pending: int
    ack_pending: int
    retrying: int
    dead: int
    oldest_pending_s: float


class Overview(msgspec.Struct, frozen=True):
    """The counts of all streams and consumers. `truncated`: of the first consumers by name alone, or of what was read in time."""

    streams: list[StreamCounts]
    consumers: list[ConsumerCounts]
    truncated: bool


async def look(engine: Engine, most: int, timeout: float) -> Overview:
    """Look at all streams, and at the first `most` consumers by name, for `timeout` seconds at most. BrokerError: Redis cannot be asked."""
    streams, consumers = list[StreamCounts](), list[ConsumerCounts]()
    cut = False
    try:
        async with asyncio.timeout(timeout):
            registered = sorted(pairs(await engine.store.call("HGETALL", keys.CONSUMERS)))
            cut = len(registered) > most
            for name in sorted(await engine.store.call("HKEYS", keys.STREAMS)):
                stream = name.decode()
                names = [consumer for consumer, owner in registered[:most] if owner == stream]
                try:
                    held, counts = await _counts(engine, stream, names)
                except StreamNotFound:
                    continue
                streams.append(held)
                consumers += counts
    except TimeoutError:
        cut = True
    return Overview(streams, consumers, cut)


async def _counts(engine: Engine, stream: str, names: list[str]) -> tuple[StreamCounts, list[ConsumerCounts]]:
    """A stream, and those of the consumers that are there. StreamNotFound."""
    found, after = list[ConsumerCounts](), b""
    while True:
        reply = await engine.run_ready("stream_counts", stream, after, *names[:CONSUMERS_A_STEP])
        head, rows = taken_apart(reply, StreamCountsHead, CountRows)
        for name, pending, out, retrying, dead, oldest in zip(*rows, strict=True):
            age = max(0, head.now - oldest) / 1000 if oldest >= 0 else 0.0
            found.append(ConsumerCounts(stream, name.decode(), pending, out, retrying, dead, age))
        names, after = names[head.looked :], head.after
        if not names:
            return StreamCounts(stream, head.messages, head.appended), found
