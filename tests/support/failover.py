"""Publishers and workers while Redis fails: counts confirmed, delivered, redelivered and lost messages."""

import asyncio
import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from broker import Broker, BrokerError, ConsumerSpec, StreamSpec

STREAMS = tuple(f"s{n}" for n in range(6))
ACK_WAIT_MS = 2000
PUBLISHERS, WORKERS = 6, 12
Disturb = Callable[[], Coroutine[None, None, None]]
Fail = Callable[[Any], None]


@dataclass
class Seen:
    """What publishers were told, and what workers got, by event id."""

    confirmed: set[str] = field(default_factory=set)
    given_up: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    delivered: Counter[str] = field(default_factory=Counter)
    redelivered: int = 0
    published: list[tuple[float, float, str]] = field(default_factory=list)
    answered: dict[str, tuple[float, float]] = field(default_factory=dict)
    late: list[tuple[float, float]] = field(default_factory=list)

    @property
    def lost(self) -> set[str]:
        """Answered with success and never delivered."""
        return self.confirmed - self.delivered.keys()

    def back(self, fault: float) -> float:
        """How long after a fault every stream had answered a publish that was made after it, in seconds."""
        first: dict[str, float] = {}
        for began, ended, stream in self.published:
            if began >= fault:
                first.setdefault(stream, ended - fault)
        return max(first.values()) if len(first) == len(STREAMS) else math.inf

    def lost_until(self, fault: float, end: float) -> float:
        """How long after a fault a publish was answered that is lost, in seconds; 0: none is."""
        answered = (self.answered[name][1] for name in self.lost)
        return max((at - fault for at in answered if fault <= at < end), default=0.0)

    def latest(self, since: float, until: float) -> float:
        """The longest time from a publish's answer to its delivery, of the publishes that began in this time."""
        return max((late for began, late in self.late if since <= began < until), default=math.nan)


async def _publisher(broker: Broker, number: int, seen: Seen, over: asyncio.Event) -> None:
    """Publish one after the other; what was refused, again with the same id."""
    for n in itertools.count():
        event_id = f"{number}-{n}"
        while not over.is_set():
            stream, began = STREAMS[number % len(STREAMS)], time.monotonic()
            try:
                await broker.publish(stream, [{"collection_id": "a:b", "id": event_id, "data": n}])
                seen.confirmed.add(event_id)
                seen.answered[event_id] = began, time.monotonic()
                seen.published.append((*seen.answered[event_id], stream))
                break
            except BrokerError as exc:
                seen.refusals[exc.code] += 1
                await asyncio.sleep(0.05)
        if over.is_set():
            seen.given_up += event_id not in seen.confirmed
            return


async def _worker(broker: Broker, stream: str, seen: Seen, done: asyncio.Event) -> None:
    """Pull and ack until nothing is left after the end."""
    while True:
        try:
            batch = await broker.next(f"c-{stream}", 20, wait_ms=30_000)
            for delivery in batch.deliveries:
                event_id = json.loads(delivery.json)["id"]
                seen.delivered[event_id] += 1
                began, answered = seen.answered.pop(event_id, (math.nan, math.nan))
                seen.late.append((began, time.monotonic() - answered))
                seen.redelivered += delivery.deliver_count > 1
            await broker.ack(f"c-{stream}", [delivery.ack_token for delivery in batch.deliveries]) if batch.deliveries else None
            if done.is_set():
                if not batch.num_pending and not batch.num_ack_pending:
                    return
                await asyncio.sleep(0.1)
        except BrokerError as exc:
            seen.refusals[exc.code] += 1
            await asyncio.sleep(0.1)


async def run(url: str, replicas: int, disturb: Disturb, seen: Seen | None = None) -> Seen:
    """Publish and pull through two brokers of their own connections, while `disturb` does its work."""
    seen, over, done = seen or Seen(), asyncio.Event(), asyncio.Event()
    async with Broker.from_url(url) as one, Broker.from_url(url) as other:
        for stream in STREAMS:
            await one.streams.create(StreamSpec(name=stream, kind="events", replicas=replicas))
            await one.consumers.create(ConsumerSpec(name=f"c-{stream}", stream_id=stream, ack_wait_ms=ACK_WAIT_MS, max_ack_pending=100_000))
        brokers = itertools.cycle((one, other))
        publishers = [asyncio.create_task(_publisher(next(brokers), n, seen, over)) for n in range(PUBLISHERS)]
        workers = [asyncio.create_task(_worker(next(brokers), STREAMS[n % len(STREAMS)], seen, done)) for n in range(WORKERS)]
        await disturb()
        over.set()
        await asyncio.gather(*publishers)
        done.set()
        for broker in (one, other):
            broker.waiting.drain()
        async with asyncio.timeout(60):
            await asyncio.gather(*workers)
    return seen
