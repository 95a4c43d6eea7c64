"""Redis time of `next`, by INFO commandstats: filtered against unfiltered, long backlogs, many deliveries out.

usage: python -m benchmarks.redis_time [--events 1000000] [--out 100000]
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from broker import Broker, ConsumerSpec, Filters, StreamSpec
from broker.embedded import Embedded

BATCH = 100
CALLS = 100
BODY = "x" * 300


async def fill(broker: Broker, stream: str, count: int) -> None:
    """Publish `count` events; one in a hundred is of the collection `rare:one`."""
    for start in range(0, count, 1000):
        batch = [
            {"collection_id": "rare:one" if i % 100 == 0 else f"common:{i % 7}", "data": {"n": i, "text": BODY}}
            for i in range(start, min(start + 1000, count))
        ]
        await broker.publish(stream, batch)


async def next_cost(broker: Broker, consumer: str, calls: int = CALLS, batch: int = BATCH, ack: bool = True) -> float:
    """Microseconds of Redis time a call of `next`, over `calls` calls that each deliver a full batch."""
    total = 0.0
    for _ in range(calls):
        before = await evalsha_usec(broker)
        got = await broker.next(consumer, batch)
        total += await evalsha_usec(broker) - before
        assert len(got.deliveries) == batch, len(got.deliveries)
        if ack:
            await broker.ack(consumer, [d.ack_token for d in got.deliveries])
    return total / calls


async def evalsha_usec(broker: Broker) -> float:
    """Redis time spent in scripts so far."""
    text = (await broker.store.call("INFO", "commandstats")).decode()
    line = next((line for line in text.splitlines() if line.startswith("cmdstat_evalsha:")), "")
    return float(line.split("usec=")[1].split(",")[0]) if line else 0.0


async def measure(url: str, events: int, out: int) -> None:
    """Print the table."""
    async with Broker.from_url(url) as broker:
        for name, count in (("small", CALLS * BATCH + 1000), ("big", events)):
            await broker.streams.create(StreamSpec(name=name, kind="events"))
            await fill(broker, name, count)
        spec = {"max_ack_pending": 1_000_000, "ack_wait_ms": 3_600_000}
        for consumer, stream, filters in (
            ("small-all", "small", Filters()),
            ("big-all", "big", Filters()),
            ("big-rare", "big", Filters(collection_id="rare:one")),
            ("big-busy", "big", Filters()),
        ):
            await broker.consumers.create(ConsumerSpec(name=consumer, stream_id=stream, filters=filters, **spec))  # type: ignore[arg-type]
        rare_calls = min(CALLS, events // 100 // BATCH)
        small = await next_cost(broker, "small-all")
        big = await next_cost(broker, "big-all")
        rare = await next_cost(broker, "big-rare", rare_calls)
        for _ in range(out // 1000):
            await broker.next("big-busy", 1000)
        busy = await next_cost(broker, "big-busy", min(CALLS, (events - out) // BATCH - 1))
        print(f"next, batch {BATCH}, microseconds of Redis time a call")
        print(f"  10,000 waiting             {small:8.0f}")
        print(f"  {events:,} waiting          {big:8.0f}   {big / small:.2f} of the row above (bar 1.15)")
        print(f"  filter matching 1 %        {rare:8.0f}   {rare / big:.2f} of unfiltered (bar 3)")
        print(f"  {out:,} out, none expired  {busy:8.0f}   {busy / big:.2f} of none out (bar 1.5)")


def main() -> None:
    """Parse arguments, start a Redis, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--out", type=int, default=100_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bb-") as directory:
        server = Embedded(Path(directory) / "d", options=("--appendonly", "no"))
        server.start()
        try:
            asyncio.run(measure(server.url, args.events, args.out))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
