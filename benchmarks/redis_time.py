"""Redis time of `next` and publish, by INFO commandstats: does it stay flat as streams and consumers grow?

usage: python -m benchmarks.redis_time [--events 1000000] [--out 100000] [--consumers 200]
"""

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from broker import Broker, ConsumerSpec, Filters, StreamSpec
from broker.store.embedded import Embedded

BATCH = 10
CALLS = 400
TURNS = 7
# How many messages the turns need: full batches of new messages, and of those that match the filter, one in a hundred.
FEWEST_NEW, FEWEST = TURNS * 50 * BATCH, 100 * (TURNS * 20 * BATCH + 1)
BODY = "x" * 300
Result = TypeVar("Result")


async def fill(broker: Broker, stream: str, count: int) -> None:
    """Publish `count` events; one in a hundred is of the collection `rare:one`."""
    for start in range(0, count, 1000):
        batch = [
            {"collection_id": "rare:one" if i % 100 == 0 else f"common:{i % 7}", "data": {"n": i, "text": BODY}}
            for i in range(start, min(start + 1000, count))
        ]
        await broker.publish(stream, batch)


async def next_cost(broker: Broker, consumer: str, calls: int = CALLS, batch: int = BATCH, ack: bool = True) -> float:
    """Microseconds of Redis time per call of `next`, over `calls` calls that each deliver a full batch."""
    total = 0.0
    for _ in range(calls):
        got, usec = await redis_usec(broker, broker.next(consumer, batch))
        total += usec
        assert len(got.deliveries) == batch, len(got.deliveries)
        if ack:
            await broker.ack(consumer, [d.ack_token for d in got.deliveries])
    return total / calls


async def redis_usec(broker: Broker, call: Awaitable[Result]) -> tuple[Result, float]:
    """Make a call. Returns its result, and the Redis time of its script or transaction."""

    async def spent() -> list[float]:
        lines = (await broker.store.call("INFO", "commandstats")).decode().splitlines()
        usec = {line.partition(":")[0]: float(line.split("usec=")[1].split(",")[0]) for line in lines if "usec=" in line}
        return [usec.get(f"cmdstat_{name}", 0.0) for name in ("evalsha", "exec")]

    before = await spent()
    result = await call
    return result, max(now - then for now, then in zip(await spent(), before, strict=True))


async def publish_cost(broker: Broker, stream: str, calls: int = CALLS) -> float:
    """Microseconds of Redis time per publish of ten events, each matched by one filter."""
    total = 0.0
    for _ in range(calls):
        _, usec = await redis_usec(broker, broker.publish(stream, [{"collection_id": "c:0", "data": BODY}] * 10))
        total += usec
    return total / calls


async def measure(url: str, events: int, out: int, consumers: int) -> None:
    """Print the table: each cost next to its baseline, measured in turns."""
    spec = {"max_ack_pending": 1_000_000, "ack_wait_ms": 43_200_000}
    async with Broker.from_url(url) as broker:

        async def consumer(name: str, stream: str, filters: Filters | None = None) -> str:
            fields = ConsumerSpec(name=name, stream_id=stream, filters=filters or Filters(), **spec)  # type: ignore[arg-type]
            await broker.consumers.create(fields)
            return name

        for name, count in (("small", 3 * CALLS * BATCH + 1000), ("big", events), ("many", 3 * CALLS * BATCH + 1000)):
            await broker.streams.create(StreamSpec(name=name, kind="events"))
            await fill(broker, name, count)
        for name in ("few-filters", "many-filters"):
            await broker.streams.create(StreamSpec(name=name, kind="events"))
        for n in range(consumers):
            await consumer(f"crowd-{n}", "many")
            await consumer(f"filter-{n}", "many-filters", Filters(collection_id=f"c:{n}"))
        await consumer("one-filter", "few-filters", Filters(collection_id="c:0"))
        busy = await consumer("big-busy", "big")
        for _ in range(out // 1000):
            await broker.next(busy, 1000)
        rare = Filters(collection_id="rare:one")
        await broker.next(await consumer("big-rare", "big", rare), 1)  # builds the index
        base = await consumer("small-all", "small")
        rows: dict[str, Callable[[], Awaitable[float]]] = {
            f"next of {BATCH}, few waiting": lambda: next_cost(broker, base, 50),
            f"{events:,} waiting": lambda: next_cost(broker, "big-all", 50),
            f"{out:,} out, none expired": lambda: next_cost(broker, busy, 50),
            "filter that matches 1 %": lambda: next_cost(broker, "big-rare", 20),
            f"{consumers} consumers on the stream": lambda: next_cost(broker, "crowd-0", 50),
            "publish of 10, one filter": lambda: publish_cost(broker, "few-filters", 50),
            f"publish of 10, {consumers} filters": lambda: publish_cost(broker, "many-filters", 50),
        }
        await consumer("big-all", "big")
        costs: dict[str, list[float]] = {row: [] for row in rows}
        order = list(rows.items())
        for _ in range(TURNS):
            for row, cost in order:
                costs[row].append(await cost())
            order.reverse()  # each turn pays for the Lua garbage of the previous one
        medians = {row: statistics.median(found) for row, found in costs.items()}
        nexts, publishes = list(medians)[:5], list(medians)[5:]
        print("microseconds of Redis time a call, and the ratio to the first of its kind")
        for kind in (nexts, publishes):
            for row in kind:
                print(f"  {row:<36}{medians[row]:8.0f}{medians[row] / medians[kind[0]]:8.2f}")


def main() -> None:
    """Parse arguments, start a Redis, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--out", type=int, default=100_000)
    parser.add_argument("--consumers", type=int, default=200)
    args = parser.parse_args()
    if args.events < max(FEWEST, args.out + FEWEST_NEW):
        parser.error(f"--events must be at least {FEWEST:,}, and {FEWEST_NEW:,} more than --out")
    with tempfile.TemporaryDirectory(prefix="bb-") as directory:
        server = Embedded(Path(directory) / "d", options=("--appendonly", "no"))
        server.start()
        try:
            asyncio.run(measure(server.url, args.events, args.out, args.consumers))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
