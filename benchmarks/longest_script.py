"""Longest script of each operation with large filters, batches and bodies: how long Redis is blocked.

usage: python -m benchmarks.longest_script [--redis redis-server] [--turns 3] [--scale 1.0] [CASE...]

Each case runs on an empty server. SLOWLOG times it, by the server's clock. The table shows the minimum over the turns,
because noise only adds.
"""

import argparse
import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from broker import Broker, ConsumerSpec, Filters, Nack, Store, StreamChanges, StreamSpec
from broker.store.embedded import Embedded, find_binary

PATTERNS, CONSUMERS, MATCHING, BATCH = 1000, 200, 100, 1000
BODY = "x" * 300
# The messages that wait for each of some consumers.
WAITING, WAIT_FOR = 250_000, 4
SOON_MS = 1500
Longest = tuple[float, int]


class Bench:
    """One empty server, and the calls that the cases consist of."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.call = broker.store.call

    async def longest(self, work: Awaitable[object]) -> Longest:
        """The longest script of some work in ms, and the number of scripts."""
        await self.call("SLOWLOG", "RESET")
        await work
        rows = [row for row in await self.call("SLOWLOG", "GET", 100_000) if row[3][0].upper() in (b"EVALSHA", b"EVAL")]
        return max((row[2] / 1000 for row in rows), default=0.0), len(rows)

    async def stream(self, kind: str = "events", **fields: Any) -> None:
        await self.broker.streams.create(StreamSpec(name="s", kind=kind, **fields))  # type: ignore[arg-type]

    async def consumer(self, name: str, *patterns: str, **fields: Any) -> None:
        filters = Filters(collection_id=list(patterns)) if patterns else Filters()
        await self.broker.consumers.create(ConsumerSpec(name=name, stream_id="s", filters=filters, **fields))

    async def large_filters(self, count: int = CONSUMERS) -> None:
        """Consumers with a thousand different patterns each."""
        for n in range(count):
            await self.consumer(f"large-{n}", *(f"l{n}:{i}" for i in range(PATTERNS)))

    async def matching_filters(self, count: int = MATCHING) -> None:
        """Consumers that all match every collection of the batches."""
        for n in range(count):
            await self.consumer(f"m{n}", f"only:{n}", *(f"c:{i}" for i in range(BATCH) if i != n))

    async def publish(self, version: int = 0, count: int = BATCH, **fields: Any) -> None:
        await self.broker.publish("s", [
            {"collection_id": f"c:{i}", "upstream_id": str(i), "data": f"{version}{BODY}"} | fields for i in range(count)
        ])  # fmt: skip

    async def add(self, count: int, size: int = 300) -> None:
        """Plain clients publish."""
        for i in range(count):
            await self.call("XADD", "broker:{s}:log", "*", "collection_id", f"c:{i % BATCH}", "data", f'"{"x" * size}"')

    async def drain(self, consumer: str = "m0") -> None:
        """Deliver something to a consumer, for which its index must be complete."""
        assert (await self.broker.next(consumer, 1)).deliveries


async def _soon(bench: Bench, **fields: Any) -> None:
    await bench.publish(**fields)
    await asyncio.sleep(SOON_MS / 1000)


async def create(b: Bench) -> AsyncIterator[tuple[str, Longest]]:
    """A consumer with 1,000 patterns among 200 similar ones."""
    await b.stream()
    await b.large_filters()
    yield "make it", await b.longest(b.consumer("one", *(f"o:{i}" for i in range(PATTERNS))))
    yield "delete it", await b.longest(b.broker.consumers.delete("one"))
    yield "delete the stream", await b.longest(b.broker.streams.delete("s", force=True))


async def events(b: Bench) -> AsyncIterator[tuple[str, Longest]]:
    """1,000 events of 1,000 collections."""
    await b.stream()
    await b.publish()
    yield "publish, no filter", await b.longest(b.publish(1))
    await b.consumer("one", "c:*")
    yield "publish, 1 filter", await b.longest(b.publish(2))
    await b.matching_filters()
    yield "publish, 101 filters", await b.longest(b.publish(3))
    yield "publish again", await b.longest(b.publish(4))
    yield "next", await b.longest(b.drain())


async def records(b: Bench) -> AsyncIterator[tuple[str, Longest]]:
    """1,000 records of 1,000 collections."""
    await b.stream("records")
    yield "publish, no filter", await b.longest(b.publish())
    yield "update, no filter", await b.longest(b.publish(1))
    await b.matching_filters()
    yield "update, 100 filters", await b.longest(b.publish(2))
    yield "next", await b.longest(b.drain())
    yield "update again", await b.longest(b.publish(3))
    yield "next", await b.longest(b.drain())


async def scheduled(b: Bench) -> AsyncIterator[tuple[str, Longest]]:
    """1,000 events that become due together, and then expire."""
    await b.stream()
    await b.matching_filters()
    await b.consumer("all")
    due = (datetime.now(UTC) + timedelta(milliseconds=SOON_MS)).isoformat()
    await _soon(b, deliver_at=due, ttl_ms=SOON_MS * 2)
    yield "come due, unfiltered next", await b.longest(b.drain("all"))
    yield "filtered next", await b.longest(b.drain())
    await asyncio.sleep(SOON_MS * 3 / 1000)
    yield "are over", await b.longest(b.broker.next("m1", 1))


async def plain(b: Bench) -> AsyncIterator[tuple[str, Longest]]:
    """5,000 plain XADDs."""
    await b.stream()
    await b.consumer("all")
    await b.add(5000)
    yield "unfiltered next", await b.longest(b.drain("all"))
    await b.matching_filters()
    await b.add(2000)
    yield "next, 100 filters", await b.longest(b.drain())
    await b.add(2000)
    yield "publish over them", await b.longest(b.publish())


async def late(b: Bench) -> AsyncIterator[tuple[str, Longest]]:
    """A filter that is created late."""
    await b.stream()
    for n in range(20):
        await b.publish(n)
    yield "20,000 events", await b.longest(b.consumer("one", *(f"c:{i}" for i in range(0, PATTERNS, 2))))
    await b.broker.streams.create(StreamSpec(name="t", kind="events"))
    for n in range(40):
        await b.broker.publish("t", [{"collection_id": "c:1", "data": str(n) + "x" * 1_000_000}])
    two = ConsumerSpec(name="two", stream_id="t", filters=Filters(collection_id=["c:*"]))
    yield "40 MB", await b.longest(b.broker.consumers.create(two))
    for _ in range(40):
        await b.call("XADD", "broker:{t}:log", "*", "collection_id", "c:1", "data", "x" * 1_000_000)
    yield "40 MB of plain XADDs", await b.longest(b.broker.next("two", 1))


async def limits(b: Bench) -> AsyncIterator[tuple[str, Longest]]:
    """An index whose messages have all left the stream."""
    await b.stream(max_messages=100_000)
    await b.consumer("one", "c:*")
    for n in range(100):
        await b.publish(n)
    other = [{"collection_id": "other:x", "data": BODY}] * BATCH
    held = [await b.longest(b.broker.publish("s", other)) for _ in range(100)]
    yield "publish", max(held)
    yield "next", await b.longest(b.broker.next("one", 1))


async def waiting(b: Bench) -> AsyncIterator[tuple[str, Longest]]:
    """Consumers for which 250,000 messages each wait for their key, or for a retry."""
    await b.stream()
    for n in range(WAIT_FOR):
        await b.consumer(f"k{n}", ordering="key")
    await b.consumer("retries", max_ack_pending=1_000_000)
    for n in range(WAITING // BATCH):
        await b.publish(n, key="k")
    for n in range(WAIT_FOR):
        await b.drain(f"k{n}")
        yield f"park, consumer {n + 1}", await b.longest(b.broker.next(f"k{n}", 1))
    while deliveries := (await b.broker.next("retries", BATCH)).deliveries:
        await b.broker.nack("retries", [Nack(d.ack_token, 600_000) for d in deliveries])
    yield "reset a keyed consumer", await b.longest(b.broker.consumers.reset("k3", "all"))
    yield "delete a keyed consumer", await b.longest(b.broker.consumers.delete("k2"))
    yield "delete the one with retries", await b.longest(b.broker.consumers.delete("retries"))
    tighter = StreamChanges(max_messages=WAITING // 2)
    yield "a tighter max_messages", await b.longest(b.broker.streams.update("s", tighter))
    yield "a tighter max_age_ms", await b.longest(b.broker.streams.update("s", StreamChanges(max_age_ms=1000)))
    yield "next", await b.longest(b.broker.next("k0", 1))
    yield "delete the stream", await b.longest(b.broker.streams.delete("s", force=True))


CASES: dict[str, Callable[[Bench], AsyncIterator[tuple[str, Longest]]]] = {
    case.__name__: case for case in (create, events, records, scheduled, plain, late, limits, waiting)
}


async def measure(binary: str, case: str, found: dict[str, list[Longest]]) -> None:
    """Run a case on its own server."""
    with tempfile.TemporaryDirectory(prefix="bb-") as directory:
        options = ("--appendonly", "no", "--slowlog-log-slower-than", "0", "--slowlog-max-len", "100000")
        server = Embedded(Path(directory) / "d", binary, options)
        server.start()
        with contextlib.suppress(OSError):  # keeps other programs on the machine out of the figures
            os.setpriority(os.PRIO_PROCESS, server.pid or 0, -15)
        try:
            async with Broker(Store.from_url(server.url, timeout=600)) as broker:
                step = 0
                async for row, longest in CASES[case](Bench(broker)):
                    step += 1
                    found.setdefault(f"{case} {step}: {row}", []).append(longest)
        finally:
            server.stop()


def main() -> None:
    """Parse arguments, start servers, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis", default=find_binary(), help="the server's binary")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all by default")
    args = parser.parse_args()
    found: dict[str, list[Longest]] = {}
    for _ in range(args.turns):
        for case in args.cases or CASES:
            asyncio.run(measure(args.redis, case, found))
    print("the longest script in ms, and how many scripts there were")
    for row, longest in found.items():
        print(f"  {row:<40}{min(ms for ms, _ in longest):9.2f}{longest[-1][1]:6}")


if __name__ == "__main__":
    main()
