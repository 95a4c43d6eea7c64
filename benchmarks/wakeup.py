"""How soon a waiting call is answered, and what a thousand waiting calls cost.

usage: python -m benchmarks.wakeup [--rounds 100] [--waiting 1000] [--idle-seconds 10]

One server publishes, another holds the waiting calls; then a plain XADD publishes.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import redis.asyncio

from benchmarks.processes import serving


async def latency(waiting: httpx.AsyncClient, publish: Callable[[], Awaitable[object]], rounds: int) -> list[float]:
    """Milliseconds from before the publish to the answer of the call that waits."""
    found = []
    for _ in range(rounds):
        call = asyncio.ensure_future(waiting.get("/v1/http-consumers/w/next", params={"wait_for": "30s"}))
        await asyncio.sleep(0.02)
        start = time.perf_counter()
        await publish()
        batch = (await call).json()["data"]
        found.append((time.perf_counter() - start) * 1000)
        assert len(batch) == 1
        await waiting.post("/v1/http-consumers/w/ack", json={"ack_tokens": [batch[0]["ack_token"]]})
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def measure(waiting_url: str, publishing_url: str, redis_url: str, pid: int, args: argparse.Namespace) -> None:
    """Print the table."""
    limits = httpx.Limits(max_connections=None)
    message = {"collection_id": "wake:up", "data": 1}
    async with (
        httpx.AsyncClient(base_url=waiting_url, timeout=400, limits=limits) as waiting,
        httpx.AsyncClient(base_url=publishing_url, timeout=30) as publishing,
        redis.asyncio.Redis.from_url(redis_url) as plain,
    ):
        for name in ("w", "idle"):
            stream = {"name": name, "kind": "events"}
            (await publishing.post("/v1/streams", json=stream)).raise_for_status()
            fields = {"name": name, "stream_id": name, "max_waiting": 10_000}
            (await publishing.post("/v1/http-consumers", json=fields)).raise_for_status()

        async def by_http() -> None:
            await publishing.post("/v1/streams/w/messages", json={"messages": [message]})

        async def by_xadd() -> None:
            await plain.xadd("broker:{w}:log", {"collection_id": "wake:up", "data": "1"})

        for title, publish in (("publish through another server", by_http), ("plain XADD", by_xadd)):
            found = await latency(waiting, publish, args.rounds)
            p99 = sorted(found)[int(len(found) * 0.99) - 1]
            print(f"{title}: answered in {statistics.median(found):.1f} ms (median), {p99:.1f} ms (99 %)")
        calls = [
            asyncio.ensure_future(waiting.get("/v1/http-consumers/idle/next", params={"wait_for": "300s"})) for _ in range(args.waiting)
        ]
        while f"broker_waiting_calls {float(args.waiting)}" not in (await publishing.get(waiting_url + "/metrics")).text:
            pass
        before, start = cpu_seconds(pid), time.perf_counter()
        await asyncio.sleep(args.idle_seconds)
        share = (cpu_seconds(pid) - before) / (time.perf_counter() - start)
        print(f"{args.waiting} waiting calls on an idle server: {100 * share:.1f} % of a core")
        found = await latency(waiting, by_http, args.rounds)
        print(f"with them, publish through another server: answered in {statistics.median(found):.1f} ms (median)")
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


def main() -> None:
    """Two servers over one embedded Valkey."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--waiting", type=int, default=1000)
    parser.add_argument("--idle-seconds", type=float, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bb-") as directory:
        data_dir = Path(directory) / "d"
        redis_url = f"unix://{data_dir}/valkey.sock"
        with serving("--port", "0", "--data-dir", str(data_dir)) as one, serving("--port", "0", "--redis", redis_url) as two:
            asyncio.run(measure(two.url, one.url, redis_url, two.process.pid, args))


if __name__ == "__main__":
    main()
