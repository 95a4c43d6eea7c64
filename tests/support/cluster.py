"""A real Redis Cluster: three primaries with a replica each."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from redis.crc import key_slot

from tests.support.polling import until
from tests.support.redis_processes import RedisProcess, data_server, free_ports

NODE_TIMEOUT_MS = 1000
SLOTS = 16384


class Cluster:
    """The servers, and what tests do to them. `faults`: when (monotonic) a primary was lost, and how."""

    def __init__(self, servers: list[RedisProcess]) -> None:
        self.servers = servers
        self.faults: list[tuple[float, str]] = []

    @property
    def url(self) -> str:
        """Two of the addresses: the others are found."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:2])

    def primaries(self) -> list[RedisProcess]:
        """The servers that take writes."""
        return [server for server in self.servers if server.alive and server.is_primary]

    def empty(self) -> None:
        """Delete all that it holds. Scripts and functions stay."""
        for server in self.primaries():
            server.run("FLUSHALL")

    def primary_of(self, key: str) -> RedisProcess:
        """The server that holds a key's slot, by the first that knows."""
        slot = key_slot(key.encode())
        witness = next(server for server in self.servers if server.alive)
        for low, high, owner, *_ in witness.run("CLUSTER", "SLOTS"):
            if low <= slot <= high:
                return next(server for server in self.servers if server.port == owner[1])
        raise AssertionError(f"nobody holds slot {slot}")

    def begin_migration(self, key: str) -> tuple[int, RedisProcess, RedisProcess]:
        """Open a key's slot for its way to another primary; gives slot, source and target."""
        source = self.primary_of(key)
        target = next(server for server in self.primaries() if server is not source)
        slot = key_slot(key.encode())
        target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", _id(source))
        source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", _id(target))
        return slot, source, target

    def move_keys(self, slot: int, source: RedisProcess, target: RedisProcess, count: int) -> int:
        """Move some keys of an open slot; how many."""
        names = source.run("CLUSTER", "GETKEYSINSLOT", slot, count)
        if names:
            source.run("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names)
        return len(names)

    def end_migration(self, slot: int, target: RedisProcess) -> None:
        """The slot is the target's."""
        for server in [target, *(server for server in self.primaries() if server is not target)]:
            server.run("CLUSTER", "SETSLOT", slot, "NODE", _id(target))

    def migrate(self, key: str) -> None:
        """Move a key's slot to another primary, some keys at a time, as resharding tools do."""
        slot, source, target = self.begin_migration(key)
        while self.move_keys(slot, source, target, 3):
            pass
        self.end_migration(slot, target)

    def fail_over(self, victim: RedisProcess, how: Literal["killed", "hung"] = "killed") -> None:
        """Lose a primary, wait until its replica has its place, bring it back and wait until it follows."""
        self.faults.append((time.monotonic(), how))
        {"killed": victim.kill, "hung": victim.hang}[how]()
        until(lambda: len(self.primaries()) == 3, "a replica takes over")
        {"killed": victim.start, "hung": victim.go_on}[how]()
        self.settle()

    def settle(self) -> None:
        """Return when all servers run, and every primary has a replica that follows it."""
        until(lambda: all("cluster_state:ok" in server.run("CLUSTER", "INFO") for server in self.servers), "the cluster is whole")
        until(lambda: len(self.primaries()) == 3 and all(_has_replica(p) for p in self.primaries()), "each primary has its replica")


def _id(server: RedisProcess) -> str:
    return str(server.run("CLUSTER", "MYID"))


def _has_replica(primary: RedisProcess) -> bool:
    return len(primary.client.role()[2]) == 1


@contextmanager
def running_cluster(binary: str, *options: str) -> Iterator[Cluster]:
    """Six processes, three primaries that share the slots and a replica of each."""
    common = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-require-full-coverage", "no")
    with tempfile.TemporaryDirectory(prefix="bc-") as directory:
        servers = [
            data_server(binary, Path(directory), port, "--cluster-config-file", f"{port}.conf", *common, *options) for port in free_ports(6)
        ]
        try:
            yield _joined(Cluster(servers))
        finally:
            for server in servers:
                server.stop()


def _joined(cluster: Cluster) -> Cluster:
    first, *others = cluster.servers
    primaries, replicas = cluster.servers[:3], cluster.servers[3:]
    for server in others:
        first.run("CLUSTER", "MEET", "127.0.0.1", server.port)
    for n, server in enumerate(primaries):
        server.run("CLUSTER", "ADDSLOTSRANGE", SLOTS * n // 3, SLOTS * (n + 1) // 3 - 1)
    until(lambda: all(len(server.run("CLUSTER", "NODES").splitlines()) == 6 for server in cluster.servers), "all have met")
    for replica, primary in zip(replicas, primaries, strict=True):
        until(_follows(replica, primary), "a replica knows its primary")
    cluster.settle()
    return cluster


def _follows(replica: RedisProcess, primary: RedisProcess) -> Callable[[], bool]:
    return lambda: bool(replica.run("CLUSTER", "REPLICATE", _id(primary)))
