"""Three servers behind a load balancer under load, while one after the other is killed (kill -9) and restarted.

usage: python -m benchmarks.balanced [--messages 20000] [--workers 20] [--seconds 20] [--kill-every 2]

Publishers and workers know the balancer's address alone, and make a call that got no answer again. The bar: every
message is acked once, none is lost, and one is delivered twice only where its ack wait ran out, for a reason that is
counted.
"""

import argparse
import asyncio
import time

from tests.support.balanced import killing, run, three_servers
from tests.support.balancer import balancing


def main() -> None:
    """Measure, print, and hold the result against the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20.0, help="for how long publishing goes on")
    parser.add_argument("--kill-every", type=float, default=2.0)
    args = parser.parse_args()
    with three_servers() as (servers, _), balancing([server.url for server in servers]) as url:
        started = time.perf_counter()
        account = asyncio.run(run(url, args.messages, args.workers, args.seconds, killing(servers, args.kill_every)))
        print(f"{time.perf_counter() - started:.1f} s\n{account.table()}")
    unmet = account.unmet()
    for line in unmet:
        print("not met:", line)
    raise SystemExit(1 if unmet else 0)


if __name__ == "__main__":
    main()
