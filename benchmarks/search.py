"""Search for three messages among a million: its cost for Redis, and its effect on other calls.

usage: python -m benchmarks.search [--events 1000000] [--turns 5] [--seconds 6]

First the search runs alone and follows `next` to the end, once in each direction. A call's Redis time is that of its
scripts by SLOWLOG, which includes time when others had the CPU, so the CPU time of Redis is shown too. Then another
stream is published to and consumed at a fixed pace, in turns without and with a continuous search. Exit status 1: not
exactly the three messages were found, a call took over 50 ms of CPU time of Redis, or an answer had over 8 MiB.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import redis.asyncio
import uvloop

from benchmarks.http_load import BODY, Connection, publishing
from tests.support.processes import cpu_us, serving, valkey_pid

NEEDLE = "order 4711"
MOST_MS, MOST_BYTES = 50.0, 8 << 20
EVERY_SECONDS = 0.02  # a turn of publish, next and ack


class Call(NamedTuple):
    """The cost of a call: CPU time of Redis, total and longest script time, and the size of the answer."""

    cpu_ms: float
    redis_ms: float
    longest_ms: float
    answer_bytes: int


async def fill(connection: Connection, events: int) -> None:
    """Publish events of some 400 bytes. Three contain the text: near the beginning, the middle and the end."""
    marked = {events // 10, events // 2, events - events // 10}
    await connection.send("POST", "/streams", name="large", kind="events")
    for start in range(0, events, 1000):
        messages = [BODY | {"data": {"n": n, "text": "x" * 300}} for n in range(start, min(start + 1000, events))]
        for n in marked & set(range(start, start + 1000)):
            messages[n - start]["data"] = {"n": n, "text": f"{NEEDLE} {'x' * 290}"}
        await connection.send("POST", "/streams/large/messages", messages=messages)


async def search(url: str, order: str, plain: redis.asyncio.Redis | None = None, pid: int = 0) -> tuple[int, list[Call]]:
    """Follow `next` and return the number of messages found, and the calls, with Redis times if `pid` is given."""
    connection, found, calls, after = await Connection.open(url), 0, list[Call](), ""
    path = f"/streams/large/messages?contains={NEEDLE.replace(' ', '%20')}&order={order}"
    while True:
        if plain:
            await plain.slowlog_reset()
        before = cpu_us(pid) if pid else 0.0
        answer = await connection.call("GET", path + after)
        cpu_ms = (cpu_us(pid) - before) / 1000 if pid else 0.0
        rows = await plain.slowlog_get(10_000) if plain else ()
        times = [row["duration"] / 1000 for row in rows if row["command"].upper().startswith(b"EVALSHA")]
        calls.append(Call(cpu_ms, sum(times), max(times, default=0.0), len(answer)))
        page = json.loads(answer)
        found += len(page["data"])
        if page["next"] is None:
            connection.close()
            return found, calls
        after = f"&after={page['next']}"


async def others(url: str, seconds: float) -> dict[str, list[float]]:
    """Milliseconds of publish, next and ack of one message on another stream."""
    connection = await Connection.open(url)
    publish, found = publishing(connection, "other"), dict[str, list[float]](publish=[], next=[], ack=[])
    begin = time.perf_counter()
    for turn in range(int(seconds / EVERY_SECONDS)):
        await asyncio.sleep(begin + turn * EVERY_SECONDS - time.perf_counter())
        at = [time.perf_counter()]
        await publish()
        at.append(time.perf_counter())
        rows = json.loads(await connection.call("GET", "/http-consumers/other/next"))["data"]
        at.append(time.perf_counter())
        await connection.send("POST", "/http-consumers/other/ack", ack_tokens=[row["ack_token"] for row in rows])
        at.append(time.perf_counter())
        for i, times in enumerate(found.values()):
            times.append((at[i + 1] - at[i]) * 1000)
    connection.close()
    return found


async def beside(url: str, turns: int, seconds: float) -> None:
    """Print the 99th percentiles of the other calls, without and with a search."""
    percentiles: dict[str, dict[bool, list[float]]] = {}
    for turn in range(2 * turns):
        searching = turn % 4 in (1, 2)
        running = asyncio.ensure_future(_forever(url)) if searching else None
        for what, times in (await others(url, seconds)).items():
            p99 = sorted(times)[int(len(times) * 0.99)]
            percentiles.setdefault(what, {False: [], True: []})[searching].append(p99)
        if running:
            running.cancel()
    for what, found in percentiles.items():
        without, with_one = statistics.median(found[False]), statistics.median(found[True])
        print(f"{what}: 99 % within {without:.1f} ms alone, {with_one:.1f} ms beside a search (ratio {with_one / without:.2f})")


async def _forever(url: str) -> None:
    while True:
        await search(url, "asc")


async def measure(url: str, redis_url: str, pid: int, args: argparse.Namespace) -> bool:
    """Print the results. Returns whether the bounds hold."""
    connection, good = await Connection.open(url), True
    await fill(connection, args.events)
    await connection.send("POST", "/streams", name="other", kind="events")
    await connection.send("POST", "/http-consumers", name="other", stream_id="other")
    async with redis.asyncio.Redis.from_url(redis_url) as plain:
        await plain.config_set("slowlog-log-slower-than", 0, "slowlog-max-len", 10_000)
        for order in ("asc", "desc"):
            found, calls = await search(url, order, plain, pid)
            cpu, most, longest, largest = (max(column) for column in zip(*calls, strict=True))
            print(
                f"{args.events:,} events, order={order}: {found} found in {len(calls)} calls; Redis time of a call "
                f"{statistics.median(call.redis_ms for call in calls):.1f} ms (median), {most:.1f} ms at most, "
                f"of a script {longest:.2f} ms at most; CPU time of Redis {statistics.median(call.cpu_ms for call in calls):.1f} ms "
                f"(median), {cpu:.1f} ms at most; largest answer {largest:,} bytes"
            )
            good = good and found == 3 and cpu <= MOST_MS and largest <= MOST_BYTES
        await plain.config_set("slowlog-log-slower-than", -1)
    print(f"load average {os.getloadavg()[0]:.1f}")
    await beside(url, args.turns, args.seconds)
    connection.close()
    return good


def main() -> None:
    """Parse arguments, start a server over an embedded Valkey, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=5, help="of each kind")
    parser.add_argument("--seconds", type=float, default=6.0, help="a turn")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bb-") as directory:
        data_dir = Path(directory) / "d"
        with serving("--port", "0", "--data-dir", str(data_dir)) as server:
            good = uvloop.run(measure(server.url, f"unix://{data_dir}/valkey.sock", valkey_pid(data_dir), args))
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
