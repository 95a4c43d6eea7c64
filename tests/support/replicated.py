"""A primary, its replica, and sentinels that replace it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.redis_processes import RedisProcess, data_server, free_ports, until

SERVICE = "broker"
_SENTINEL = """
port {port}
sentinel monitor {service} 127.0.0.1 {primary} 2
sentinel down-after-milliseconds {service} 500
sentinel failover-timeout {service} 3000
sentinel parallel-syncs {service} 1
"""


@contextmanager
def replicated(binary: str, *options: str) -> Iterator[tuple[RedisProcess, RedisProcess]]:
    """A primary, and the replica that follows it."""
    with tempfile.TemporaryDirectory(prefix="br-") as directory:
        primary, replica = (data_server(binary, Path(directory), port, *options) for port in free_ports(2))
        try:
            replica.run("REPLICAOF", "127.0.0.1", primary.port)
            until(lambda: len(primary.client.role()[2]) == 1, "the replica follows")
            yield primary, replica
        finally:
            primary.stop()
            replica.stop()


@contextmanager
def guarded(binary: str, *options: str) -> Iterator[tuple[str, list[RedisProcess]]]:
    """The URL of three sentinels over a primary and a replica, and these two."""
    with replicated(binary, *options) as pair, tempfile.TemporaryDirectory(prefix="bs-") as directory:
        sentinels = []
        try:
            for port in free_ports(3):
                config = Path(directory) / f"{port}.conf"
                config.write_text(_SENTINEL.format(port=port, service=SERVICE, primary=pair[0].port), encoding="utf-8")
                sentinels.append(RedisProcess(binary, Path(directory), port, str(config), "--sentinel"))
            for sentinel in sentinels:
                until(lambda s=sentinel: "slaves=1,sentinels=3" in s.run("INFO", "sentinel"), "the sentinels know all")  # type: ignore[misc]
            addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
            yield f"redis+sentinel://{addresses}/{SERVICE}", list(pair)
        finally:
            for sentinel in sentinels:
                sentinel.stop()
