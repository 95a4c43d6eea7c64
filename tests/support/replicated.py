"""A primary, its replica, and sentinels that replace it."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.support.polling import until
from tests.support.redis_processes import RedisProcess, data_server, free_ports

SERVICE = "broker"
# What happens to the primary: it is killed; it is stopped with its connections open; or only its replicas and the
# sentinels lose it.
Fault = Literal["killed", "hung", "cut off"]
_SENTINEL = """
port {port}
sentinel monitor {service} 127.0.0.1 {primary} 2
sentinel down-after-milliseconds {service} {detection_ms}
sentinel failover-timeout {service} 1000
sentinel parallel-syncs {service} 1
"""


@contextmanager
def replicated(binary: str, *options: str) -> Iterator[tuple[RedisProcess, RedisProcess]]:
    """A primary, and the replica that follows it."""
    with _followed(binary, 1, *options) as (primary, replica):
        yield primary, replica


@contextmanager
def _followed(binary: str, replicas: int, *options: str) -> Iterator[list[RedisProcess]]:
    with tempfile.TemporaryDirectory(prefix="br-") as directory:
        servers = [data_server(binary, Path(directory), port, *options) for port in free_ports(1 + replicas)]
        try:
            for replica in servers[1:]:
                replica.run("REPLICAOF", "127.0.0.1", servers[0].port)
            until(lambda: len(servers[0].client.role()[2]) == replicas, "the replicas follow")
            yield servers
        finally:
            for server in servers:
                server.stop()


@dataclass
class Guarded:
    """A primary, its replicas, and the sentinels over them. `faults`: when (monotonic) a primary was lost, and how."""

    servers: list[RedisProcess]
    sentinels: list[RedisProcess]
    faults: list[tuple[float, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The URL of the service."""
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels) + f"/{SERVICE}"

    def primary(self) -> RedisProcess | None:
        """The server that all sentinels name, None where they do not agree.

        In the middle of a failover they name the new one to some commands and the old one to others; a client may ask
        either.
        """
        ports = {int(sentinel.run("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1]) for sentinel in self.sentinels}
        ports |= {int(sentinel.client.sentinel_master(SERVICE)["port"]) for sentinel in self.sentinels}  # type: ignore[index]
        return next((server for server in self.servers if ports == {server.port}), None)

    def lose(self, how: Fault = "killed") -> RedisProcess:
        """Lose the primary, and wait until the sentinels name another; gives the old one."""
        self.settle()
        old = self.primary()
        assert old is not None
        self.faults.append((time.monotonic(), how))
        {"killed": old.kill, "hung": old.hang, "cut off": old.cut_off}[how]()
        until(lambda: self.primary() not in (old, None), "a replica takes over")
        return old

    def fail_over(self, how: Fault = "killed") -> None:
        """`lose` the primary, and bring it back as a replica of the new one."""
        old = self.lose(how)
        new = self.primary()
        assert new is not None
        if how == "killed":
            old.start("--replicaof", "127.0.0.1", str(new.port))  # never an empty primary, which clients could find
        else:
            old.go_on()  # it takes writes until the sentinels make it a replica
        self.settle()

    def settle(self) -> None:
        """Return when the sentinels agree on the primary, and all others follow it."""
        others = len(self.servers) - 1
        until(lambda: (found := self.primary()) is not None and found.followed_by(others), "the replicas follow")


@contextmanager
def guarded(binary: str, *options: str, replicas: int = 1, detection_ms: int = 500) -> Iterator[Guarded]:
    """Three sentinels over a primary and its replicas. `detection_ms`: so long a silent one is waited for."""
    with _followed(binary, replicas, *options) as servers, tempfile.TemporaryDirectory(prefix="bs-") as directory:
        found = Guarded(servers, [])
        try:
            for port in free_ports(3):
                config = Path(directory) / f"{port}.conf"
                fields = {"port": port, "service": SERVICE, "primary": servers[0].port, "detection_ms": detection_ms}
                config.write_text(_SENTINEL.format(**fields), encoding="utf-8")
                found.sentinels.append(RedisProcess(binary, Path(directory), port, str(config), "--sentinel"))
            until(lambda: all(_knows_all(each, replicas) for each in found.sentinels), "the sentinels know all servers")
            yield found
        finally:
            for sentinel in found.sentinels:
                sentinel.stop()


def _knows_all(sentinel: RedisProcess, replicas: int) -> bool:
    state = sentinel.client.info("sentinel")["master0"]
    return bool((state["slaves"], state["sentinels"]) == (replicas, 3))
