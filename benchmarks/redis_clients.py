"""CPU time per command of our Redis client and of redis-py's, in alternating turns.

usage: python -m benchmarks.redis_clients [--turns 7] [--commands 6000]

Each client calls EVALSHA of a short script with a reply of 300 bytes, several at once, on the embedded Valkey. The
clients: `Store` with its one connection, and `redis.asyncio.Redis` with a pool and with one connection
(`single_connection_client`), which runs one command after the other.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import redis.asyncio

from broker import Store
from broker.store.embedded import Embedded

AT_ONCE = (1, 10, 100)
SCRIPT = "return redis.call('GET', KEYS[1])"
Call = Callable[..., Awaitable[Any]]


async def cost(call: Call, commands: int, at_once: int) -> float:
    """Microseconds of this process's CPU time per command."""
    left = iter(range(commands))

    async def work() -> None:
        for _ in left:
            await call()

    before = time.process_time()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return (time.process_time() - before) / commands * 1e6


async def measure(url: str, turns: int, commands: int) -> None:
    """Print a row for each number of concurrent commands."""
    store = Store.from_url(url)
    pooled, single = redis.asyncio.Redis.from_url(url), redis.asyncio.Redis.from_url(url, single_connection_client=True)
    await pooled.set("key", "x" * 300)
    sha = await pooled.script_load(SCRIPT)
    calls: dict[str, Call] = {
        "Store": lambda: store.call("EVALSHA", sha, 1, "key"),
        "redis-py, a pool": lambda: pooled.evalsha(sha, 1, "key"),
        "redis-py, one connection": lambda: single.evalsha(sha, 1, "key"),
    }
    print("| at once |", *(f"{name} |" for name in calls))
    for at_once in AT_ONCE:
        found: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(turns):
            for name, call in calls.items():
                found[name].append(await cost(call, commands, at_once))
        medians = {name: statistics.median(values) for name, values in found.items()}
        print(f"| {at_once} |", *(f"{value:.0f} us ({value / medians['Store']:.2f}) |" for value in medians.values()), flush=True)
    await store.close()
    await pooled.aclose()
    await single.aclose()


def main() -> None:
    """Run it on its own Valkey."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--commands", type=int, default=6000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bb-") as directory:
        server = Embedded(Path(directory) / "d", options=("--appendonly", "no"))
        server.start()
        try:
            import uvloop  # as the server runs

            uvloop.run(measure(server.url, args.turns, args.commands))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
