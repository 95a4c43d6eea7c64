"""Comparison of the broker with its alternatives, side by side in one run.

usage: python -m benchmarks [--seconds 2] [--messages 200000] [--plot benchmarks.png]

Starts a broker over the embedded Valkey (append-only file, fsync every second: the default of `broker serve`), plain
redis-py on the same Valkey, and the installed peers: nats-server with nats-py, beanstalkd, and RabbitMQ if one answers
at localhost. Prints a table and draws it. Compare ratios within one run, never figures of two runs.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop

from benchmarks import http_load, peers
from benchmarks.http_load import Connection
from benchmarks.peers import BATCHES, Rates
from tests.support.processes import serving

TITLES = {
    "broker": "this broker over HTTP",
    "redis-py": "plain redis-py",
    "NATS": "NATS JetStream",
    "beanstalkd": "beanstalkd",
    "RabbitMQ": "RabbitMQ",
}


async def broker(url: str, seconds: float, messages: int) -> tuple[Rates, list[float]]:
    """Messages/s of the broker by operation, and the wake-up latencies in ms."""
    admin, found = await Connection.open(url), Rates()
    for name in ("bench", "filtered", "keyed", "wake"):
        await admin.send("POST", "/streams", name=name, kind="events")

    async def consumer(name: str, stream: str = "bench", **fields: object) -> str:
        await admin.send("POST", "/http-consumers", name=name, stream_id=stream, max_ack_pending=100_000, **fields)
        return name

    by_key = await consumer("keyed", "keyed", ordering="key")  # first, so that the keys of its events are kept for it
    found["publish"] = await http_load.publish(url, "bench", seconds)
    first = {"collection_id": "rare:one", "data": http_load.BODY["data"]}
    for start in range(0, messages, 1000):
        await admin.send("POST", "/streams/bench/messages", messages=[http_load.BODY] * 1000)
        mixed = [first if n % 10 == 0 else http_load.BODY for n in range(1000)]
        keyed = [http_load.BODY | {"key": str(n % 500 + start)} for n in range(1000)]
        if start < messages / 2:
            await admin.send("POST", "/streams/filtered/messages", messages=mixed)
            await admin.send("POST", "/streams/keyed/messages", messages=keyed)

    for batch in BATCHES:
        found[f"pull {batch}"] = await http_load.pull(url, await consumer(f"pull-{batch}"), batch, seconds)
        name = await consumer(f"together-{batch}")
        found[f"settle and fetch {batch}"] = await http_load.pull(url, name, batch, seconds, together=True)
    rare = await consumer("rare", "filtered", filters={"collection_id": "rare:one"})
    found["filtered 1 in 10, pull 100"] = await http_load.pull(url, rare, 100, seconds)
    found["ordered by key, pull 100"] = await http_load.pull(url, by_key, 100, seconds)
    latencies = await http_load.wake(url, await consumer("wake", "wake"), http_load.publishing(admin, "wake"))
    admin.close()
    return found, latencies


def table(results: dict[str, Rates]) -> str:
    """Messages/s, and in brackets the ratio to the broker's, as a Markdown table."""
    names = [name for name in TITLES if results.get(name)]
    rows = ["| messages/s | " + " | ".join(TITLES[name] for name in names) + " |", "|---|" + "---:|" * len(names)]
    for what, own in results["broker"].items():
        cells = [f"{own:,.0f}"]
        for name in names[1:]:
            rate = results[name].get(what)
            cells.append(f"{rate:,.0f} ({rate / own:.2f})" if rate else "-")
        rows.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def plot(results: dict[str, Rates], path: Path) -> None:
    """Draw publish and pulls side by side."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = ["publish", *(f"pull {batch}" for batch in BATCHES)]
    names = [name for name in TITLES if results.get(name)]
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    for i, name in enumerate(names):
        places = [row + (i - (len(names) - 1) / 2) * 0.8 / len(names) for row in range(len(rows))]
        axes.bar(places, [results[name].get(row, 0) for row in rows], 0.8 / len(names), label=TITLES[name])
    axes.set_xticks(range(len(rows)), ["publish 100", *(f"next and ack\nbatch {batch}" for batch in BATCHES)])
    axes.set_yscale("log")
    axes.set_ylabel("messages/s")
    axes.set_title("One Python process as the client, 300-byte data, one machine, one run")
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=len(names))
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--plot", type=Path, default=None)
    args = parser.parse_args()
    results: dict[str, Rates] = {}
    with tempfile.TemporaryDirectory(prefix="bb-") as directory:
        data_dir = Path(directory) / "d"
        with serving("--port", "0", "--data-dir", str(data_dir)) as server:
            results["broker"], latencies = uvloop.run(broker(server.url, args.seconds, args.messages))
            results["redis-py"] = peers.redis_py(f"unix://{data_dir}/valkey.sock", args.seconds, args.messages)
    for name, peer in (("NATS", peers.nats), ("beanstalkd", peers.beanstalkd), ("RabbitMQ", peers.rabbitmq)):
        sys.stderr.write(f"{name} …\n")
        results[name] = peer(args.seconds, args.messages)
    print(table(results))
    p99 = latencies[int(len(latencies) * 0.99)]
    print(f"\nwaking a waiting call: {latencies[len(latencies) // 2]:.1f} ms (median), {p99:.1f} ms (99 %)")
    if args.plot:
        plot(results, args.plot)


if __name__ == "__main__":
    main()
