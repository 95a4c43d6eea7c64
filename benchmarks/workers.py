"""Many workers on one consumer over several servers, some of which nack or die; with --kill, servers are killed.

usage: python -m benchmarks.workers [--messages 20000] [--workers 20] [--kill]

Checks that every message is acked exactly once, that no two deliveries of a message are live at a time, and that the
counts of every reply are right.
"""

import argparse
import asyncio
import os
import signal
import tempfile
import time
from pathlib import Path

from tests.support.processes import ServeProcess, serving, valkey_pid
from tests.support.workers import Log, run


def report(log: Log, seconds: float) -> bool:
    """Print what was found; whether all is right."""
    acked = log.acked()
    twice = sum(1 for n in acked.values() if n > 1)
    overlaps, wrong = log.overlaps(), log.wrong_counts()
    redelivered = sum(len(ds) - 1 for ds in log.deliveries.values())
    print(f"{log.total} messages, {len(log.replies)} replies of next, {redelivered} redeliveries, {seconds:.1f} s")
    print(f"  acked once {len(acked) - twice}, more than once {twice}, calls without an answer {log.unknown}")
    print(f"  delivered and never seen acked {len(log.deliveries) - len(acked)}")
    print(f"  two live at once {len(overlaps)}, wrong counts {len(wrong)}")
    settled = len(acked) == log.total or (log.unknown > 0 and len(log.deliveries) == log.total)
    return settled and not twice and not overlaps and not wrong


def main() -> None:
    """Two servers over one embedded Valkey; with --kill both and the Valkey are killed in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--kill", action="store_true", help="kill -9 a server, the Valkey, and the server that owns it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bb-") as directory:
        data_dir = Path(directory) / "d"
        owning = ("--port", "0", "--data-dir", str(data_dir))
        redis_url = f"unix://{data_dir}/valkey.sock"
        with serving(*owning) as owner, serving("--port", "0", "--redis", redis_url) as second:
            servers = [owner, second]

            async def kill_in_turn() -> None:
                await asyncio.sleep(1.5)
                servers[1].kill()
                servers[1] = await asyncio.to_thread(lambda: ServeProcess("--port", "0", "--redis", redis_url).wait_ready())
                await asyncio.sleep(1)
                os.kill(valkey_pid(data_dir), signal.SIGKILL)
                await asyncio.sleep(2)
                servers[0].kill()
                await asyncio.sleep(0.5)
                servers[0] = await asyncio.to_thread(lambda: ServeProcess(*owning).wait_ready())

            started = time.perf_counter()
            log = asyncio.run(run(servers, args.messages, args.workers, kill_in_turn if args.kill else None))
            right = report(log, time.perf_counter() - started)
            for server in servers:
                if server.process.poll() is None:
                    server.terminate()
    raise SystemExit(0 if right else 1)


if __name__ == "__main__":
    main()
