"""A primary, its replica, and sentinels that replace it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.redis_processes import RedisProcess, data_server, free_ports, until

SERVICE = "broker"
_SENTINEL = """
port {port}
sentinel monitor {service} 127.0.0.1 {primary} 2
sentinel down-after-milliseconds {service} 500
sentinel failover-timeout {service} 1000
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


@dataclass
class Guarded:
    """A primary and a replica, and the sentinels over them."""

    servers: list[RedisProcess]
    sentinels: list[RedisProcess]

    @property
    def url(self) -> str:
        """The URL of the service."""
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels) + f"/{SERVICE}"

    def primary(self) -> RedisProcess | None:
        """The server that all sentinels name, None where they do not agree.

        In the middle of a failover they name the new one to some commands and the old one to others; a client may ask either.
        """
        ports = {int(sentinel.run("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1]) for sentinel in self.sentinels}
        ports |= {int(sentinel.client.sentinel_master(SERVICE)["port"]) for sentinel in self.sentinels}  # type: ignore[index]
        return next((server for server in self.servers if ports == {server.port}), None)

    def fail_over(self) -> None:
        """Kill the primary, wait until the sentinels name its replica, and start it again as the replica of that."""
        self.settle()
        old = self.primary()
        new = next(server for server in self.servers if server is not old)
        assert old is not None
        old.kill()
        until(lambda: self.primary() is new, "the replica takes over")
        old.start("--replicaof", "127.0.0.1", str(new.port))  # never an empty primary, which clients could find
        self.settle()

    def settle(self) -> None:
        """Return when the sentinels agree on the primary, and its replica follows it."""
        until(lambda: (found := self.primary()) is not None and found.replicated, "the replica follows the primary")


@contextmanager
def guarded(binary: str, *options: str) -> Iterator[Guarded]:
    """Three sentinels over a primary and a replica."""
    with replicated(binary, *options) as pair, tempfile.TemporaryDirectory(prefix="bs-") as directory:
        found = Guarded(list(pair), [])
        try:
            for port in free_ports(3):
                config = Path(directory) / f"{port}.conf"
                config.write_text(_SENTINEL.format(port=port, service=SERVICE, primary=pair[0].port), encoding="utf-8")
                found.sentinels.append(RedisProcess(binary, Path(directory), port, str(config), "--sentinel"))
            until(lambda: all(_knows_all(sentinel) for sentinel in found.sentinels), "the sentinels know each other and both servers")
            yield found
        finally:
            for sentinel in found.sentinels:
                sentinel.stop()


def _knows_all(sentinel: RedisProcess) -> bool:
    state = sentinel.client.info("sentinel")["master0"]
    return bool((state["slaves"], state["sentinels"]) == (1, 3))
