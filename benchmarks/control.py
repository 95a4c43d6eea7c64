"""Delivery control: keyed and unkeyed, settle with fetch and separately, and a thousand poison messages.

usage: python -m benchmarks.control
"""

import asyncio
import http.client
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.redis_time import redis_usec
from broker import Broker, ConsumerSpec, Nack
from tests.support.processes import serving

MESSAGES = 10_000


async def consume_cost(broker: Broker, consumer: str) -> float:
    """Microseconds of Redis time per message for next and ack, at batch 100."""
    total, count = 0.0, 0
    while True:
        batch, next_usec = await redis_usec(broker, broker.next(consumer, 100))
        if not batch.deliveries:
            break
        _, ack_usec = await redis_usec(broker, broker.ack(consumer, [d.ack_token for d in batch.deliveries]))
        total, count = total + next_usec + ack_usec, count + len(batch.deliveries)
    assert count == MESSAGES
    return total / count


async def keyed(broker: Broker) -> None:
    """The cost of ordering by key if no message waits for a key: all keys are distinct."""
    for start in range(0, MESSAGES, 1000):
        await broker.publish("events", [{"collection_id": "a:b", "key": f"k{n}", "data": "x" * 300} for n in range(start, start + 1000)])
    costs: dict[str, list[float]] = {"none": [], "key": []}
    for round_ in range(9):
        for ordering in ("none", "key"):
            spec = {"name": f"{ordering}{round_}", "stream_id": "events", "ordering": ordering}
            await broker.consumers.create(ConsumerSpec(**spec))  # type: ignore[arg-type]
            costs[ordering].append(await consume_cost(broker, str(spec["name"])))
    plain, by_key = (statistics.median(found) for found in costs.values())
    print(f"redis time a message: unkeyed {plain:.1f} µs, distinct keys {by_key:.1f} µs, ratio {by_key / plain:.2f}")


async def poison(broker: Broker) -> None:
    """Messages that always fail die after max_deliver, only for the consumer that failed."""
    await broker.publish("records", [{"id": f"r{n}", "collection_id": "bad:one" if n % 2 else "bad:two", "data": n} for n in range(1000)])
    for name in ("fails", "other"):
        await broker.consumers.create(ConsumerSpec(name=name, max_deliver=3, backoff_ms=[0]))
    delivered: dict[str, int] = {}
    while deliveries := (await broker.next("fails", 100)).deliveries:
        for delivery in deliveries:
            delivered[delivery.id] = delivered.get(delivery.id, 0) + 1
        await broker.nack("fails", [Nack(d.ack_token, reason="it is poison") for d in deliveries])
    letters, _ = await broker.dead_letters.page("fails", limit=1000)
    reasons = {(letter.reason, letter.last_nack_reason, letter.deliver_count) for letter in letters}
    done = await broker.dead_letters.redrive_matching("fails", "bad:one")
    again = (await broker.next("fails", 1000)).deliveries
    print(f"{len(letters)} dead letters, deliveries each {sorted(set(delivered.values()))}, {reasons}")
    print(f"redriven {done.redriven}, delivered again {len(again)} with counts {sorted({d.deliver_count for d in again})}")
    other = (await broker.consumers.get("other")).info
    assert len(letters) == 1000 and set(delivered.values()) == {3} and done.redriven == len(again) == 500
    assert (other.num_pending, other.num_dead) == (1000, 0)


def loop(url: str, consumer: str, seconds: float, together: bool) -> float:
    """Messages per second of one worker at batch 1."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    path = f"/v1/http-consumers/{consumer}"

    def call(verb: str, body: Any) -> Any:
        connection.request("POST", f"{path}/{verb}", json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())

    count, held, start = 0, list[str](), time.perf_counter()
    while time.perf_counter() - start < seconds:
        if held and not together:
            call("ack", {"ack_tokens": held})
        batch = call("next", {"ack": held} if together else {})
        held = [row["ack_token"] for row in batch["data"]]
        assert held
        count += 1
    return count / (time.perf_counter() - start)


async def measure(url: str, redis_url: str) -> None:
    """Print the results."""
    async with Broker.from_url(redis_url) as broker:
        await keyed(broker)
        await poison(broker)
        for name in ("two", "one"):
            await broker.consumers.create(ConsumerSpec(name=name, stream_id="events", max_ack_pending=100_000))
    apart, together = [], []
    for _ in range(3):
        apart.append(await asyncio.to_thread(loop, url, "two", 1.0, False))
        together.append(await asyncio.to_thread(loop, url, "one", 1.0, True))
    ratio = sorted(together)[1] / sorted(apart)[1]
    print(f"one worker, batch 1: ack and next {sorted(apart)[1]:.0f}/s, settle and fetch {sorted(together)[1]:.0f}/s")
    print(f"  ratio {ratio:.2f}")


def main() -> None:
    """One server over an embedded Valkey."""
    with tempfile.TemporaryDirectory(prefix="bb-") as directory:
        data_dir = Path(directory) / "d"
        with serving("--port", "0", "--data-dir", str(data_dir)) as server:
            asyncio.run(measure(server.url, f"unix://{data_dir}/valkey.sock"))


if __name__ == "__main__":
    main()
