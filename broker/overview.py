"""Overview: counts of all streams and consumers for monitoring, read by a few bounded scripts per stream."""

import asyncio

import msgspec

from broker import keys
from broker.commands.engine import Engine
from broker.commands.registry import rows
from broker.commands.replies import CountRows, StreamCountsHead, parse_reply
from broker.errors import StreamNotFound

CONSUMERS_A_STEP = 50


class StreamCounts(msgspec.Struct, frozen=True):
    """The contents of a stream. `appended`: all messages since its creation, including those of plain XADDs."""

    stream: str
    messages: int
    appended: int


class ConsumerCounts(msgspec.Struct, frozen=True):
    """Pending, delivered, retrying and dead messages of a consumer, as in `ConsumerInfo`.

    `oldest_pending_s`: the age in seconds of the oldest waiting message; 0 if none waits.
    """

    stream: str
    consumer: str
    pending: int
    ack_pending: int
    retrying: int
    dead: int
    oldest_pending_s: float


class Overview(msgspec.Struct, frozen=True):
    """The counts of all streams and consumers.

    `truncated`: some are missing, because there are more than `most` consumers, or because the time was over.
    """

    streams: list[StreamCounts]
    consumers: list[ConsumerCounts]
    truncated: bool


async def look(engine: Engine, most: int, timeout: float) -> Overview:
    """Count all streams, and the first `most` consumers by name, within `timeout` seconds.

    BrokerError: Redis does not answer.
    """
    streams, consumers = list[StreamCounts](), list[ConsumerCounts]()
    cut = False
    try:
        async with asyncio.timeout(timeout):
            registered = [*(await rows(engine, keys.CONSUMERS)).items()]
            cut = len(registered) > most
            for stream in await rows(engine, keys.STREAMS):
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
    """Counts of a stream, and of those consumers that exist. StreamNotFound."""
    found, after = list[ConsumerCounts](), b""
    while True:
        reply = await engine.run_ready("stream_counts", stream, after, *names[:CONSUMERS_A_STEP])
        head, rows = parse_reply(reply, StreamCountsHead, CountRows)
        for name, pending, out, retrying, dead, oldest in zip(*rows, strict=True):
            age = max(0, head.now - oldest) / 1000 if oldest >= 0 else 0.0
            found.append(ConsumerCounts(stream, name.decode(), pending, out, retrying, dead, age))
        names, after = names[head.looked :], head.after
        if not names:
            return StreamCounts(stream, head.messages, head.appended), found
