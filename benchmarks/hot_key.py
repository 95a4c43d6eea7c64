"""Hot key: 100,000 messages wait for one key. Are others still delivered, and how long does one script take?

usage: python -m benchmarks.hot_key [--hot 100000] [--others 1000]
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from broker import Broker, ConsumerSpec
from broker.store.embedded import Embedded


async def measure(url: str, hot: int, others: int) -> None:
    """Print the results."""
    async with Broker.from_url(url) as broker:
        for start in range(0, hot, 1000):
            await broker.publish("events", [{"collection_id": "a:b", "key": "hot", "data": n} for n in range(start, start + 1000)])
        await broker.publish("events", [{"collection_id": "a:b", "key": f"k{n}", "data": n} for n in range(others)])
        await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", ordering="key", max_ack_pending=10_000))
        held = (await broker.next("c", 1)).deliveries
        await broker.store.call("CONFIG", "SET", "slowlog-log-slower-than", 1000)
        await broker.store.call("CONFIG", "SET", "slowlog-max-len", 10_000)
        await broker.store.call("SLOWLOG", "RESET")
        delivered = calls = 0
        while delivered < others and calls < 10 * others:
            batch = await broker.next("c", 10)
            await broker.ack("c", [d.ack_token for d in batch.deliveries])
            delivered, calls = delivered + len(batch.deliveries), calls + 1
        slow = [row for row in await broker.store.call("SLOWLOG", "GET", -1) if row[3][0] == b"EVALSHA"]
        longest = max((row[2] for row in slow), default=0) / 1000
        print(f"{delivered} of {others} messages of other keys delivered past {hot:,} of a blocked one, in {calls} calls of next")
        print(f"longest script call {longest:.1f} ms, {len(slow)} over 1 ms")
        await broker.ack("c", [held[0].ack_token])
        after = (await broker.next("c", 10)).deliveries
        print(f"the hot key goes on with its next message: {[d.deliver_count for d in after]}")
        info = (await broker.consumers.get("c")).info
        assert (delivered, len(after), info.num_pending) == (others, 1, hot - 2)


def main() -> None:
    """Start a Redis, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hot", type=int, default=100_000)
    parser.add_argument("--others", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bb-") as directory:
        server = Embedded(Path(directory) / "d", options=("--appendonly", "no"))
        server.start()
        try:
            asyncio.run(measure(server.url, args.hot, args.others))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
