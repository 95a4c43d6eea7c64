"""Single Redis server: a fixed one, or the primary that sentinels name."""

import asyncio
from collections.abc import Sequence, Set
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.exceptions import AskError, MovedError, RedisError

from broker import keys
from broker.errors import StoreUnavailable
from broker.store.connection import Argument, Node, Server
from broker.store.topology import PATIENCE_S


class Sentinels(Sentinel):
    """redis-py's Sentinel with a lock and a short error.

    It reorders its list of sentinels, and two concurrent calls can lose one. Its error lists them with all settings.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        self._asking = asyncio.Lock()

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """The host and port of the primary. MasterNotFoundError: no sentinel answers and names one."""
        async with self._asking:
            try:
                return await super().discover_master(service_name)  # type: ignore[no-any-return]
            except MasterNotFoundError:
                raise MasterNotFoundError(f"No sentinel answers and names a primary of {service_name!r}.") from None


class SingleServer:
    """One server: the one to which the pool connects at the moment."""

    def __init__(self, pool: ConnectionPool, sentinel: Sentinel | None = None) -> None:
        pool.make_connection()  # type: ignore[no-untyped-call]  # TypeError: an unknown option
        self.patience_s = PATIENCE_S if sentinel is not None else 0.0
        self._pool = pool
        self._sentinel = sentinel

    def connection(self) -> AbstractConnection:
        """A connection that is not open yet."""
        return self._pool.make_connection()  # type: ignore[no-any-return, no-untyped-call]

    def node_of(self, args: Sequence[Argument], at: str | None = None) -> Node:
        """The server itself."""
        return self

    def slot_keys(self, key: str) -> tuple[str, ...]:
        """Only the key."""
        return (key,)

    def read_group(self, key: str) -> None:
        """None: all keys may be read together."""

    async def refresh(self) -> None:
        """Nothing to do: each new connection asks the sentinels."""

    async def replaced(self, known: Set[Server], silent: Set[Server]) -> Set[Server]:
        """All servers but the one that the sentinels name, even if they answer: their writes will be lost."""
        if not isinstance(self._pool, SentinelConnectionPool):
            return set()
        try:
            host, port = await self._pool.get_master_address()  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as exc:
            raise StoreUnavailable("The sentinels name no primary.") from exc
        return known - {f"{host}:{port}"}

    async def moved(self, error: MovedError) -> None:
        """StoreUnavailable: the server belongs to a cluster."""
        raise StoreUnavailable("This Redis is part of a cluster; write redis+cluster://host:port.") from error

    def asked(self, error: AskError) -> Node:
        """StoreUnavailable: the server belongs to a cluster."""
        raise StoreUnavailable("This Redis is part of a cluster; write redis+cluster://host:port.") from error

    def primaries(self) -> list[str]:
        """One key, for the one server."""
        return [keys.PROBE]

    async def close(self) -> None:
        """Close the connections to the sentinels."""
        if self._sentinel is not None:
            await self._sentinel.aclose()
