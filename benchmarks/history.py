"""Mixed load under faults, and a checker of the contract's rules; docs/faults.md describes it.

usage: python -m benchmarks.history [--minutes 1] [--round 20] [--seed 0] [--redis] [--data DIR] [--save DIR]

Two servers share one Redis with an append-only file. Workers use HTTP, functions and plain commands. The servers and
Redis are killed, halted and restarted, and connections are cut. --redis runs redis-server of the PATH instead of the
embedded Valkey. The history of a round that breaks a rule is saved in DIR. Exit status 1: a rule was broken.
"""

import argparse
import asyncio
import time
from pathlib import Path

from tests.fault.history.campaign import MEMORY, campaign
from tests.fault.history.operations import History
from tests.support.servers import binary_of


def main() -> None:
    """Run it, print the figures, and report broken rules."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="of load in all, without what draining takes")
    parser.add_argument("--round", type=float, default=20.0, help="seconds of load between two times that all is drained and judged")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--redis", action="store_true", help="run redis-server of the PATH")
    parser.add_argument("--save", type=Path, default=Path("histories"), help="where histories that break a rule are kept")
    parser.add_argument("--data", type=Path, default=MEMORY, help="where Redis' files lie; by default in memory")
    args = parser.parse_args()
    rounds = 0

    def judged(history: History, broken: list[str]) -> None:
        nonlocal rounds
        print(
            time.strftime("%H:%M:%S"),
            f"round {rounds}: {len(history.operations):,} operations, {len(broken)} violations",
            flush=True,
        )
        if broken:
            args.save.mkdir(parents=True, exist_ok=True)
            path = args.save / f"round-{rounds}.json"
            history.save(path)
            print(f"{path}:", *broken[:10], sep="\n  ", flush=True)
        rounds += 1

    binary = binary_of("redis") if args.redis else None
    seconds = args.minutes * 60
    playing = campaign(binary, seconds, a_round=args.round, seed=args.seed, directory=args.data, judged=judged)
    figures = asyncio.run(playing)
    print(figures.table())
    raise SystemExit(1 if figures.violations else 0)


if __name__ == "__main__":
    main()
