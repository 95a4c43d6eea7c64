"""Cost of a worker's name: next and ack with and without `worker=`, in CPU time of the server and its Redis.

usage: python -m benchmarks.worker_name [--turns 40] [--connections 4] [--batches 1 10 100]

Turns alternate, and every other pair runs in reverse order. Each connection has its own name, or none. A turn takes and
acks some messages, more with a larger batch. Exit status 1: at batch 100 a name costs more than 1.10 times as much.
"""

import argparse
import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvloop

from benchmarks.http_load import BODY, Connection
from tests.support.processes import cpu_us, serving, valkey_pid

MOST, AT = 1.10, 100
CALLS = {1: 300, 10: 200}  # calls of next per turn, and as many of ack; for other batches:
OTHERWISE = 50


class _Row(msgspec.Struct):
    ack_token: str


class _Batch(msgspec.Struct):
    data: list[_Row]


_decode = msgspec.json.Decoder(_Batch).decode


class Cost(NamedTuple):
    """CPU microseconds of a call of next and of one of ack."""

    server: float
    redis: float


class Bench:
    """A server with a filled stream, and connections to it."""

    def __init__(self, pids: tuple[int, int], connections: list[Connection]) -> None:
        self._pids, self._connections = pids, connections

    async def turn(self, consumer: str, batch: int, calls: int, named: bool) -> Cost:
        """Make `calls` calls of next and as many of ack, shared by the connections."""
        path = f"/http-consumers/{consumer}"

        async def work(connection: Connection, name: str) -> None:
            for _ in range(calls // len(self._connections)):
                rows = _decode(await connection.call("GET", f"{path}/next?batch_size={batch}{name}")).data
                assert len(rows) == batch, len(rows)
                tokens = msgspec.json.encode({"ack_tokens": [row.ack_token for row in rows]})
                await connection.call("POST", f"{path}/ack", tokens)

        before = [cpu_us(pid) for pid in self._pids]
        await asyncio.gather(*(work(each, f"&worker=pod-{n}" if named else "") for n, each in enumerate(self._connections)))
        return Cost(*((cpu_us(pid) - then) / calls for pid, then in zip(self._pids, before, strict=True)))


async def measure(url: str, pids: tuple[int, int], args: argparse.Namespace) -> bool:
    """Print the results. Returns whether the bound holds."""
    admin, good = await Connection.open(url), True
    await admin.send("POST", "/streams", name="s", kind="events")
    for _ in range(max((args.turns + 1) * CALLS.get(batch, OTHERWISE) * batch for batch in args.batches) // 1000 + 1):
        await admin.send("POST", "/streams/s/messages", messages=[BODY] * 1000)
    bench = Bench(pids, [await Connection.open(url) for _ in range(args.connections)])
    for batch in args.batches:
        calls = CALLS.get(batch, OTHERWISE) // args.connections * args.connections
        for consumer in ("without", "with"):
            await admin.send("POST", "/http-consumers", name=f"{consumer}-{batch}", stream_id="s", max_ack_pending=100_000)
        costs: dict[bool, list[Cost]] = {False: [], True: []}
        for turn in range(args.turns + 1):
            for named in (False, True) if turn % 2 else (True, False):
                costs[named].append(await bench.turn(f"{'with' if named else 'without'}-{batch}", batch, calls, named))
        without, with_name = (found[1:] for found in costs.values())  # the first turn of each warms up
        ratio = statistics.median(sum(b) / sum(a) for a, b in zip(without, with_name, strict=True))
        server, redis = (statistics.median(column) for column in zip(*without, strict=True))
        server_named, redis_named = (statistics.median(column) for column in zip(*with_name, strict=True))
        print(
            f"batch {batch}: next and ack cost {server:.0f} + {redis:.0f} µs of CPU (server + Redis), with a name "
            f"{server_named:.0f} + {redis_named:.0f} µs: ratio {ratio:.3f}, median of {args.turns} pairs "
            f"(server {server_named / server:.3f}, Redis {redis_named / redis:.3f})",
            flush=True,
        )
        good = good and (batch != AT or ratio <= MOST)
    return good


def main() -> None:
    """Parse arguments, start a server over an embedded Valkey, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=40, help="of each kind and batch size")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 10, 100])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bb-") as directory:
        data_dir = Path(directory) / "d"
        with serving("--port", "0", "--data-dir", str(data_dir)) as server:
            good = uvloop.run(measure(server.url, (server.process.pid, valkey_pid(data_dir)), args))
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
