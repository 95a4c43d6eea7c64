"""Power failures under load: what was answered, and is gone when the power is back.

usage: python -m benchmarks.power [--failures 50] [--seconds 1] [--plain] [--sync-us 0]

Publishes to streams with `fsync: true` over `broker serve` and its embedded Valkey, which rewrites its append-only file
meanwhile. Then everything is killed, each file of the Valkey is cut to what an fsync of it had reached, and all starts
again. `--plain`: streams without `fsync`. `--sync-us`: a disk that is slower by so much. Linux, with a C compiler.
"""

import argparse

from tests.support.power import create, failures, machine


def main() -> None:
    """Run it. Status 1: a publish was answered 200 by a stream with `fsync`, and is lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--failures", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--sync-us", type=int, default=0)
    args = parser.parse_args()
    with machine(args.sync_us) as found:
        create(found.url, fsync=not args.plain)
        seen = failures(found, args.failures, args.seconds)
    print(f"{args.failures} power failures took {seen.bytes_lost} bytes; answers by status: {dict(seen.statuses)}")
    print(f"  messages answered 200: {sum(map(len, seen.answered.values()))}, lost {len(seen.lost)}")
    raise SystemExit(1 if seen.lost and not args.plain else 0)


if __name__ == "__main__":
    main()
