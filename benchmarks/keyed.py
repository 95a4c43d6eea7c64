"""Ordering by key under load: workers that nack, release and die, on two servers.

usage: python -m benchmarks.keyed [--messages 50000] [--keys 100] [--workers 16]

Checks that the messages of every key are delivered in stream order, each after the previous one was acked, and that
every message is acked once.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import httpx

from tests.support.processes import ServeProcess, serving

ACK_WAIT_MS = 1000


class Seen:
    """What the workers observed of a message."""

    def __init__(self) -> None:
        self.first_made = float("inf")  # the latest moment of the earliest delivery
        self.acked: list[float] = []  # when the calls that acked it began


async def publish(url: str, messages: int, keys: int) -> dict[str, list[str]]:
    """Fill the stream. Returns the message ids of each key, in order."""
    ids: dict[str, list[str]] = defaultdict(list)
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        fields = {"name": "k", "stream_id": "events", "ordering": "key", "ack_wait_ms": ACK_WAIT_MS, "max_ack_pending": 10_000}
        (await client.post("/v1/http-consumers", json=fields)).raise_for_status()
        for start in range(0, messages, 1000):
            chosen = [f"key-{random.randrange(keys)}" for _ in range(start, min(start + 1000, messages))]
            body = {"messages": [{"collection_id": "load:keyed", "key": key, "data": {"key": key}} for key in chosen]}
            reply = await client.post("/v1/streams/events/messages", json=body)
            for key, row in zip(chosen, reply.raise_for_status().json()["data"], strict=True):
                ids[key].append(row["message_id"])
    return ids


async def worker(url: str, seen: dict[str, Seen], seed: int) -> None:
    """Settle and fetch until all is acked; one in twenty is nacked, released or left to expire."""
    random_ = random.Random(seed)
    ack: list[str] = []
    nack: list[dict[str, object]] = []
    settling: list[Seen] = []
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        while True:
            start = time.time()
            body = {"batch_size": 10, "wait_for": "100ms", "ack": ack, "nack": nack}
            reply = (await client.post("/v1/http-consumers/k/next", json=body)).raise_for_status().json()
            end = time.time()
            stale = set(reply["settled"]["stale"])
            for token, message in zip(ack, settling, strict=True):
                if token not in stale:
                    message.acked.append(start)
            ack, nack, settling = [], [], []
            if not reply["data"] and reply["info"] == {"num_pending": 0, "num_ack_pending": 0}:
                return
            for row in reply["data"]:
                message = seen[row["id"]]
                message.first_made = min(message.first_made, end)
                fate = random_.random()
                if fate < 0.03:
                    outcome = "retry" if fate < 0.015 else "release"
                    nack.append({"ack_token": row["ack_token"], "outcome": outcome})
                elif fate >= 0.05:
                    ack.append(row["ack_token"])
                    settling.append(message)


async def run(servers: list[ServeProcess], messages: int, keys: int, workers: int) -> bool:
    """Publish, work and print. Returns whether the checks passed."""
    ids = await publish(servers[0].url, messages, keys)
    seen: dict[str, Seen] = defaultdict(Seen)
    start = time.perf_counter()
    await asyncio.gather(*(worker(servers[n % len(servers)].url, seen, n) for n in range(workers)))
    acked_once = sum(len(message.acked) == 1 for message in seen.values())
    wrong = sum(
        1
        for queue in ids.values()
        for before, after in pairwise(queue)
        if not seen[before].acked or seen[after].first_made < seen[before].acked[0] - 0.002
    )
    seconds = time.perf_counter() - start
    print(f"{messages} messages of {len(ids)} keys, {workers} workers, {seconds:.0f} s")
    print(f"  acked once {acked_once}, out of order or together {wrong}")
    return acked_once == messages and wrong == 0


def main() -> None:
    """Two servers over one embedded Valkey."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--workers", type=int, default=16)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bb-") as directory:
        data_dir = Path(directory) / "d"
        with (
            serving("--port", "0", "--data-dir", str(data_dir)) as one,
            serving("--port", "0", "--redis", f"unix://{data_dir}/valkey.sock") as two,
        ):
            right = asyncio.run(run([one, two], args.messages, args.keys, args.workers))
    raise SystemExit(0 if right else 1)


if __name__ == "__main__":
    main()
