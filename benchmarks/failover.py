"""Publishers and workers while primaries are killed or hang: what was confirmed, delivered, delivered again, and lost.

usage: python -m benchmarks.failover [--kind cluster|sentinel] [--how killed hung] [--faults 6] [--every 10]
                          [--replicas 1] [--detection-ms 2000] [--redis-options --min-replicas-to-write 1 …]

Every so often a primary is killed (kill -9), hung (SIGSTOP) or, with sentinels, cut off from its replicas and from
them, in turn, and brought back when another has taken its place. Checks that with `replicas: 1` every publish that
was answered is delivered; without, what was lost is counted. Back: the time from the fault to when every stream has
answered a publish made after it. Late: the longest time from such an answer to the delivery, until a second later.
"""

import argparse
import asyncio
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from broker.store.embedded import find_binary
from tests.support.cluster import running_cluster
from tests.support.failover import Seen, run
from tests.support.replicated import guarded

Fail = Callable[[Any], None]


@contextmanager
def servers(kind: str, detection_ms: int, *options: str) -> Iterator[tuple[str, Fail, list[tuple[float, str]]]]:
    """The URL of a cluster, or of sentinels over a primary with two replicas; what fails a primary; and when it did."""
    if kind == "cluster":
        with running_cluster(find_binary(), "--cluster-node-timeout", str(detection_ms), *options) as cluster:
            yield cluster.url, lambda how: cluster.fail_over(random.choice(cluster.primaries()), how), cluster.faults
    else:
        with guarded(find_binary(), *options, replicas=2, detection_ms=detection_ms) as found:
            yield found.url, found.fail_over, found.faults


def report(seen: Seen, faults: Sequence[tuple[float, str]]) -> None:
    """Print what was found."""
    refusals = ", ".join(f"{n} {code}" for code, n in sorted(seen.refusals.items())) or "none"
    print(f"{len(faults)} faults; refused calls: {refusals}")
    print(f"  published and answered {len(seen.confirmed)}, not answered by the end {seen.given_up}")
    print(f"  delivered {len(seen.delivered)} messages, {seen.redelivered} redeliveries")
    print(f"  answered and lost {len(seen.lost)}")
    for kind in sorted({kind for _, kind in faults}):
        times = [at for at, how in faults if how == kind]
        back = [seen.back(at) for at in times]
        late = [seen.latest(at, at + after + 1) for at, after in zip(times, back, strict=True)]
        ends = [min((other for other, _ in faults if other > at), default=math.inf) for at in times]
        lost = [seen.lost_until(at, end) for at, end in zip(times, ends, strict=True)]
        for name, found in (("back after", back), ("late by", late), ("lost until", lost)):
            print(f"  {kind:7} {len(found)}: {name} {statistics.median(found):.1f} s, at most {max(found):.1f} s")


def main() -> None:
    """Run it. Status 1: something was lost although replicas were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("cluster", "sentinel"), default="cluster")
    parser.add_argument("--faults", type=int, default=6)
    parser.add_argument("--every", type=float, default=10)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--how", nargs="+", choices=("killed", "hung", "cut off"), default=["killed"])
    parser.add_argument("--detection-ms", type=int, default=2000)
    parser.add_argument("--redis-options", nargs=argparse.REMAINDER, default=[])
    args = parser.parse_args()
    with servers(args.kind, args.detection_ms, *args.redis_options) as (url, fail, faults):

        async def disturb() -> None:
            started = time.monotonic()
            for turn in range(args.faults):
                await asyncio.sleep(max(2.0, started + (turn + 1) * args.every - time.monotonic()))
                await asyncio.to_thread(fail, args.how[turn % len(args.how)])
            await asyncio.sleep(args.every)

        seen = asyncio.run(run(url, args.replicas, disturb))
    report(seen, faults)
    raise SystemExit(1 if args.replicas and seen.lost else 0)


if __name__ == "__main__":
    main()
