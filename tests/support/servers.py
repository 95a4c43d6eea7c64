"""Private Redis servers for tests: the embedded Valkey, and Debian's Redis where it is installed."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import redis

from broker.store.client import Store
from broker.store.embedded import Embedded, find_binary

BACKENDS = ["valkey", *(["redis"] if shutil.which("redis-server") else [])]


def binary_of(backend: str) -> str:
    """The server binary of a backend."""
    if backend == "valkey":
        return find_binary()
    found = shutil.which("redis-server")
    assert found is not None
    return found


async def everywhere(store: Store, *command: str) -> None:
    """Run a command that names no key on every primary."""
    for key in await store.primaries():
        await store.call(*command, at=key)


class PrivateServer(Embedded):
    """A server for tests, with a connection that stays open: to connect costs more than to empty."""

    @cached_property
    def client(self) -> redis.Redis:
        """The connection."""
        return redis.Redis.from_url(self.url)

    def empty(self) -> None:
        """Delete all that it holds. Scripts and functions stay."""
        self.client.flushall()

    def stop(self, timeout: float = 8.0) -> None:
        """Close the connection, and end the server."""
        self.client.close()
        super().stop(timeout)


@contextmanager
def running(backend: str, *options: str) -> Iterator[PrivateServer]:
    """A server on a unix socket in a directory of its own, without persistence unless the options ask for it."""
    with tempfile.TemporaryDirectory(prefix="bt-") as directory:
        server = PrivateServer(Path(directory) / "d", binary_of(backend), ("--appendonly", "no", *options))
        server.start()
        try:
            yield server
        finally:
            server.stop()
