"""Wake-up latency of a waiting call, and the cost of a thousand waiting calls.

usage: python -m benchmarks.wakeup [--rounds 100] [--waiting 1000] [--idle-seconds 10]

First one server publishes while another holds the waiting calls. Then the second one publishes, then a plain XADD does.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import redis.asyncio
import uvloop

from benchmarks import http_load
from benchmarks.http_load import Connection, publishing
from tests.support.processes import serving


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def memory_mb(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def measure(waiting_url: str, publishing_url: str, redis_url: str, pid: int, args: argparse.Namespace) -> None:
    """Print the table."""
    one, two = await Connection.open(publishing_url), await Connection.open(waiting_url)
    for name in ("w", "idle"):
        await one.send("POST", "/streams", name=name, kind="events")
        await one.send("POST", "/http-consumers", name=name, stream_id=name, max_waiting=10_000)

    async def show(title: str, publish: Callable[[], Awaitable[object]]) -> None:
        found = await http_load.wake(waiting_url, "w", publish, args.rounds)
        p99 = found[int(len(found) * 0.99) - 1]
        print(f"{title}: answered in {statistics.median(found):.1f} ms (median), {p99:.1f} ms (99 %)", flush=True)

    async with redis.asyncio.Redis.from_url(redis_url) as plain:
        await show("publish through another server", publishing(one, "w"))
        await show("publish through the same server", publishing(two, "w"))
        await show("plain XADD", lambda: plain.xadd("broker:{w}:log", {"collection_id": "wake:up", "data": "1"}))
    idle = [await Connection.open(waiting_url) for _ in range(args.waiting)]
    calls = [asyncio.ensure_future(connection.call("GET", "/http-consumers/idle/next?wait_for=300s")) for connection in idle]
    async with httpx.AsyncClient() as client:
        while f"broker_waiting_calls {float(args.waiting)}" not in (await client.get(waiting_url + "/metrics")).text:
            pass
    before, start = cpu_seconds(pid), time.perf_counter()
    await asyncio.sleep(args.idle_seconds)
    share = (cpu_seconds(pid) - before) / (time.perf_counter() - start)
    assert not any(call.done() for call in calls)
    print(f"{args.waiting} waiting calls on an idle server: {100 * share:.1f} % of a core, {memory_mb(pid):.0f} MB", flush=True)
    await show("with them, publish through another server", publishing(one, "w"))
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    for connection in (one, two, *idle):
        connection.close()


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
            uvloop.run(measure(two.url, one.url, redis_url, two.process.pid, args))


if __name__ == "__main__":
    main()
