"""Many workers on one consumer over several servers, some of which nack or die: what they saw."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx

from tests.support.processes import ServeProcess

ACK_WAIT_S = 1.0
NACKED = 0.05
DROPPED = 0.05
BATCH = 10


@dataclass
class Delivered:
    """A delivery: the earliest and latest times at which it was made, and those at which it was settled."""

    count: int
    made: tuple[float, float]
    settled: tuple[float, float] | None = None
    acked: bool = False
    unanswered: bool = False  # a call to settle it got no answer


@dataclass
class Log:
    """What the workers saw. Times are of the machine that Redis runs on, in seconds."""

    total: int
    ack_wait_s: float = ACK_WAIT_S
    nacked: float = NACKED
    dropped: float = DROPPED
    publishing: bool = False
    deliveries: dict[str, list[Delivered]] = field(default_factory=dict)
    ack_calls: list[tuple[float, float, int]] = field(default_factory=list)
    replies: list[tuple[float, float, int, int]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def unknown(self) -> int:
        """How many calls got no answer, or 502, 503 or 504."""
        return self.errors.total()

    def acked(self) -> Counter[str]:
        """How often each message was acked."""
        return Counter({message: n for message, ds in self.deliveries.items() if (n := sum(d.acked for d in ds))})

    def overlaps(self) -> list[str]:
        """Messages of which two deliveries were surely live at once."""
        found = []
        for message, deliveries in self.deliveries.items():
            ordered = sorted(deliveries, key=lambda d: d.count)
            for first, second in pairwise(ordered):
                over = first.made[0] + self.ack_wait_s
                if first.settled is not None:
                    over = min(over, first.settled[0])
                if second.made[1] < over - 0.002:
                    found.append(message)
        return found

    def wrong_counts(self) -> list[tuple[int, int, int]]:
        """Replies whose counts cannot be: every message that is not acked either waits or is out."""
        started = sorted((start, n) for start, _, n in self.ack_calls)
        ended = sorted((end, n) for _, end, n in self.ack_calls)
        wrong = []
        for start, end, pending, out in self.replies:
            at_most = self.total - sum(n for t, n in ended if t <= start)
            at_least = self.total - sum(n for t, n in started if t <= end)
            if not at_least <= pending + out <= at_most:
                wrong.append((at_least, pending + out, at_most))
        return wrong


async def publish(client: httpx.AsyncClient, total: int) -> None:
    """Fill the stream."""
    for start in range(0, total, 1000):
        messages = [{"collection_id": "load:test", "data": {"n": n}} for n in range(start, min(start + 1000, total))]
        (await client.post("/v1/streams/events/messages", json={"messages": messages})).raise_for_status()


async def worker(urls: Callable[[], str], consumer: str, log: Log, patience: float, seed: int) -> None:
    """Work until everything is acked. Failed calls are repeated, on the next server."""
    random_ = random.Random(seed)
    path = f"/v1/http-consumers/{consumer}"
    give_up = time.time() + patience
    async with httpx.AsyncClient(timeout=30) as client:
        while time.time() < give_up:
            start = time.time()
            reply = await attempt(client, "GET", urls, path + "/next", log, params={"batch_size": BATCH, "wait_for": "200ms"})
            end = time.time()
            if reply is None:
                continue
            log.replies.append((start, end, reply["info"]["num_pending"], reply["info"]["num_ack_pending"]))
            ack: list[tuple[str, Delivered]] = []
            nack: list[tuple[str, Delivered]] = []
            for row in reply["data"]:
                delivered = Delivered(row["deliver_count"], (start, end))
                log.deliveries.setdefault(row["id"], []).append(delivered)
                fate = random_.random()
                if fate >= log.nacked + log.dropped:
                    ack.append((row["ack_token"], delivered))
                elif fate < log.nacked:
                    nack.append((row["ack_token"], delivered))
            await _settle(client, urls, path, "ack", ack, log)
            await _settle(client, urls, path, "nack", nack, log)
            if not log.publishing and not reply["data"] and reply["info"] == {"num_pending": 0, "num_ack_pending": 0}:
                return
    raise TimeoutError(f"{consumer} was not done in {patience} s")


async def _settle(
    client: httpx.AsyncClient, urls: Callable[[], str], path: str, verb: str, chosen: list[tuple[str, Delivered]], log: Log
) -> None:
    if not chosen:
        return
    while True:
        start = time.time()
        answer = await attempt(client, "POST", urls, f"{path}/{verb}", log, json={"ack_tokens": [token for token, _ in chosen]})
        end = time.time()
        if answer is not None:
            break
        # It may have been done, from its beginning on, so it is made again: to repeat it is safe.
        log.ack_calls.append((start, end + 3600, len(chosen) if verb == "ack" else 0))
        for _, delivered in chosen:
            if not delivered.unanswered:
                delivered.settled, delivered.unanswered = (start, end + 3600), True
    stale = set(answer["stale"])
    for token, delivered in chosen:
        if token not in stale:
            delivered.settled = (delivered.settled[0] if delivered.settled else start, end)
            delivered.acked = verb == "ack"
    if verb == "ack":
        log.ack_calls.append((start, end, answer["acked"]))


async def attempt(client: httpx.AsyncClient, method: str, urls: Callable[[], str], path: str, log: Log, **options: Any) -> Any:
    """The answer, or None where a server was gone, Redis was, or the outcome is unknown."""
    try:
        reply = await client.request(method, urls() + path, **options)
    except httpx.HTTPError as exc:
        log.errors[type(exc).__name__] += 1
        return None
    if reply.status_code in (502, 503, 504):
        log.errors[str(reply.status_code)] += 1
        return None
    reply.raise_for_status()
    return reply.json()


async def run(servers: list[ServeProcess], total: int, workers: int, disturb: Callable[[], Awaitable[None]] | None = None) -> Log:
    """Publish, work, and give what was seen."""
    log = Log(total)
    turn = [0]

    def next_url() -> str:
        turn[0] += 1
        return servers[turn[0] % len(servers)].url

    async with httpx.AsyncClient(base_url=servers[0].url, timeout=60) as client:
        fields = {"name": "load", "stream_id": "events", "ack_wait_ms": int(ACK_WAIT_S * 1000), "max_ack_pending": 100_000}
        (await client.post("/v1/http-consumers", json=fields)).raise_for_status()
        await publish(client, total)
    disturbing = asyncio.ensure_future(disturb()) if disturb else None
    await asyncio.gather(*(worker(next_url, "load", log, 300, seed) for seed in range(workers)))
    if disturbing is not None:
        await disturbing
    return log
