"""Publishers and workers while primaries are killed: what was confirmed, delivered, delivered again, and lost.

usage: python -m benchmarks.failover [--kind cluster|sentinel] [--seconds 60] [--every 10] [--replicas 1]

A primary is killed (kill -9) every so often, and started again when another has taken its place. Checks that with
`replicas: 1` every publish that was answered is delivered; without, what was lost is counted.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.cluster import running_cluster
from benchmarks.replicated import guarded
from broker import Broker, BrokerError, ConsumerSpec, StreamSpec
from broker.embedded import find_binary

STREAMS = tuple(f"s{n}" for n in range(6))
ACK_WAIT_MS = 2000
PUBLISHERS, WORKERS = 6, 12


@dataclass
class Seen:
    """What publishers were told, and what workers got, by event id."""

    confirmed: set[str] = field(default_factory=set)
    given_up: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    delivered: Counter[str] = field(default_factory=Counter)
    redelivered: int = 0

    @property
    def lost(self) -> set[str]:
        """Answered with success and never delivered."""
        return self.confirmed - self.delivered.keys()


async def _publisher(broker: Broker, number: int, seen: Seen, end: float) -> None:
    """Publish one after the other; what was refused, again with the same id."""
    for n in itertools.count():
        event_id = f"{number}-{n}"
        while time.monotonic() < end:
            try:
                await broker.publish(random.choice(STREAMS[number :: PUBLISHERS]), [{"collection_id": "a:b", "id": event_id, "data": n}])
                seen.confirmed.add(event_id)
                break
            except BrokerError as exc:
                seen.refusals[exc.code] += 1
                await asyncio.sleep(0.05)
        if time.monotonic() >= end:
            seen.given_up += event_id not in seen.confirmed
            return


async def _worker(broker: Broker, stream: str, seen: Seen, done: asyncio.Event) -> None:
    """Pull and ack until nothing is left after the end."""
    while True:
        try:
            batch = await broker.next(f"c-{stream}", 20, wait_ms=300)
            for delivery in batch.deliveries:
                seen.delivered[json.loads(delivery.json)["id"]] += 1
                seen.redelivered += delivery.deliver_count > 1
            await broker.ack(f"c-{stream}", [delivery.ack_token for delivery in batch.deliveries]) if batch.deliveries else None
            if done.is_set() and not batch.num_pending and not batch.num_ack_pending:
                return
        except BrokerError as exc:
            seen.refusals[exc.code] += 1
            await asyncio.sleep(0.1)


async def run(url: str, seconds: float, replicas: int, disturb: Callable[[], Coroutine[None, None, None]]) -> Seen:
    """Publish and pull through two brokers of their own connections, while `disturb` does its work again and again."""
    seen, done = Seen(), asyncio.Event()
    async with Broker.from_url(url) as one, Broker.from_url(url) as other:
        for stream in STREAMS:
            await one.streams.create(StreamSpec(name=stream, kind="events", replicas=replicas))
            await one.consumers.create(ConsumerSpec(name=f"c-{stream}", stream_id=stream, ack_wait_ms=ACK_WAIT_MS, max_ack_pending=100_000))
        end = time.monotonic() + seconds
        brokers = itertools.cycle((one, other))
        publishers = [asyncio.create_task(_publisher(next(brokers), n, seen, end)) for n in range(PUBLISHERS)]
        workers = [asyncio.create_task(_worker(next(brokers), STREAMS[n % len(STREAMS)], seen, done)) for n in range(WORKERS)]
        disturbing = asyncio.create_task(disturb())
        await asyncio.gather(*publishers)
        disturbing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await disturbing
        done.set()
        async with asyncio.timeout(60):
            await asyncio.gather(*workers)
    return seen


@contextmanager
def servers(kind: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """The URL of a cluster or of sentinels, and what kills a primary and heals."""
    if kind == "cluster":
        with running_cluster(find_binary()) as cluster:
            yield cluster.url, lambda: cluster.fail_over(random.choice(cluster.primaries()))
    else:
        with guarded(find_binary()) as found:
            yield found.url, found.fail_over


def report(seen: Seen, kills: int) -> None:
    """Print what was found."""
    refusals = ", ".join(f"{n} {code}" for code, n in sorted(seen.refusals.items())) or "none"
    print(f"{kills} primaries killed; refused calls: {refusals}")
    print(f"  published and answered {len(seen.confirmed)}, not answered by the end {seen.given_up}")
    print(f"  delivered {len(seen.delivered)} messages, {seen.redelivered} redeliveries")
    print(f"  answered and lost {len(seen.lost)}")


def main() -> None:
    """Run it. Status 1: something was lost although replicas were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("cluster", "sentinel"), default="cluster")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=float, default=10)
    parser.add_argument("--replicas", type=int, default=1)
    args = parser.parse_args()
    kills = 0
    with servers(args.kind) as (url, kill):

        async def disturb() -> None:
            nonlocal kills
            for turn in itertools.count(1):
                await asyncio.sleep(max(0.0, started + turn * args.every - time.monotonic()))
                kills += 1
                await asyncio.to_thread(kill)

        started = time.monotonic()
        seen = asyncio.run(run(url, args.seconds, args.replicas, disturb))
    report(seen, kills)
    raise SystemExit(1 if args.replicas and seen.lost else 0)


if __name__ == "__main__":
    main()
